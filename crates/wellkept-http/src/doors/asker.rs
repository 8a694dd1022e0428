//! What a service that looks at this one is told beside the status: which services the status comes from, so that two
//! which look at each other do not hold each other down.

use axum::response::Response;
use http::header::{HeaderName, HeaderValue};
use wellkept_health::wire::{Sight, Subject};
use wellkept_health::{Checker, Origins};

use super::Doors;
use super::asked::Asked;

const ORIGINS: HeaderName = HeaderName::from_static(Origins::HEADER);

impl Doors {
    /// Adds to an answer where it comes from, for who asks as another service does: with the header
    /// [`Origins::ASKER`]. Everyone else costs nothing. The public gets status words, random numbers, and the names of
    /// this service's own components where these are shown; where they are not, no service that is well either.
    pub(super) fn tell(&self, asked: &Asked, subject: &Subject, response: Response) -> Response {
        self.tell_origins(asked, response, |checker| checker.origins(subject))
    }

    /// The same for an answer about one component.
    pub(super) fn tell_of_component(&self, asked: &Asked, name: &str, response: Response) -> Response {
        self.tell_origins(asked, response, |checker| checker.component_origins(name))
    }

    fn tell_origins(
        &self,
        asked: &Asked,
        mut response: Response,
        origins: impl FnOnce(&Checker) -> Option<Origins>,
    ) -> Response {
        let Some(other) = asked.request.headers.get(Origins::ASKER) else { return response };
        let other = other.to_str().ok().and_then(|other| other.parse().ok());
        let Some(origins) = origins(&self.inner.checker) else { return response };
        let origins = match asked.sight {
            Sight::Details => origins,
            Sight::Names => origins.for_everyone(true),
            Sight::Status => origins.without_well(other).for_everyone(false),
        };
        // Numbers, words and percent-encoded names: always a header's value.
        if let Ok(value) = HeaderValue::try_from(origins.to_string()) {
            response.headers_mut().insert(ORIGINS, value);
        }
        response
    }
}
