//! Why a service could not be served.

use wellkept_http::{Address, BindError};

/// Why a service could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address could not be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An admin door would have been open to everyone.
    #[error("the admin door on {address} has no token: give it one, or bind it to 127.0.0.1")]
    OpenAdmin {
        /// Where it would have listened.
        address: Address,
    },
    /// The place of the process before could not be taken; it goes on.
    #[error(transparent)]
    Succession(#[from] super::SuccessionError),
    /// The signal handlers could not be installed.
    #[error("the signal handlers can't be installed: {0}")]
    Signals(std::io::Error),
    /// A thread could not be started.
    #[error("a thread can't be started: {0}")]
    Thread(std::io::Error),
}

impl ServeError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bind(_) => "serve.bind",
            Self::OpenAdmin { .. } => "serve.open_admin",
            Self::Succession(_) => "serve.succession",
            Self::Signals(_) => "serve.signals",
            Self::Thread(_) => "serve.thread",
        }
    }

    /// The exit code of the process: 69 can't listen or take over, 70 the process lacks something, 78 a wrong setting.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind(_) | Self::Succession(_) => 69,
            Self::OpenAdmin { .. } => 78,
            Self::Signals(_) | Self::Thread(_) => 70,
        }
    }
}
