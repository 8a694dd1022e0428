//! What was wrong with a handshake, as an operator tells it apart.

use std::io;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// What was wrong with a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The certificate's time is over.
    Expired {
        /// When it was, if that is known.
        not_after: Option<SystemTime>,
    },
    /// The certificate's time has not begun: one of the two clocks is wrong, more often than not.
    NotYetValid,
    /// The certificate is for other names.
    OtherName,
    /// The certificate does not come from a trusted root, is revoked, or can't be read.
    Untrusted,
    /// There is no version of TLS that both sides speak.
    Version,
    /// None of the application protocols that were offered is spoken there.
    Protocol,
    /// What came is not TLS.
    NotTls,
    /// The connection broke.
    Broken,
    /// Anything else, such as an alert of the server's.
    Other,
}

impl Fault {
    pub(super) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(Error::InvalidCertificate(error)) => Self::of_certificate(error),
            Some(
                Error::AlertReceived(AlertDescription::ProtocolVersion)
                | Error::PeerIncompatible(
                    PeerIncompatible::ServerDoesNotSupportTls12Or13
                    | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
                ),
            ) => Self::Version,
            Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol) => {
                Self::Protocol
            }
            Some(Error::InvalidMessage(_)) => Self::NotTls,
            Some(_) => Self::Other,
            None => Self::Broken,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired => Self::Expired { not_after: None },
            CertificateError::ExpiredContext { not_after, .. } => {
                let since_epoch = Duration::from_secs(not_after.as_secs());
                Self::Expired { not_after: SystemTime::UNIX_EPOCH.checked_add(since_epoch) }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::OtherName,
            _ => Self::Untrusted,
        }
    }
}
