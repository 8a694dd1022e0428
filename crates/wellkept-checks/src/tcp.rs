//! Whether an address accepts TCP connections. An accepted connection is a pass; it is closed at once.
//!
//! A connection is accepted by the kernel before the program behind it has seen it: a program that hangs still passes.
//! Where there is a kind that speaks the program's protocol, that one says more.

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
