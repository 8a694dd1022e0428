//! What a handshake has shown.

use std::time::SystemTime;

use rustls::ProtocolVersion;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::TlsStream;

/// What a handshake has shown of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The version of TLS: `1.2` or `1.3`.
    pub version: &'static str,
    /// When the server's own certificate ends; `None` when that can't be read.
    pub not_after: Option<SystemTime>,
    /// The application protocol that was agreed on (ALPN), such as `h2`.
    pub alpn: Option<Vec<u8>>,
}

impl Session {
    /// Of a connection whose handshake is over.
    pub fn of<S>(stream: &TlsStream<S>) -> Self {
        let (_, connection) = stream.get_ref();
        Self {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                // There is no third one that rustls speaks.
                _ => "1.3",
            },
            not_after: connection.peer_certificates().and_then(|chain| not_after(chain.first()?)),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        }
    }
}

/// When a certificate ends; `None` when that can't be read. Of the bytes that PEM encodes (DER).
pub fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_system_time())
}
