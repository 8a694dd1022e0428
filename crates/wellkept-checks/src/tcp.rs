//! Whether an address accepts TCP connections. An accepted connection is a pass; it is closed at once.
//!
//! A connection is accepted by the kernel before the program behind it has seen it: a program that hangs still passes.
//! Where there is a kind that speaks the program's protocol, that one says more.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name can't be resolved | unhealthy | `dns` |
//! | nobody listens there | unhealthy | `refused` |
//! | no answer in time, and the detail says in which stage | unhealthy | `timeout` |
//! | the address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | the connection broke | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//!
//! # Rights
//!
//! None.
//!
//! # Cost
//!
//! One connection per run, closed as soon as it is accepted; nothing is sent.

use wellkept_config::Section;
use wellkept_health::{AnyCheck, Check, Context, Outcome, Scope};
use wellkept_net::{AddressRules, Target, connect};

use crate::kind::built;
use crate::reach::{give_up_at, not_connected};
use crate::{InvalidOption, Kind};

/// The settings of a [`Tcp`] check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where to connect to, as `host:port`, an IPv6 address in brackets. Required.
    pub address: String,
}

impl Options {
    /// For an address such as `10.0.0.1:443`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into() }
    }
}

/// Whether an address accepts TCP connections.
#[derive(Debug, Clone)]
pub struct Tcp {
    target: Target,
}

impl Tcp {
    /// Refuses an address that is not `host:port`. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { address } = options;
        let target = address.parse::<Target>();
        target.map(|target| Self { target }).map_err(|error| InvalidOption::new("address", error.to_string()))
    }
}

impl Check for Tcp {
    async fn run(&self, context: &Context) -> Outcome {
        match connect(&self.target, AddressRules::configured(), give_up_at(context)).await {
            Ok(_closed_when_dropped) => Outcome::pass(),
            Err(error) => not_connected(&error),
        }
    }
}

/// `tcp: { address: "10.0.0.1:443" }`
pub const KIND: Kind =
    Kind { name: "tcp", summary: "An address that accepts TCP connections", scope: Scope::Remote, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let address = section.required("address");
    built(section, Tcp::new(Options { address: address? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{configured, reason, run};
    use tokio::net::TcpListener;
    use wellkept_testkit::free_port;

    fn check(address: String) -> Tcp {
        Tcp::new(Options::new(address)).unwrap()
    }

    #[tokio::test]
    async fn what_accepts_passes_and_the_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outcome = run(&check(listener.local_addr().unwrap().to_string())).await;
        assert_eq!(reason(&outcome), "pass");
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        assert_eq!(stream.try_read(&mut [0]).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_the_public_hears_no_address() {
        let address = format!("127.0.0.1:{}", free_port());
        let outcome = run(&check(address.clone())).await;
        assert_eq!((reason(&outcome), outcome.message()), ("refused", "connection refused"));
        assert!(outcome.detail().starts_with(&address), "{outcome:?}");
    }

    #[tokio::test]
    async fn the_metadata_address_is_never_asked() {
        let outcome = run(&check("169.254.169.254:80".to_owned())).await;
        assert_eq!((reason(&outcome), outcome.message()), ("blocked", "address is not allowed"));
    }

    #[test]
    fn an_address_without_port_is_reported() {
        configured("tcp: { address: '[::1]:443' }").unwrap();
        let reported = configured("tcp: { address: db }").unwrap_err();
        assert_eq!(reported, "test.yaml:1:17: the port is missing: write host:port");
    }
}
