//! Where a service's status comes from when services look at each other: what keeps two of them from holding each
//! other down for ever.
//!
//! A service tells another one, beside its status, which services that status comes from, and by which way. Whoever
//! reads it leaves out the ways on which it stands itself: it does not hear its own trouble back. What is left has a way
//! without a circle, ends at a service whose own components are meant, and goes when that one recovers.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::checker::{Checker, Lifecycle};
use crate::component::Group;
use crate::snapshot::{ComponentHealth, Snapshot};
use crate::status::Status;
use crate::wire::Subject;

/// Tells a service from all others that it looks at or that look at it. Says nothing else of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(u64);

impl Identity {
    const BITS: u32 = 48;

    /// One that no other service has.
    pub fn random() -> Self {
        // The keys of the standard library's hasher are the system's random numbers.
        Self(RandomState::new().hash_one(std::process::id()) >> (64 - Self::BITS))
    }

    /// One that follows from a text: replicas that are one service to the others are given the same one.
    pub fn named(text: &str) -> Self {
        // FNV-1a, which is the same in every build; there is nothing to forge.
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self(hash >> (64 - Self::BITS))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:012x}", self.0)
    }
}

impl FromStr for Identity {
    type Err = InvalidOrigins;

    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        let is_hex = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(Self).ok_or(InvalidOrigins)
    }
}

/// One service on the way to where a status comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The service.
    pub identity: Identity,
    /// The component as which the service before it on the way looks at it. `None` for the first one, and where it is
    /// not shown.
    pub component: Option<Arc<str>>,
}

/// A service, the way to it, and the status that it has by what it does not have from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPath {
    /// What it adds to the status of the first service on the way, weighed at each one in between.
    pub status: Status,
    /// From the service that tells it to the one that it comes from, both included. Not empty.
    pub path: Vec<Hop>,
}

impl StatusPath {
    /// Whether the way leads over this service.
    pub fn leads_over(&self, identity: Identity) -> bool {
        self.path.iter().any(|hop| hop.identity == identity)
    }
}

/// All that a service's status comes from: worse before better, near before far.
///
/// Written as `healthy 3f0c96b1d2a4; unhealthy 3f0c96b1d2a4>stock:9a41c07be355`, which the doors send in the header
/// [`Origins::HEADER`] to who asks with the header [`Origins::ASKER`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(Vec<StatusPath>);

impl Origins {
    /// The request header by which a service says who it is: `3f0c96b1d2a4`.
    pub const ASKER: &str = "wellkept-asker";
    /// The response header with the answer's origins.
    pub const HEADER: &str = "wellkept-origins";
    /// Most services on a way to what is well; what is farther is not told.
    pub const FARTHEST: usize = 8;
    /// Most services on a way to trouble: what hides it is told as the trouble of who hides it, and holds for ever in a
    /// circle of more services than these.
    pub const FARTHEST_TROUBLE: usize = 32;
    /// Most that are told; the better and farther ones are left out.
    pub const MOST: usize = 64;
    /// Most that is written, in bytes: proxies refuse an answer whose headers are long.
    pub const MOST_BYTES: usize = 2048;

    /// One service that has its status from nobody else.
    pub fn own(identity: Identity, status: Status) -> Self {
        Self(vec![StatusPath { status, path: vec![Hop { identity, component: None }] }])
    }

    /// What they add up to.
    pub fn status(&self) -> Status {
        self.0.iter().map(|origin| origin.status).fold(Status::Healthy, Status::worse)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &StatusPath> {
        self.0.iter()
    }

    /// Those whose way does not lead over this service, and those whose way does.
    pub fn around(self, identity: Identity) -> (Self, Self) {
        let (back, rest) = self.0.into_iter().partition(|origin| origin.leads_over(identity));
        (Self(rest), Self(back))
    }

    /// With each status replaced.
    #[must_use]
    pub fn map(mut self, judge: impl Fn(Status) -> Status) -> Self {
        for origin in &mut self.0 {
            origin.status = judge(origin.status);
        }
        self
    }

    /// Both lists as one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::bounded(self.0.into_iter().chain(other.0).collect())
    }

    /// What everyone may read: the names of the first service's own components where these are shown, and no names
    /// that it has from others.
    #[must_use]
    pub fn for_everyone(mut self, names_are_shown: bool) -> Self {
        for origin in &mut self.0 {
            for hop in origin.path.iter_mut().skip(if names_are_shown { 2 } else { 1 }) {
                hop.component = None;
            }
        }
        self
    }

    /// Without the ways to what is well, but for the service's own and those that lead back to who asks: what does not
    /// tell strangers how many services there are, and still tells every service in a circle of its own trouble.
    #[must_use]
    pub fn without_well(mut self, asker: Option<Identity>) -> Self {
        self.0.retain(|origin| {
            let leads_back = asker.is_some_and(|asker| origin.leads_over(asker));
            leads_back || origin.status != Status::Healthy || origin.path.len() == 1
        });
        self
    }

    fn bounded(mut origins: Vec<StatusPath>) -> Self {
        let farthest = |status| if status == Status::Healthy { Self::FARTHEST } else { Self::FARTHEST_TROUBLE };
        origins.retain(|origin| origin.path.len() <= farthest(origin.status));
        origins.sort_by_key(|origin| (std::cmp::Reverse(origin.status as u8), origin.path.len()));
        origins.truncate(Self::MOST);
        Self(origins)
    }
}

