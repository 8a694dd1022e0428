//! Components that operators add while the process runs, and take away again.

use std::fmt;
use std::sync::{Arc, OnceLock};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wellkept_health::{Component, RegisterError};
use wellkept_telemetry::events::SecurityEvent;

use super::acting::{Actor, Input};
use super::routes::{Operation, Routes};
use super::{Doors, NoBody, Segment, json};
use crate::access::Credential;
use crate::error::{ApiError, Refusal};

type Reader = Arc<dyn Fn(&Map<String, Value>) -> Result<Component, String> + Send + Sync>;

/// Where the reader of definitions is, once there is one.
#[derive(Default)]
pub(super) struct AddingHandle(OnceLock<Reader>);

impl fmt::Debug for AddingHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("AddingHandle").field(&self.0.get().is_some()).finish()
    }
}

impl Doors {
    /// Has `POST /api/v1/components` read definitions of components by this; without it the endpoint answers 404. What it
    /// refuses is 422 with its message, which must hold no secret. It must not block, and must refuse what runs programs
    /// or opens paths. Only the first call counts.
    ///
    /// Whoever adds a component needs the token itself: to come straight from this machine is not enough.
    pub fn read_components(
        &self,
        read: impl Fn(&Map<String, Value>) -> Result<Component, String> + Send + Sync + 'static,
    ) {
        // A second one would make the answer depend on an order.
        let _ = self.inner.adding.0.set(Arc::new(read));
    }
}

/// What acts.
pub(super) fn routes() -> Routes {
    let add = Operation::new(
        Method::POST,
        "/api/v1/components",
        "Adds a component until the process ends, or the configuration has its name. Needs the token.",
    )
    .takes::<Item>()
    .json::<Added>(&[200])
    .error(ApiError::NotFound)
    .refuses(&[403, 409, 422]);
    let remove = Operation::new(Method::DELETE, "/api/v1/components/{name}", "Removes a component that was added so.")
        .segment::<String>("name", "The component's name.")
        .json::<Removed>(&[200])
        .error(ApiError::BodyNotAllowed)
        .refuses(&[404, 409]);
    Routes::new().route(add, self::add).route(remove, self::remove)
}

/// A component, as an item of the configuration's list `checks` defines it: its name, its kind with settings, and how it
/// is kept. Nothing in it is filled in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
struct Item(Map<String, Value>);

/// What was added.
#[derive(Debug, Serialize, JsonSchema)]
struct Added {
    /// The component's name.
    added: String,
}

/// What was removed.
#[derive(Debug, Serialize, JsonSchema)]
struct Removed {
    /// The component's name.
    removed: String,
}

/// `POST /api/v1/components`
async fn add(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    Input(Item(item)): Input<Item>,
) -> Result<Response, Refusal> {
    let read = doors.inner.adding.0.get().ok_or(ApiError::NotFound)?;
    if actor.credential != Credential::Token {
        let message = "to add a component needs the token: to come from this machine is not enough";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "http.token_needed", message));
    }
    let refused = |message| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "component.rejected", message);
    let component = read(&item).map_err(refused)?;
    let added = component.name().to_owned();
    doors.inner.checker.add(component).map_err(|error| {
        let status = match &error {
            RegisterError::Duplicate { .. } | RegisterError::TooMany { .. } => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Refusal::new(status, error.code(), error.to_string())
    })?;
    actor.tell(&doors, SecurityEvent::AuthzAdmin { user: actor.user(), action: "component_add" });
    Ok(json(StatusCode::OK, &Added { added }))
}

/// `DELETE /api/v1/components/{name}`
async fn remove(
    State(doors): State<Doors>,
    Extension(actor): Extension<Actor>,
    Segment(name): Segment,
    _: NoBody,
) -> Result<Response, Refusal> {
    doors.inner.checker.remove_added(&name)?;
    actor.tell(&doors, SecurityEvent::AuthzAdmin { user: actor.user(), action: "component_remove" });
    Ok(json(StatusCode::OK, &Removed { removed: name }))
}
