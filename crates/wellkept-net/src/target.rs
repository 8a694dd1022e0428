//! Where a connection goes: a host and a port, as an operator writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// A host name or IP address, and a port. Shown as `host:port`, IPv6 addresses in brackets.
///
/// ```
/// use wellkept_net::Target;
///
/// let target: Target = "[2001:db8::1]:5432".parse()?;
/// assert_eq!((target.host(), target.port()), ("2001:db8::1", 5432));
/// assert_eq!(target.to_string(), "[2001:db8::1]:5432");
/// # Ok::<(), wellkept_net::TargetError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    host: String,
    port: u16,
}

impl Target {
    /// From a host name or an IP address, the latter with or without brackets. The name is not looked at before it
    /// is resolved.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let host = host.into();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(ToOwned::to_owned);
        Self { host: bare.unwrap_or(host), port }
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or(TargetError::MissingPort)?;
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err(TargetError::InvalidPort),
            Ok(port) => port,
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let target = Self::new(host, port);
        let is_address = target.host.parse::<IpAddr>().is_ok();
        if target.host.is_empty() {
            return Err(TargetError::MissingHost);
        }
        // `::1:5432` could be read either way, so an IPv6 address must stand in brackets (RFC 3986, section 3.2.2).
        if target.host.contains(':') && !(bracketed && is_address) {
            return Err(TargetError::BareIpv6);
        }
        if target.host.chars().any(|letter| letter.is_whitespace() || letter.is_control() || "/@?#".contains(letter)) {
            return Err(TargetError::InvalidHost);
        }
        Ok(target)
    }
}

/// Why a text is not `host:port`. Says nothing of the text itself, which may come from a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetError {
    /// There is no `:port`.
    #[error("the port is missing: write host:port")]
    MissingPort,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    InvalidPort,
    /// There is nothing before the port.
    #[error("the host is missing: write host:port")]
    MissingHost,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets: write [::1]:port")]
    BareIpv6,
    /// The host holds spaces or parts of a URL.
    #[error("a host is a name or an IP address, without a scheme, user or path")]
    InvalidHost,
}

impl TargetError {
    /// The stable code: `target.missing_port`, `target.invalid_port`, `target.missing_host`, `target.bare_ipv6` or
    /// `target.invalid_host`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::MissingPort => "target.missing_port",
            Self::InvalidPort => "target.invalid_port",
            Self::MissingHost => "target.missing_host",
            Self::BareIpv6 => "target.bare_ipv6",
            Self::InvalidHost => "target.invalid_host",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_host_and_port_is_told_apart() {
        let error = |text: &str| text.parse::<Target>().unwrap_err();
        assert_eq!(error("db"), TargetError::MissingPort);
        assert_eq!(error("db:"), TargetError::InvalidPort);
        assert_eq!(error("db:0"), TargetError::InvalidPort);
        assert_eq!(error("db:65536"), TargetError::InvalidPort);
        assert_eq!(error(":5432"), TargetError::MissingHost);
        assert_eq!(error("[]:5432"), TargetError::MissingHost);
        assert_eq!(error("::1:5432"), TargetError::BareIpv6);
        assert_eq!(error("tcp://db:5432"), TargetError::BareIpv6);
        assert_eq!(error("user@db:5432"), TargetError::InvalidHost);
        assert_eq!(error("d b:5432"), TargetError::InvalidHost);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(
            host in prop_oneof!["[a-z][a-z0-9.-]{0,40}", any::<IpAddr>().prop_map(|address| address.to_string())],
            port in 1_u16..,
        ) {
            let target = Target::new(host, port);
            prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = text.parse::<Target>();
        }
    }
}
