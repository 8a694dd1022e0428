//! The doors of a service: endpoints, server, status page, and the collectors that turn figures into metrics.
//!
//! [`Doors`] makes the routes, [`Server`] serves them with limits from the first byte on, and an [`Agent`] answers
//! HAProxy; a [`ShutdownLayer`] does what it can in a server of one's own. None keeps state of health: they read the checker's latest snapshot.

mod access;
mod collect;
mod correlation;
mod doors;
mod error;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(target_os = "linux")]
pub mod handover;
mod haproxy;
mod layer;
mod requests;
mod server;
mod sockets;
mod spans;
#[cfg(feature = "tls")]
mod tls;

pub use access::{Access, Caller, Credential, Loopback, Token, TokenError};
pub use correlation::{
    CorrelatedBody, CorrelationFuture, CorrelationLayer, CorrelationService, PropagationLayer, PropagationService,
    propagate,
};
pub use doors::{Doors, Names};
pub use error::ApiError;
pub use haproxy::{Agent, AgentHandle, AgentOptions, AgentStats};
pub use layer::{ShutdownFuture, ShutdownLayer, ShutdownService};
pub use requests::{MeasuredBody, RequestFuture, RequestLayer, RequestOptions, RequestPart, RequestService, Responses};
pub use server::{
    Address, AddressError, Arrival, AtOnce, BindError, Exempt, Listener, Peer, PeerProcess, Server, ServerHandle,
    ServerOptions, ServerStats, TimeoutStats,
};
pub use sockets::{ActivationError, Listening, SharedSocket, Sockets, activated};
pub use spans::{RequestSpanBody, RequestSpanFuture, RequestSpanLayer, RequestSpanService};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError, TlsFiles, TlsIdentity, TlsPart, TlsPlace};
