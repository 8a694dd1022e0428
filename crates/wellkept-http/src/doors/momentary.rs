//! A body that is written once in a millisecond. Writing it takes longer than all else of an answer that is ours, and under
//! load many ask within the millisecond that it tells of.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use wellkept_health::Checker;

use super::{JSON, answer, written_as_json};
use crate::error::ApiError;

/// The latest body of one endpoint. `V` is what it says that can change within a millisecond and matters: the verdict.
#[derive(Debug)]
pub(super) struct Momentary<V> {
    latest: ArcSwapOption<Written<V>>,
}

#[derive(Debug)]
struct Written<V> {
    millisecond: i64,
    verdict: V,
    code: StatusCode,
    body: Bytes,
}

impl<V: PartialEq> Momentary<V> {
    pub(super) fn new() -> Self {
        Self { latest: ArcSwapOption::empty() }
    }

    /// The answer as of now; written anew where time or verdict have changed.
    pub(super) fn answer<T: Serialize>(
        &self,
        checker: &Checker,
        verdict: V,
        write: impl FnOnce() -> (StatusCode, T),
    ) -> Response {
        let millisecond = checker.clock().wall().as_millisecond();
        let latest = self.latest.load();
        if let Some(latest) = latest.as_ref()
            && latest.millisecond == millisecond
            && latest.verdict == verdict
        {
            return answer(latest.code, JSON, latest.body.clone());
        }
        let (code, value) = write();
        let Some(body) = written_as_json(&value) else { return ApiError::Internal.into_response() };
        let body = Bytes::from(body);
        self.latest.store(Some(Arc::new(Written { millisecond, verdict, code, body: body.clone() })));
        answer(code, JSON, body)
    }
}

#[cfg(test)]
impl<V> Momentary<V> {
    /// Which writing it is.
    pub(super) fn writing(&self) -> *const u8 {
        self.latest.load().as_ref().map_or(std::ptr::null(), |latest| latest.body.as_ptr())
    }
}
