//! A name in the DNS, by asking a resolver, or the system as every program here does.
//!
//! With `resolver` one question goes to that server over UDP, again when it was lost, and over TCP when the answer does
//! not fit (RFC 1035, 4.2). Without it the system is asked for addresses, which also looks into `/etc/hosts`, and can't
//! tell why there are none.
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | the name does not exist (NXDOMAIN) | unhealthy | `nxdomain` |
//! | the name exists, with no record of this type, or without an expected value | unhealthy | `unexpected` |
//! | the resolver could not find it out (SERVFAIL) | unhealthy | `servfail` |
//! | the resolver does not answer us (REFUSED) | unhealthy | `auth` |
//! | what came is no answer, or another error | unhealthy | `protocol` |
//! | the system has no address for it, or the resolver's own name has none | unhealthy | `dns` |
//! | no answer in time | unhealthy | `timeout` |
//! | nobody listens there | unhealthy | `refused` |
//! | the resolver's address is one that is never asked (cloud metadata) | unhealthy | `blocked` |
//! | there is no way to the resolver | unhealthy | `network` |
//! | no descriptor or thread is left on this side | unhealthy | `internal` |
//!
//! # Rights
//!
//! None; a resolver may answer only some networks.
//!
//! # Cost
//!
//! One question per run; up to three when packets get lost, and one over TCP when the answer is long. The resolver
//! answers from its cache, or asks others.

mod ask;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::str::FromStr as _;

use domain::base::iana::Rcode;
use domain::base::{Name, Rtype};
use tokio::time::Instant;
use wellkept_config::{FromNode, Section, one_of};
use wellkept_health::{AnyCheck, Check, Context, Outcome, Reason, Scope};
use wellkept_net::{ResolveError, Target, TargetError, resolve};

use self::ask::{Answer, AskError};
use crate::kind::built;
use crate::reach::{give_up_at, not_connected, timed_out};
use crate::{InvalidOption, Kind, Opens};

/// Most records that the metadata shows.
const MOST_SHOWN: usize = 16;

/// The settings of a [`Dns`] check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The name that is asked for. Required.
    pub name: String,
    /// The type of its records. Without a resolver A and AAAA only. Default `A`.
    pub r#type: RecordType,
    /// The server to ask: an IP address, or `host:port`. Default: the system is asked.
    pub resolver: Option<String>,
    /// Values that all have to be among the records: `192.0.2.1`, `10 mail.example.com`, a text. Default: any will do.
    pub expect: Vec<String>,
}

impl Options {
    /// Any IPv4 address of this name, by the system.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), r#type: RecordType::default(), resolver: None, expect: Vec::new() }
    }
}

/// A type of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    #[default]
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Who may issue certificates.
    Caa,
    /// Another name for this one.
    Cname,
    /// Where mail goes.
    Mx,
    /// Who answers for the zone.
    Ns,
    /// The name of an address.
    Ptr,
    /// The beginning of a zone.
    Soa,
    /// Hosts and ports of a service.
    Srv,
    /// Text.
    Txt,
}

impl RecordType {
    const ALL: [(&str, Self, Rtype); 10] = [
        ("A", Self::A, Rtype::A),
        ("AAAA", Self::Aaaa, Rtype::AAAA),
        ("CAA", Self::Caa, Rtype::CAA),
        ("CNAME", Self::Cname, Rtype::CNAME),
        ("MX", Self::Mx, Rtype::MX),
        ("NS", Self::Ns, Rtype::NS),
        ("PTR", Self::Ptr, Rtype::PTR),
        ("SOA", Self::Soa, Rtype::SOA),
        ("SRV", Self::Srv, Rtype::SRV),
        ("TXT", Self::Txt, Rtype::TXT),
    ];

    fn number(self) -> Rtype {
        Self::ALL.iter().find(|(_, known, _)| *known == self).map_or(Rtype::A, |(_, _, number)| *number)
    }

    fn is_address(self) -> bool {
        matches!(self, Self::A | Self::Aaaa)
    }
}

impl FromNode for RecordType {
    const EXPECTED: &'static str = "A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV or TXT";

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &Self::ALL.map(|(word, known, _)| (word, known)))
    }
}

/// A name in the DNS. The metadata holds `records`, up to 16 of them, and `ttl_seconds`, the shortest, when a resolver
/// was asked.
#[derive(Debug)]
pub struct Dns {
    name: String,
    question: Name<Vec<u8>>,
    record_type: RecordType,
    resolver: Option<Target>,
    expect: Vec<String>,
}

