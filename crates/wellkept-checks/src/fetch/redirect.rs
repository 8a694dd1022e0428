//! Where a redirect leads, and whether a request may go there.

use hyper::header::{ACCEPT, LOCATION, USER_AGENT};
use thiserror::Error;
use url::Url;
use wellkept_config::{FromNode, Schema, one_of};

use super::{Request, Response, destination};

/// How far redirects are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedirectTo {
    /// Only within the host that was asked: to another path, port, or from `http` to `https`.
    #[default]
    SameHost,
    /// To any host. Headers of one's own and credentials do not go along.
    Any,
}

const WORDS: [(&str, RedirectTo); 2] = [("same_host", RedirectTo::SameHost), ("any", RedirectTo::Any)];

impl FromNode for RedirectTo {
    const EXPECTED: &'static str = "same_host or any";

    fn schema() -> Schema {
        Schema::words(&WORDS)
    }

    fn from_scalar(text: &str) -> Result<Self, String> {
        one_of(text, &WORDS)
    }
}

/// Why a redirect is not followed. Holds nothing of where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotFollowed {
    /// It names no place, or none that a request can be sent to.
    #[error("it does not say where to")]
    Nowhere,
    /// It leads to another host.
    #[error("it leads to another host")]
    OtherHost,
    /// It leads from `https` to `http`: whoever listens would read along.
    #[error("it leads from https to http")]
    Downgrade,
}

impl Response {
    /// Where a redirect leads: the value of `Location` against the URL that was asked. `None` for any other answer
    /// (RFC 9110, 15.4).
    pub fn leads_to(&self, request: &Request) -> Option<Url> {
        let location = self.is_redirect().then(|| self.headers.get(LOCATION))??;
        request.url.join(location.to_str().ok()?).ok()
    }

    /// Whether it is a redirect that a client may follow by itself.
    pub fn is_redirect(&self) -> bool {
        matches!(self.status.as_u16(), 301 | 302 | 303 | 307 | 308)
    }
}

impl Request {
    /// The request that a redirect asks for. Headers of one's own and credentials go along only to the same host and
    /// port, or from `http` to `https` on the same host. Never from `https` to `http`.
    pub fn redirected(&self, response: &Response, to: RedirectTo) -> Result<Self, NotFollowed> {
        let mut url = response.leads_to(self).ok_or(NotFollowed::Nowhere)?;
        // Credentials in a redirect are somebody else's.
        let kept = url.set_username("").and_then(|()| url.set_password(None));
        kept.map_err(|()| NotFollowed::Nowhere)?;
        let (target, host) = destination(&url).map_err(|_| NotFollowed::Nowhere)?;
        let same_host = self.target.host().eq_ignore_ascii_case(target.host());
        let upgraded = self.url.scheme() == "http" && url.scheme() == "https";
        if self.is_secure() && url.scheme() == "http" {
            return Err(NotFollowed::Downgrade);
        }
        // A socket has no other host behind it.
        if !same_host && (to == RedirectTo::SameHost || self.unix_socket.is_some()) {
            return Err(NotFollowed::OtherHost);
        }
        let mut next = Self { url, ..self.clone() };
        let same_place = same_host && (upgraded || self.target.port() == target.port());
        if !same_place {
            let plain = [ACCEPT, USER_AGENT].map(|name| (self.headers.get(&name).cloned(), name));
            next.headers.clear();
            next.headers.extend(plain.into_iter().filter_map(|(value, name)| Some((name, value?))));
        }
        // A `Host` of one's own stays only where it was meant for.
        if !(same_place && target == self.target) {
            next.host = host;
        }
        next.target = target;
        Ok(next)
    }
}
