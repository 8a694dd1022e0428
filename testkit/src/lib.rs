//! What the tests stand on: throw-away servers, driven processes, a tiny HTTP client, waiting with a deadline.
//! Everything here panics with a message that says what was awaited: it is for tests only and never published.

mod authority;
mod binaries;
mod celery;
mod faults;
mod graygelf;
mod haproxy;
pub mod http;
mod kafka;
mod logrotate;
mod memcached;
mod mounts;
mod mysql;
mod nats;
mod nginx;
pub mod node;
mod node_exporter;
mod not_run;
mod otlp;
mod packages;
mod postgres;
mod program;
pub mod prometheus;
pub mod python;
mod rabbitmq;
mod redis;
mod server;
mod smtp;
mod systemd;
mod tansu;
mod unbound;
mod wall_clock;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

pub use authority::{Authority, Issued};
pub use binaries::{missing_servers, wait_within};
pub use celery::{CeleryOptions, CeleryRelease, CeleryWorker};
pub use faults::{Fault, FaultProxy};
pub use graygelf::Graygelf;
pub use haproxy::Haproxy;
pub use kafka::KafkaClient;
pub use logrotate::Logrotate;
pub use memcached::Memcached;
pub use mounts::private_mounts;
pub use mysql::Mysql;
pub use nats::Nats;
pub use nginx::Nginx;
pub use node_exporter::NodeExporter;
pub use not_run::{NOT_RUN, not_run};
pub use otlp::{OtlpReceiver, OtlpReply, OtlpRequest, Rotel};
pub use postgres::{Postgres, SharedPostgres};
pub use program::Program;
pub use rabbitmq::RabbitMq;
pub use redis::{Redis, RedisOptions, RedisServer, SharedRedis};
pub use rustix::process::Signal;
pub use smtp::{Smtp, SmtpOptions, SmtpTls};
pub use systemd::Systemd;
pub use tansu::{TANSU_VERSION, Tansu, TansuOptions, tansu_program};
pub use unbound::Unbound;
pub use wall_clock::WallClock;

/// A TCP port on 127.0.0.1 that nothing listens on at this moment.
///
/// Somebody else may take it before you do: bind to port 0 yourself where the program under test can.
pub fn free_port() -> u16 {
    free_address().port()
}

/// As [`free_port`], with its address.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
}

/// Polls `condition` every few milliseconds until it holds. Panics with `what` when `deadline` has passed.
///
/// ```
/// let mut left = 3;
/// wellkept_testkit::until(std::time::Duration::from_secs(1), "the countdown to end", || {
///     left -= 1;
///     left == 0
/// });
/// ```
#[track_caller]
pub fn until(deadline: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    until_some(deadline, what, || condition().then_some(()));
}

/// As [`until`], for a condition that yields a value.
#[track_caller]
pub fn until_some<T>(deadline: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    match poll(deadline, &mut condition) {
        Some(value) => value,
        None => panic!("waited {deadline:?} in vain for {what}"),
    }
}

/// Polls until there is a value or the deadline has passed.
pub(crate) fn poll<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        // pace: between two polls of the condition; starts short so that quick events are seen quickly.
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).unwrap();
    }

    #[test]
    fn waiting_in_vain_names_what_was_awaited() {
        let panic = catch_unwind(|| until(Duration::from_millis(5), "the moon", || false)).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("the moon"));
    }

    #[test]
    fn a_condition_that_holds_is_asked_once() {
        let mut asked = 0;
        until(Duration::ZERO, "nothing", || {
            asked += 1;
            true
        });
        assert_eq!(asked, 1);
    }
}
