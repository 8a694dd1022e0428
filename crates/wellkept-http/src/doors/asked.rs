//! A request at the doors: what it asks for, and how much of it its caller may see.

use axum::extract::Request;
use http::request::Parts;
use wellkept_health::Origins;
use wellkept_health::wire::{Sight, Subject, View};

use super::formats::{Format, pairs};
use super::{Doors, Names};
use crate::access::Caller;
use crate::error::ApiError;

/// A request, and what its caller may see: decided once, so that an answer which is used again for others never holds
/// what only somebody else may see, also when the access changes while it is written.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) request: Parts,
    pub(super) sight: Sight,
}

impl Asked {
    /// The same, of which no component is shown.
    pub(super) fn in_brief(&self) -> Self {
        Self { request: self.request.clone(), sight: Sight::Status }
    }

    /// The format that it wishes for.
    pub(super) fn format(&self) -> Result<Format, ApiError> {
        Format::wished(&self.request)
    }

    /// Whether another service asks, which is told more than the status.
    pub(super) fn is_of_a_service(&self) -> bool {
        self.request.headers.contains_key(Origins::ASKER)
    }

    /// Whether it is one as probes send: no other format, no details, and names may be shown.
    pub(super) fn is_plain(&self) -> bool {
        let asks_for_more = self.request.uri.query().is_some() || self.is_of_a_service();
        !asks_for_more && self.sight >= Sight::Names && self.format() == Ok(Format::Native)
    }

    /// Whether it asks for details, whoever it is.
    fn wants_details(&self) -> bool {
        let query = self.request.uri.query();
        query.is_some_and(|query| pairs(query).any(|pair| pair == ("detailed".into(), "true".into())))
    }
}

impl Doors {
    /// A request with what its caller may see.
    pub(super) fn asked(&self, request: Request) -> Asked {
        let (request, _) = request.into_parts();
        let sight = match (self.caller(&request), self.inner.names) {
            (Caller::Operator, _) => Sight::Details,
            (Caller::Public, Names::Shown) => Sight::Names,
            (Caller::Public, Names::Hidden) => Sight::Status,
        };
        Asked { request, sight }
    }

    /// What a request's caller may see of a subject.
    pub(super) fn view(&self, subject: &Subject, asked: &Asked) -> View<'_> {
        View::of(&self.inner.checker, subject.clone(), asked.sight)
    }

    /// The same for our own bodies, which have details only for those who ask for them.
    pub(super) fn native_view(&self, subject: &Subject, asked: &Asked) -> View<'_> {
        let most = if asked.wants_details() { Sight::Details } else { Sight::Names };
        View::of(&self.inner.checker, subject.clone(), asked.sight.min(most))
    }
}
