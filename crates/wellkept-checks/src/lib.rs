//! Ready-made checks, one file per technology. A check asks and answers; when it runs, how often it may fail and who
//! hears of it is decided elsewhere.
//!
//! | kind | asks | feature |
//! |---|---|---|
//! | `ai` | a provider of language models, without a token spent | `http` |
//! | `celery` | Celery's workers and queues, by their broker | `redis` |
//! | [`command`] | a program, by its exit code and what it prints | |
//! | [`cpu`] | how busy the processors are, or the container's share of them | |
//! | [`disk`] | how much room a file system has | |
//! | `dns` | a name in the DNS, by a resolver, for its records | `dns` |
//! | [`files`] | how many descriptors are open, of this process, another one or the machine | |
//! | `grpc` | a gRPC server, by `grpc.health.v1.Health` | `grpc` |
//! | [`heartbeat`] | whether a job has reported in time | |
//! | `http` | a URL, for a status, a text, a JSON value, a header, its certificate | `http` |
//! | `kafka` | a Kafka cluster, its topics and a consumer group | `kafka` |
//! | [`memcached`] | a memcached server: its connections, memory, hits and evictions | |
//! | [`memory`] | how much memory is used, or of the container's limit | |
//! | `mysql` | a MySQL or MariaDB server: its answer to a query, its role, lag, connections and transactions | `mysql` |
//! | [`nats`] | a NATS server: its answer to `PING`, JetStream, whether it is about to stop | |
//! | `postgres` | a PostgreSQL server: its answer to a query, its role, lag, connections and transactions | `postgres` |
//! | [`pressure`] | how much time is lost to waiting for processors, memory and disks | |
//! | [`processes`] | how many processes of a name or command line run | |
//! | [`rabbitmq`] | a RabbitMQ server, its alarms and its queues | |
//! | `redis` | a Redis or Valkey server, a Sentinel or a node of a cluster: role, memory, connections, replication | `redis` |
//! | [`smtp`] | a mail server: its greeting, what it offers, its certificate, a login | |
//! | `sqlite` | a SQLite database, by its file, with a query | `sqlite` |
//! | [`system`] | what is used of processors, memory and disk, on one component | |
//! | [`tcp`] | whether an address accepts connections, and says what is expected | |
//! | [`tls`] | a TLS server, for its handshake and its certificate | |
//! | `upstream` | another service, by its health endpoint, with what it consists of | `http` |
//! | `websocket` | a WebSocket server, with a ping or a message | `websocket` |
//!
//! From code also [`pool`]: the application's own pool of connections, and how full it is; and [`cache`]: its own cache in
//! memory, and how often that has what is asked for.
//!
//! Each kind is a type for use from code, and a [`Kind`] for use from a configuration:
//!
//! ```
//! use wellkept_checks::disk::{Disk, Options};
//! use wellkept_health::AnyCheck;
//!
//! let from_code = AnyCheck::from(Disk::new(Options::new("/var/lib"))?);
//! let from_configuration = wellkept_checks::kinds().iter().find(|kind| kind.name == "disk");
//! # assert!(from_configuration.is_some());
//! # Ok::<(), wellkept_checks::InvalidOption>(())
//! ```
//!
//! # Adding a kind
//!
//! 1. One file, named like the kind, in this order: its documentation, `Options`, the check's type with its
//!    constructors, `impl Check`, `pub const KIND`, `fn read` which turns a section of the configuration into the check,
//!    tests. What is too much for one file goes into a folder of the same name.
//! 2. One line in the sorted list below, `name,` or `name if "feature",`: it declares the module, registers the kind and
//!    its page, and names the feature if the kind needs a third-party client. One row in the table above.
//! 3. With a feature: the client in the root manifest's `[workspace.dependencies]`, default features off; in this
//!    crate's manifest optional, with the feature, which `full` lists too; in the manifest of `wellkept` a feature that
//!    passes it on, which `full` lists too; the same in the program's manifest, in `default` if it is an everyday one.
//! 4. `cargo xtask docs`, which makes the page `docs/checks/KIND.md` that the build then takes in: before that, the
//!    build does not find it. Again after each change of what is documented; `cargo xtask tidy` says when it is due.
//!
//! The page is made from the documentation, so each part has its form:
//!
//! * The module's begins with what is asked and how, then has the headings `# Verdicts` (a table
//!   `what is wrong | status | reason`, with `degraded` or `unhealthy` and the reason's code), `# Rights` (what the
//!   account needs) and `# Cost` (what a run costs the target: round trips, connections). Further headings may follow.
//! * `Options` has what a configuration can say and nothing else: its fields are the keys, by name. Each says what it is
//!   for, its unit, and in a sentence of its own `Default …` or `Required.` A field whose type is a struct with documented fields is
//!   a section, a `Vec` of pairs a mapping with free keys; any other type is a `FromNode`. What only code can bring,
//!   such as the application's own pool, goes into a constructor of its own.
//! * `KIND`'s has an example in backticks, or in a block of `yaml`. Variables in it are called `…_URL`.
//!
//! `fn read` asks its section for every key, also for those that are not there; a test holds the keys that it asks for to
//! those that are documented. The program's `check --kind KIND --KEY VALUE` takes the same keys, so none is called `kind`,
//! `timeout`, `json`, `nagios` or `help`. A secret that may come in a file has a second key, `KEY_file`.
//!
//! `tcp.rs` is the shortest kind, `redis.rs` one that keeps a connection. `reach.rs` has what a run gives up with and the
//! outcomes of a failed connection, `lines.rs` what protocols in lines share, `server_url.rs` the parts of a server's URL,
//! `testing.rs` the listeners that faults are tried on. A run that gets no whole answer is a failure of the network when
//! the connection broke, and of the protocol when what came was not an answer.
//!
//! Three rules that the compiler does not know: the public message holds no address and no text of a driver's, those
//! belong into the detail, and a secret into neither; a run that is dropped leaves nothing behind; a connection is kept
//! between runs or closed in each, but never one more per run.

