//! A handshake that shows the server as it is now: whom it trusts, and what it offers.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::{ClientConfig, TlsError, TlsStream, config_with_roots, connect_with, load};

/// Largest file of certificates that is read, in bytes. The bundle of a system has about 200 KiB.
const MOST_OF_A_FILE: u64 = 4 * 1024 * 1024;

/// How to shake hands. Unlike [`super::connect`] it never resumes an earlier session: the certificate is the one that
/// the server presents this time, and not the one of an hour ago. Cheap to clone.
#[derive(Clone, Default)]
pub struct Client {
    /// `None` for the process's own settings, which are read when first needed.
    config: Option<Arc<ClientConfig>>,
    alpn: &'static [&'static [u8]],
}

impl Client {
    /// Trusts the system's roots, as [`super::client_config`] has them, and offers no application protocol.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts what these settings say. Their application protocols and resumption are not used.
    pub fn with_config(config: Arc<ClientConfig>) -> Self {
        Self { config: Some(config), alpn: &[] }
    }

    /// Trusts the certificates in a file of PEM, and no others. Blocks while it reads the file, 4 MiB at most.
    pub fn with_ca_file(path: &Path) -> Result<Self, CaFileError> {
        let unreadable = |error: io::Error| CaFileError::Unreadable(error.kind());
        if std::fs::metadata(path).map_err(unreadable)?.len() > MOST_OF_A_FILE {
            return Err(CaFileError::TooLarge);
        }
        let text = std::fs::read(path).map_err(unreadable)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|_| CaFileError::Malformed)?;
            roots.add(certificate).map_err(|_| CaFileError::Malformed)?;
        }
        if roots.is_empty() {
            return Err(CaFileError::Empty);
        }
        Ok(Self::with_config(Arc::new(config_with_roots(roots))))
    }

    /// Offers these application protocols (ALPN, RFC 7301), the preferred one first.
    #[must_use]
    pub fn offering(self, alpn: &'static [&'static [u8]]) -> Self {
        Self { alpn, ..self }
    }

    /// As [`super::connect`], by these settings.
    pub async fn connect<S>(&self, stream: S, server_name: &str, deadline: Instant) -> Result<TlsStream<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = match &self.config {
            Some(config) => Arc::clone(config),
            None => timeout_at(deadline, load()).await.map_err(|_elapsed| TlsError::Timeout)?,
        };
        let mut config = Arc::unwrap_or_clone(config);
        config.resumption = Resumption::disabled();
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        connect_with(Arc::new(config), stream, server_name, deadline).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roots = if self.config.is_some() { "own" } else { "system" };
        formatter.debug_struct("Client").field("roots", &roots).finish_non_exhaustive()
    }
}

/// Why a file of certificates can't be used. Holds nothing of its path or text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CaFileError {
    /// It is not there, or not for us to read.
    #[error("the file can't be read: {0}")]
    Unreadable(io::ErrorKind),
    /// It has more than 4 MiB.
    #[error("the file is larger than 4 MiB")]
    TooLarge,
    /// Something in it looks like a certificate and is none.
    #[error("the file holds a certificate that can't be read")]
    Malformed,
    /// There is no certificate in it.
    #[error("the file holds no certificate in PEM")]
    Empty,
}

impl CaFileError {
    /// The stable code: `ca_file.unreadable`, `ca_file.too_large`, `ca_file.malformed` or `ca_file.empty`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "ca_file.unreadable",
            Self::TooLarge => "ca_file.too_large",
            Self::Malformed => "ca_file.malformed",
            Self::Empty => "ca_file.empty",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{HandshakeKind, ServerConfig};
    use rustls_pki_types::PrivateKeyDer;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_rustls::TlsAcceptor;

    #[tokio::test]
    async fn each_handshake_is_a_whole_one_although_the_server_offers_to_resume() {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let config = Arc::new(config_with_roots(roots));
        let client = Client::with_config(Arc::clone(&config));
        let mut kinds = Vec::new();
        for resuming in [false, false, true, true] {
            let (near, far) = duplex(16 * 1024);
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(far).await?.write_all(b"!").await });
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut stream = if resuming {
                connect_with(Arc::clone(&config), near, "localhost", deadline).await.unwrap()
            } else {
                client.connect(near, "localhost", deadline).await.unwrap()
            };
            // What can be resumed comes ahead of the first byte.
            stream.read_u8().await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Full, HandshakeKind::Full, HandshakeKind::Resumed]);
    }

    #[test]
    fn what_is_no_file_of_certificates_is_told_apart() {
        let folder = std::env::temp_dir().join(format!("wellkept-ca-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let code = |path: &Path| Client::with_ca_file(path).unwrap_err().code();
        assert_eq!(code(&folder.join("missing")), "ca_file.unreadable");
        assert_eq!(code(&write("empty", "no certificate\n")), "ca_file.empty");
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        assert_eq!(code(&write("broken", broken)), "ca_file.malformed");
        let good = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        Client::with_ca_file(&write("good", &good)).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
