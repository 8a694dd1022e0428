//! What a service that looks at this one is told beside the status: which services the status comes from, so that two
//! which look at each other do not hold each other down.

use axum::response::Response;
use http::header::{HeaderName, HeaderValue};
use http::request::Parts;
use wellkept_health::Origins;
use wellkept_health::wire::{Sight, Subject};

use super::Doors;

const ORIGINS: HeaderName = HeaderName::from_static(Origins::HEADER);

impl Doors {
    /// Adds to an answer where it comes from, for who asks as another service does: with the header
    /// [`Origins::ASKER`]. Everyone else costs nothing. The public gets status words, random numbers, and the names of
    /// this service's own components where these are shown; where they are not, no service that is well either.
    pub(super) fn tell(&self, request: &Parts, subject: &Subject, mut response: Response) -> Response {
        let Some(asker) = request.headers.get(Origins::ASKER) else { return response };
        let asker = asker.to_str().ok().and_then(|asker| asker.parse().ok());
        let Some(origins) = self.inner.checker.origins(subject) else { return response };
        let origins = match self.sight(request) {
            Sight::Details => origins,
            Sight::Names => origins.for_everyone(true),
            Sight::Status => origins.without_well(asker).for_everyone(false),
        };
        // Numbers, words and percent-encoded names: always a header's value.
        if let Ok(value) = HeaderValue::try_from(origins.to_string()) {
            response.headers_mut().insert(ORIGINS, value);
        }
        response
    }
}
