//! `POST /api/v1/config/reload`: has whoever owns the configuration read it again.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Doors, json};
use crate::error::{ApiError, Refusal};

/// What a reload came to, for whoever asked for it over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Reloaded {
    /// The new configuration runs: 200.
    Applied {
        /// Names of checks that are new.
        added: Vec<String>,
        /// Names of checks whose definition differs.
        changed: Vec<String>,
        /// Names of checks that are gone.
        removed: Vec<String>,
        /// How many checks kept their state.
        kept: usize,
        /// Keys whose new value waits for a restart; the rest is applied.
        restart_required: Vec<String>,
    },
    /// It says what it said before: 200.
    Unchanged,
    /// Something in it is wrong, and the one from before runs on: 422 with the code `config.rejected`.
    Rejected {
        /// What is wrong, one line for each mistake.
        message: String,
    },
    /// Nothing was read now, for example because another reload runs: 409.
    Refused {
        /// The stable code, for example `config.busy`.
        code: &'static str,
        /// One line.
        message: String,
    },
}

type Hook = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Reloaded> + Send>> + Send + Sync>;

/// Where the hook is, once there is one.
#[derive(Default)]
pub(super) struct ReloadHook(OnceLock<Hook>);

impl fmt::Debug for ReloadHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ReloadHook").field(&self.0.get().is_some()).finish()
    }
}

impl Doors {
    /// Has `POST /api/v1/config/reload` call this; without it the endpoint answers 404. The future must end in bounded
    /// time. When the caller goes away it is dropped, so what must not end halfway belongs into a task of its own.
    /// Only the first call counts.
    pub fn on_reload<F, R>(&self, hook: F)
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Reloaded> + Send + 'static,
    {
        // A second hook would make the answer depend on an order.
        let _ = self.inner.reload.0.set(Arc::new(move || Box::pin(hook())));
    }
}

/// Reloads by the hook, where there is one.
pub(super) async fn by_hook(doors: &Doors) -> Result<Response, Refusal> {
    let hook = doors.inner.reload.0.get().ok_or(ApiError::NotFound)?;
    match hook().await {
        Reloaded::Rejected { message } => {
            Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "config.rejected", message))
        }
        Reloaded::Refused { code, message } => Err(Refusal::new(StatusCode::CONFLICT, code, message)),
        done => Ok(json(StatusCode::OK, &done)),
    }
}
