//! Probes as they are mostly sent, answered without a router: a GET of a known path that asks for nothing more. What
//! such an answer takes is less than finding its route.

use std::sync::Arc;

use axum::response::Response;
use http::header::{ACCEPT, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Uri};
use wellkept_health::Origins;
use wellkept_health::wire::Subject;

use super::{Doors, Names, formats, kubernetes, probes};
use crate::server::AtOnce;

impl Doors {
    /// Answers the plainest of the public routes, for [`Server::at_once`](crate::Server::at_once): just as
    /// [`Doors::public`] does, which must be served too, as all others are left to it.
    pub fn at_once(&self) -> AtOnce {
        let doors = self.clone();
        Arc::new(move |method, uri, headers| doors.answer_at_once(method, uri, headers))
    }

    /// None of these says more to an operator than to others, so nobody asks who it is.
    fn answer_at_once(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        if *method != Method::GET || uri.query().is_some() || asks_for_more(headers) {
            return None;
        }
        let word = |subject| Some(kubernetes::quick(self, &subject));
        let varying = |answer| Some(formats::varying(answer));
        match uri.path() {
            "/livez" => word(Subject::Live),
            "/readyz" => word(Subject::Ready),
            "/healthz" => word(Subject::Service),
            "/health" => varying(probes::health(self)),
            "/health/live" => varying(probes::live(self)),
            "/health/startup" => varying(probes::startup(self)),
            "/health/ready" | "/ready" if self.inner.names == Names::Shown && self.has_few_components() => {
                varying(probes::ready(self))
            }
            _ => None,
        }
    }
}

/// Whether it brings a body, wishes for another format, or comes from a service that is told more.
fn asks_for_more(headers: &HeaderMap) -> bool {
    let any_format = headers.get(ACCEPT).is_none_or(|accept| accept == "*/*");
    let several = headers.get_all(ACCEPT).iter().nth(1).is_some();
    let has_body = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    !any_format || several || has_body || headers.contains_key(Origins::ASKER)
}