impl Dns {
    /// Refuses a name that is none, a resolver's address that is none, and a type that the system can't be asked for.
    /// Asks nobody yet.
    pub fn new(options: Options) -> Result<Self, InvalidOption> {
        let Options { name, r#type: record_type, resolver, expect } = options;
        let question = Name::from_str(&name).map_err(|error| InvalidOption::new("name", error.to_string()))?;
        let resolver = resolver.as_deref().map(server).transpose();
        let resolver = resolver.map_err(|error| InvalidOption::new("resolver", error.to_string()))?;
        if resolver.is_none() && !record_type.is_address() {
            return Err(InvalidOption::new("type", "the system tells A and AAAA only: name a `resolver`"));
        }
        Ok(Self { name, question, record_type, resolver, expect })
    }

    /// What the system says.
    async fn by_system(&self, deadline: Instant) -> Outcome {
        let name = self.name.strip_suffix('.').unwrap_or(&self.name);
        let addresses = match resolve(name, deadline).await {
            Ok(addresses) => addresses,
            Err(ResolveError::Timeout) => return timed_out("waiting for the system's resolver"),
            Err(error @ ResolveError::Exhausted) => {
                return Outcome::fail(Reason::Internal, "no room for another question").with_detail(error.to_string());
            }
            Err(error) => {
                return Outcome::fail(Reason::Dns, "name could not be resolved").with_detail(error.to_string());
            }
        };
        let of_this_type = |address: &&IpAddr| address.is_ipv4() == (self.record_type == RecordType::A);
        self.judge(&addresses.iter().filter(of_this_type).map(ToString::to_string).collect::<Vec<_>>())
    }

    fn judge_answer(&self, answer: &Answer) -> Outcome {
        match answer.code {
            Rcode::NOERROR => match answer.ttl {
                Some(ttl) => self.judge(&answer.records).with("ttl_seconds", ttl),
                None => self.judge(&answer.records),
            },
            Rcode::NXDOMAIN => Outcome::fail(Reason::Custom("nxdomain"), "name does not exist"),
            Rcode::SERVFAIL => Outcome::fail(Reason::Custom("servfail"), "resolver could not find it out"),
            Rcode::REFUSED => Outcome::fail(Reason::Auth, "resolver refuses to answer"),
            code => Outcome::fail(Reason::Protocol, "resolver answers with an error").with_detail(code.to_string()),
        }
    }

    fn judge(&self, records: &[String]) -> Outcome {
        let is_there = |expected: &&String| records.iter().any(|record| self.is_same(record, expected));
        let outcome = if records.is_empty() {
            Outcome::fail(Reason::Unexpected, "no such record")
        } else if let Some(missing) = self.expect.iter().find(|expected| !is_there(expected)) {
            Outcome::fail(Reason::Unexpected, "expected record is missing").with_detail(format!("`{missing}` is missing"))
        } else {
            Outcome::pass()
        };
        outcome.with("records", records.iter().take(MOST_SHOWN).cloned().collect::<Vec<_>>())
    }

    /// Texts are as they are; names are the same without case and without the dot at their end (RFC 4343).
    fn is_same(&self, record: &str, expected: &str) -> bool {
        if self.record_type == RecordType::Txt {
            return record == expected;
        }
        let plain = |word: &str| word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase();
        record.split_whitespace().map(plain).eq(expected.split_whitespace().map(plain))
    }
}

impl Check for Dns {
    async fn run(&self, context: &Context) -> Outcome {
        let deadline = give_up_at(context);
        let Some(resolver) = &self.resolver else { return self.by_system(deadline).await };
        match ask::ask(resolver, &self.question, self.record_type.number(), deadline).await {
            Ok(answer) => self.judge_answer(&answer),
            Err(AskError::Connect(error)) => not_connected(&error),
            Err(AskError::Timeout) => timed_out("waiting for the resolver's answer"),
            Err(AskError::Protocol(told)) => Outcome::fail(Reason::Protocol, "not an answer in DNS").with_detail(told),
        }
    }
}

/// `dns: { name: orders.internal, type: A, resolver: 10.0.0.2, expect: [10.1.0.7] }`
pub const KIND: Kind = Kind { name: "dns", summary: "A name in the DNS, by a resolver", scope: Scope::Remote, opens: Opens::Nothing, read };

fn read(section: &mut Section<'_>) -> Option<AnyCheck> {
    let name = section.required("name");
    let record_type = section.or("type", RecordType::default());
    let resolver = section.optional("resolver");
    let expect = section.or("expect", Vec::new());
    built(section, Dns::new(Options { name: name?, r#type: record_type, resolver, expect }))
}

/// An IP address means port 53 of it.
fn server(text: &str) -> Result<Target, TargetError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(Target::new(address.to_string(), 53)),
        Err(_) => text.parse(),
    }
}
