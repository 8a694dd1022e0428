//! The parts of a server's URL, with what is percent-encoded in them decoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};
use wellkept_net::Target;

use crate::InvalidOption;

/// The parts of a URL such as `nats://user:password@host:4222`. It shows nothing of them.
pub(crate) struct ServerUrl {
    /// Which of the schemes it has.
    pub(crate) scheme: &'static str,
    /// `None` where the URL names no host, as in `memcached:///run/memcached.sock`.
    host: Option<String>,
    port: Option<u16>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretString>,
    /// With the slash before it; empty if there is none.
    pub(crate) path: String,
}

impl ServerUrl {
    /// Refuses what is no URL, or has another scheme. The error shows `example` and nothing of the URL.
    pub(crate) fn parse(
        option: &'static str,
        url: &SecretString,
        schemes: &[&'static str],
        example: &str,
    ) -> Result<Self, InvalidOption> {
        let expected = || {
            let message =
                format!("expected a URL such as {example}, special characters in user and password percent-encoded");
            InvalidOption::new(option, message)
        };
        // The parser's errors are not shown: they say too little to be worth the risk.
        let url = Url::parse(url.expose_secret()).map_err(|_| expected())?;
        let scheme = schemes.iter().copied().find(|scheme| *scheme == url.scheme()).ok_or_else(expected)?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidOption::new(option, "must have neither a query nor a fragment"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned);
        let host = match url.host() {
            Some(Host::Domain(name)) => Some(decoded(name).ok_or_else(expected)?).filter(|name| !name.is_empty()),
            Some(Host::Ipv4(address)) => Some(address.to_string()),
            Some(Host::Ipv6(address)) => Some(address.to_string()),
            None => None,
        };
        let unless_empty = |text: &str| match text {
            "" => Ok(None),
            text => decoded(text).map(Some).ok_or_else(expected),
        };
        let user = unless_empty(url.username())?;
        let password = unless_empty(url.password().unwrap_or_default())?.map(SecretString::from);
        let path = decoded(url.path()).ok_or_else(expected)?;
        // What goes into a line must not end it.
        let is_one_line = |text: &str| !text.contains(['\r', '\n', '\0']);
        let secret = password.as_ref().map(ExposeSecret::expose_secret);
        if ![user.as_deref(), secret].into_iter().flatten().all(is_one_line) {
            return Err(expected());
        }
        Ok(Self { scheme, host, port: url.port(), user, password, path })
    }

    /// Where to connect to.
    pub(crate) fn target(&self, option: &'static str, usual_port: u16) -> Result<Target, InvalidOption> {
        let host = self.host.clone().ok_or_else(|| InvalidOption::new(option, "the URL names no host"))?;
        Ok(Target::new(host, self.port.unwrap_or(usual_port)))
    }

    /// Whether it names no host, but the path of a Unix socket.
    pub(crate) fn is_local(&self) -> bool {
        self.host.is_none() && self.path.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<ServerUrl, InvalidOption> {
        ServerUrl::parse("url", &url.into(), &["nats", "tls"], "nats://host")
    }

    #[test]
    fn its_parts_are_decoded() {
        let url = parse("tls://us%20er:p%40ss@[::1]:1/a%20b").unwrap();
        assert_eq!(url.target("url", 4222).unwrap(), Target::new("::1", 1));
        assert_eq!((url.scheme, url.user.as_deref(), url.path.as_str()), ("tls", Some("us er"), "/a b"));
        assert_eq!(url.password.unwrap().expose_secret(), "p@ss");
        let url = parse("nats://10.0.0.1").unwrap();
        assert_eq!(url.target("url", 4222).unwrap(), Target::new("10.0.0.1", 4222));
        assert!(url.user.is_none() && url.password.is_none() && !url.is_local());
        let url = parse("nats:///run/nats.sock").unwrap();
        assert!(url.is_local() && url.target("url", 4222).is_err());
        assert_eq!(url.path, "/run/nats.sock");
    }

    #[test]
    fn what_is_none_is_refused_without_any_of_it() {
        for url in [
            "http://planted@host",
            "planted",
            "nats://:planted%ff@host",
            "nats://:planted%0d%0a@host",
            "nats://host?planted",
        ] {
            let refused = parse(url).err().unwrap_or_else(|| panic!("{url} is taken")).to_string();
            assert!(refused.starts_with("`url`: ") && !refused.contains("planted"), "{refused}");
        }
    }
}
