//! What the application serves: a quick answer, a slow one, and a stream.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use deadpool_postgres::{Pool, PoolError};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Longest wait that a request may ask for, in milliseconds.
const MAX_MS: u64 = 60_000;

pub(crate) fn routes(pool: Pool) -> Router {
    Router::new()
        .route("/orders/count", get(count))
        .route("/slow", get(slow))
        .route("/stream", get(parts))
        .with_state(pool)
}

/// `GET /orders/count`: asks the database.
async fn count(State(pool): State<Pool>) -> Result<Json<Value>, StatusCode> {
    match count_orders(&pool).await {
        Ok(orders) => Ok(Json(json!({ "orders": orders }))),
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "the orders can't be counted");
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

async fn count_orders(pool: &Pool) -> Result<i64, PoolError> {
    Ok(pool.get().await?.query_one("SELECT count(*) FROM orders", &[]).await?.try_get(0)?)
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

/// `GET /slow?ms=3000`: answers after a while, without the database.
async fn slow(Query(Slow { ms }): Query<Slow>) -> String {
    sleep(Duration::from_millis(ms.min(MAX_MS))).await;
    format!("slept {ms} ms\n")
}

#[derive(Deserialize)]
struct Parts {
    parts: u32,
    ms: u64,
}

/// `GET /stream?parts=20&ms=100`: sends a body part by part.
async fn parts(Query(Parts { parts, ms }): Query<Parts>) -> Body {
    let pause = Duration::from_millis(ms.min(MAX_MS));
    Body::from_stream(stream::unfold(0, move |sent| async move {
        if sent == parts {
            return None;
        }
        sleep(pause).await;
        Some((Ok::<_, Infallible>(format!("part {sent}\n")), sent + 1))
    }))
}