impl Checker {
    /// Where what is told of a subject comes from; `None` for what no other service has a part in. That the process
    /// starts or is on its way out is its own.
    pub fn origins(&self, subject: &Subject) -> Option<Origins> {
        let of = |group| self.snapshot().origins(self.identity(), group);
        match subject {
            Subject::Live | Subject::Startup => None,
            Subject::Service => Some(of(None)),
            Subject::Ready if self.lifecycle() != Lifecycle::Running => {
                Some(Origins::own(self.identity(), Status::Unhealthy))
            }
            // A group of the user's answers while the process starts.
            Subject::Named(_) if self.lifecycle() == Lifecycle::Draining => {
                Some(Origins::own(self.identity(), Status::Unhealthy))
            }
            Subject::Ready | Subject::Named(_) => Some(of(subject.group())),
        }
    }

    /// Where what is told of one component comes from; `None` when there is none of this name.
    pub fn component_origins(&self, name: &str) -> Option<Origins> {
        let snapshot = self.snapshot();
        Some(snapshot.component_origins(self.identity(), snapshot.component(name)?))
    }
}

impl Snapshot {
    /// Where the status of a group, or of the whole service, comes from. `identity` is the service's own.
    ///
    /// What stands on components that are other services and told their origins is taken apart; everything else is the
    /// service's own.
    pub fn origins(&self, identity: Identity, group: Option<&Group>) -> Origins {
        let told = group.map_or_else(|| self.overall(), |group| self.status(group));
        let counted = |one: &&ComponentHealth| one.counted && group.is_none_or(|group| one.groups.contains(group));
        let others: Vec<_> =
            self.components().filter(counted).filter_map(|one| Some((one, self.origins_of(one)?))).collect();
        if others.is_empty() {
            return Origins::own(identity, told);
        }
        let own = self
            .components()
            .filter(counted)
            .filter(|one| self.origins_of(one).is_none())
            .filter_map(|one| one.weigh(self.standing(one).status, group))
            .fold(Status::Healthy, Status::worse);
        // Maintenance of the whole service comes from no component.
        let own = if told == Status::Maintenance { told } else { own };
        let mut origins = Origins::own(identity, own).0;
        for (component, from) in others {
            let onward = onward(identity, component, from);
            origins.extend(onward.filter_map(|StatusPath { status, path }| {
                Some(StatusPath { status: component.weigh(status, group)?, path })
            }));
        }
        Origins::bounded(origins)
    }

    /// Where the status of one component comes from, by itself: not what it counts for the others. `identity` is the
    /// service's own.
    pub fn component_origins(&self, identity: Identity, component: &ComponentHealth) -> Origins {
        let Some(from) = self.origins_of(component) else {
            return Origins::own(identity, self.standing(component).status);
        };
        let own = Origins::own(identity, Status::Healthy).0;
        Origins::bounded(own.into_iter().chain(onward(identity, component, from)).collect())
    }

    /// Where what a component is served as comes from; nowhere else when its result is too old or left out.
    fn origins_of<'c>(&self, component: &'c ComponentHealth) -> Option<&'c Origins> {
        let served = component.served.as_ref()?;
        let origins = served.origins.as_deref()?;
        (self.standing(component).status == served.status).then_some(origins)
    }
}

/// What a component's origins are to those who look at this service; not those that lead over it, which they would hear
/// back.
fn onward<'o>(
    identity: Identity,
    component: &'o ComponentHealth,
    from: &'o Origins,
) -> impl Iterator<Item = StatusPath> + 'o {
    from.iter().filter(move |origin| !origin.leads_over(identity)).filter_map(move |origin| {
        let mut path = vec![Hop { identity, component: None }];
        path.extend(origin.path.iter().cloned());
        path.get_mut(1)?.component = Some(Arc::clone(&component.name));
        Some(StatusPath { status: origin.status, path })
    })
}

/// What a name must not hold in the header.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl fmt::Display for StatusPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ", self.status)?;
        for (index, Hop { identity, component }) in self.path.iter().enumerate() {
            let arrow = if index == 0 { "" } else { ">" };
            match component {
                Some(name) => write!(formatter, "{arrow}{}:{identity}", utf8_percent_encode(name, RESERVED))?,
                None => write!(formatter, "{arrow}{identity}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written = 0;
        for origin in &self.0 {
            let text = origin.to_string();
            written += text.len() + 2;
            if written > Self::MOST_BYTES {
                break;
            }
            if written > text.len() + 2 {
                formatter.write_str("; ")?;
            }
            formatter.write_str(&text)?;
        }
        Ok(())
    }
}

impl FromStr for StatusPath {
    type Err = InvalidOrigins;

    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        let (word, path) = text.split_once(' ').ok_or(InvalidOrigins)?;
        let status = Status::ALL.into_iter().find(|status| status.as_str() == word).ok_or(InvalidOrigins)?;
        let path = path.split('>').map(|hop| match hop.split_once(':') {
            None => Ok(Hop { identity: hop.parse()?, component: None }),
            Some((name, identity)) => {
                let name = percent_decode_str(name).decode_utf8().map_err(|_| InvalidOrigins)?;
                Ok(Hop { identity: identity.parse()?, component: Some(name.as_ref().into()) })
            }
        });
        Ok(Self { status, path: path.collect::<Result<_, InvalidOrigins>>()? })
    }
}

impl FromStr for Origins {
    type Err = InvalidOrigins;

    /// Refuses what is longer than [`Origins::MOST_BYTES`], or not of this form as a whole.
    fn from_str(text: &str) -> Result<Self, InvalidOrigins> {
        if text.len() > Self::MOST_BYTES {
            return Err(InvalidOrigins);
        }
        text.split("; ").map(str::parse).collect::<Result<_, _>>().map(Self::bounded)
    }
}

/// A text that is not a list of origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a list of a status's origins")]
pub struct InvalidOrigins;

impl InvalidOrigins {
    /// The stable code: `origins.invalid`.
    pub fn code(self) -> &'static str {
        "origins.invalid"
    }
}

#[cfg(test)]
mod tests;
