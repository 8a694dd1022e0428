//! The messages of `grpc.health.v1`, as `health.proto` numbers their fields.

use std::collections::BTreeMap;

use super::services::ServingStatus;

/// `HealthCheckRequest`: of Check and of Watch.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CheckRequest {
    /// The name asked for; empty for the server as a whole.
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

/// `HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct CheckResponse {
    /// `ServingStatus`: unknown, serving, not serving, service unknown.
    #[prost(enumeration = "ServingStatus", tag = "1")]
    pub(super) status: i32,
}

/// `HealthListRequest`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct ListRequest {}

/// `HealthListResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ListResponse {
    /// Each service's answer by its name.
    #[prost(btree_map = "string, message", tag = "1")]
    pub(super) statuses: BTreeMap<String, CheckResponse>,
}

impl From<ServingStatus> for CheckResponse {
    fn from(serving: ServingStatus) -> Self {
        Self { status: serving as i32 }
    }
}
