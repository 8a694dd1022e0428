//! A service whose own configuration changes while it serves: seven adapters that take documents in, limits and feature
//! flags. What is wrong is refused with its line, what can't be reached is refused by whoever needs it, and every version
//! can be returned to.
//!
//! ```sh
//! cargo run -p example-configuration
//! curl -X POST 127.0.0.1:3000/tenant-a/csv --data-binary $'id,name\n1,Ann'
//! $EDITOR examples/08-configuration/ingestion.yaml    # is read again by itself
//! curl 127.0.0.1:3001/api/v1/config/versions
//! curl -X POST 127.0.0.1:3001/api/v1/config/rollback -H 'content-type: application/json' -d '{"to":1}'
//! ```

mod adapters;
mod rest;
mod settings;

use std::env;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Json, Router, body::Bytes, routing::post};
use serde_json::{Value, json};
use wellkept::config::{FlagBoard, Handle, Live, LiveOptions, Sources};
use wellkept::http::Access;
use wellkept::{Service, shutdown::Report};

use rest::Source;
use settings::Ingestion;

/// The application's part of a configuration that runs: what is read of it at once belongs together.
type Current = Handle<Ingestion, Ingestion>;

#[tokio::main]
async fn main() -> Result<Report, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let file = env::var("INGESTION_CONFIG").unwrap_or_else(|_| "examples/08-configuration/ingestion.yaml".to_owned());
    let sources = Sources::new().file(file).environment("INGESTION_").environment_ignores(&["INGESTION_CONFIG"]);
    let live = Live::<Ingestion>::load(sources, LiveOptions::default())?;
    let settings = live.current();

    let source = Source::new();
    let _source = live.subscribe("the REST source", source.clone());
    source.connect(settings.adapters.rest.as_ref()).await?;
    let flags = FlagBoard::new();
    let _flags = flags.follow(&live, |ingestion| &ingestion.flags);

    let app = Router::new().route("/{tenant}/{format}", post(ingest)).with_state(live.handle(|ingestion| ingestion));
    let service = Service::new("ingestion", env!("CARGO_PKG_VERSION"))
        .admin(settings.admin, Access::loopback_only())
        .configuration(&live)
        .flags(&flags);
    Ok(service.serve(app, settings.listen).await?)
}

/// `POST /TENANT/FORMAT`: takes a document in, as the configuration of this moment has it.
async fn ingest(
    State(current): State<Current>,
    Path((tenant, format)): Path<(String, String)>,
    document: Bytes,
) -> (StatusCode, Json<Value>) {
    let ingestion = current.read();
    if document.len() as u64 > ingestion.limits.document.as_u64() {
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(json!({ "error": "the document is too large" })));
    }
    match adapters::read(&ingestion.adapters, &format, &document) {
        Some(Ok(mut taken)) => {
            taken["summary"] = json!(ingestion.flags.summaries.is_on(&tenant));
            taken["tables"] = json!(ingestion.flags.tables.of(&tenant).as_str());
            (StatusCode::OK, Json(taken))
        }
        Some(Err(why)) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": why }))),
        None => (StatusCode::NOT_FOUND, Json(json!({ "error": "there is no such adapter, or it is off" }))),
    }
}
