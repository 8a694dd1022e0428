//! Security events: what someone who looks for an attack must find, whatever level the log has.

use std::fmt;
use std::net::IpAddr;

use tracing::Level as TracingLevel;
use tracing::field::{DisplayValue, display};

use super::text::{Bounded, bounded};
use super::vocabulary::{Parameters, SecurityEvent};
use super::{Events, SECURITY_TARGET};
use crate::logging::Level;

/// A security event that is about to be logged: first what is known besides, then [`log`](SecurityRecord::log).
#[derive(Debug)]
#[must_use = "nothing is logged before `log` is called"]
pub struct SecurityRecord<'a> {
    events: &'a Events,
    event: SecurityEvent<'a>,
    source_ip: Option<IpAddr>,
    peer: Option<Bounded<'a>>,
    user_agent: Option<Bounded<'a>>,
    request_method: Option<Bounded<'a>>,
    request_uri: Option<Bounded<'a>>,
    description: Option<Bounded<'a>>,
}

impl Events {
    /// A security event of OWASP's vocabulary. It passes every level and every limit of repeating lines, and is counted.
    ///
    /// ```
    /// use std::net::Ipv4Addr;
    /// use wellkept_telemetry::events::{Events, SecurityEvent};
    ///
    /// let events = Events::default();
    /// let failed = SecurityEvent::AuthnLoginFail { user: "ann" };
    /// events.security(failed).source_ip(Ipv4Addr::new(192, 0, 2, 7).into()).log();
    /// ```
    pub fn security<'a>(&'a self, event: SecurityEvent<'a>) -> SecurityRecord<'a> {
        SecurityRecord {
            events: self,
            event,
            source_ip: None,
            peer: None,
            user_agent: None,
            request_method: None,
            request_uri: None,
            description: None,
        }
    }
}

impl<'a> SecurityRecord<'a> {
    /// Where it came from: the field `source_ip`.
    pub fn source_ip(self, ip: IpAddr) -> Self {
        Self { source_ip: Some(ip), ..self }
    }

    /// Where it came from, when that is no IP address: the field `peer`.
    pub fn peer(self, peer: &'a str) -> Self {
        Self { peer: bounded(peer), ..self }
    }

    /// What the client calls itself: the field `user_agent`.
    pub fn user_agent(self, agent: &'a str) -> Self {
        Self { user_agent: bounded(agent), ..self }
    }

    /// The request that it came with, its path without the query: the fields `request_method` and `request_uri`.
    pub fn request(self, method: &'a str, path: &'a str) -> Self {
        Self { request_method: bounded(method), request_uri: bounded(path), ..self }
    }

    /// What happened, for people: the field `description`. Of every value at most 512 bytes are written.
    pub fn description(self, text: &'a str) -> Self {
        Self { description: bounded(text), ..self }
    }

    /// Logs and counts it.
    pub fn log(self) {
        self.events.count_security(self.event.name());
        let (event, message) = (self.event.name(), self.event.meaning());
        let Self { source_ip, peer, user_agent, request_method, request_uri, description, .. } = self;
        let Parameters {
            user,
            on_user,
            retries,
            max,
            reason,
            from,
            to,
            entitlements,
            token_id,
            app,
            resource,
            action,
            file,
            file_type,
            validator,
            result,
            input,
            tool,
            referer,
            object,
            monitor,
            attributes,
        } = self.event.parameters();
        macro_rules! say {
            ($level:ident $(, $severity:literal)?) => {
                tracing::event!(
                    target: SECURITY_TARGET, TracingLevel::$level, $(severity = $severity,)?
                    event, user = shown(user), on_user = shown(on_user), retries, max, reason = shown(reason),
                    from = shown(from), to = shown(to), entitlements = shown(entitlements), token_id = shown(token_id),
                    app = shown(app), resource = shown(resource), action = shown(action), file = shown(file),
                    file_type = shown(file_type), validator = shown(validator), result = shown(result),
                    input = shown(input), tool = shown(tool), referer = shown(referer), object = shown(object),
                    monitor = shown(monitor), attributes = shown(attributes), source_ip = shown(source_ip),
                    peer = shown(peer), user_agent = shown(user_agent), request_method = shown(request_method),
                    request_uri = shown(request_uri), description = shown(description), "{message}"
                )
            };
        }
        match self.event.level() {
            Level::Critical => say!(ERROR, "critical"),
            Level::Warning | Level::Error => say!(WARN),
            Level::Info | Level::Debug | Level::Trace => say!(INFO),
        }
    }
}

fn shown<T: fmt::Display>(value: Option<T>) -> Option<DisplayValue<T>> {
    value.map(display)
}