#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod amqp;
pub mod cache;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
pub mod certificate;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod comparison;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod driver;
#[cfg(feature = "http")]
pub mod fetch;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod findings;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod kept;
mod kind;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod lines;
pub mod pool;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod reach;
mod reference;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod role;
#[cfg_attr(not(feature = "full"), allow(dead_code, reason = "what a build leaves out may be all that uses it"))]
mod server_url;
#[cfg(test)]
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, unused_imports, reason = "what a build leaves out may be all that uses it")
)]
mod testing;

pub use comparison::Comparison;
pub use kind::{InvalidOption, Kind, Opens};
pub use reference::{Key, Reference};
pub use role::Role;

/// The one list of kinds: `name,` or `name if "feature",`.
macro_rules! kinds {
    ($($module:ident $(if $feature:literal)?),* $(,)?) => {
        $(
            $(#[cfg(feature = $feature)])?
            pub mod $module;
        )*

        /// All kinds of check that this build knows, by name.
        pub fn kinds() -> &'static [Kind] {
            const KINDS: &[Kind] = &[$($(#[cfg(feature = $feature)])? $module::KIND,)*];
            KINDS
        }

        /// The kinds that this build leaves out, each with the feature that brings it, so that an error can say so.
        pub fn gated() -> &'static [(&'static str, &'static str)] {
            const GATED: &[(&str, &str)] =
                &[$($(#[cfg(not(feature = $feature))] (stringify!($module), $feature),)?)*];
            GATED
        }

        /// The reference page of a kind that this build knows.
        pub fn reference(kind: &str) -> Option<Reference> {
            const PAGES: &[(&str, &str)] = &[$(
                $(#[cfg(feature = $feature)])?
                (stringify!($module), include_str!(concat!("../../../docs/checks/", stringify!($module), ".md"))),
            )*];
            PAGES.iter().find(|(name, _)| *name == kind).map(|(_, page)| Reference::of(page))
        }
    };
}

kinds! {
    ai if "http",
    celery if "redis",
    command,
    cpu,
    disk,
    dns if "dns",
    files,
    grpc if "grpc",
    heartbeat,
    http if "http",
    kafka if "kafka",
    memcached,
    memory,
    mysql if "mysql",
    nats,
    postgres if "postgres",
    pressure,
    processes,
    rabbitmq,
    redis if "redis",
    smtp,
    sqlite if "sqlite",
    system,
    tcp,
    tls,
    upstream if "http",
    websocket if "websocket",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_sorted_and_described() {
        let names: Vec<_> = kinds().iter().map(|kind| kind.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(kinds().iter().all(|kind| !kind.summary.is_empty() && !kind.summary.ends_with('.')));
    }

    /// Whoever may bring a check over the API must not become able to look at files by it.
    #[test]
    fn every_kind_that_a_path_or_a_program_is_named_to_says_so() {
        let local = ["command", "disk", "files", "processes", "sqlite", "system"];
        for kind in kinds() {
            assert_eq!(kind.opens != Opens::Nothing, local.contains(&kind.name), "{}", kind.name);
            let keys = reference(kind.name).expect("each has a page").keys();
            let opening = keys.iter().any(|key| ["path", "pid_file", "program"].contains(&key.path.as_str()));
            let is_of_a_url = kind.scope == wellkept_health::Scope::Remote;
            assert!(!opening || is_of_a_url || kind.opens != Opens::Nothing, "{}", kind.name);
        }
    }

    #[test]
    fn every_kind_is_either_there_or_named_with_its_feature() {
        for (kind, feature) in gated() {
            assert!(kinds().iter().all(|known| known.name != *kind) && !feature.is_empty());
        }
        let table: Vec<_> = include_str!("lib.rs").lines().filter(|line| line.starts_with("//! | ")).collect();
        for kind in kinds().iter().map(|kind| kind.name).chain(gated().iter().map(|(kind, _)| *kind)) {
            let row = |line: &&str| line.split('|').nth(1).is_some_and(|name| name.contains(&format!("`{kind}`")));
            assert_eq!(
                table.iter().copied().filter(|line| row(line)).count(),
                1,
                "the table above has no row of `{kind}`"
            );
        }
    }
}
