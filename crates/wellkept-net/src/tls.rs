//! TLS for clients: the trust roots, loaded once when first needed, and a handshake with a deadline.

mod client;
mod fault;
mod session;

use std::io;
use std::sync::{Arc, OnceLock};

pub use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;

pub use self::client::{CaFileError, Client};
pub use self::fault::Fault;
pub use self::session::{Session, not_after};

static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// The process's TLS settings for clients: TLS 1.2 and 1.3 by `ring`, certificates verified against the system's
/// roots, or Mozilla's where the system has none. `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
///
/// The first call reads the roots and blocks for some milliseconds, from async code use [`load`]; later calls cost
/// nothing. The process-wide default provider of rustls is neither used nor set.
pub fn client_config() -> Arc<ClientConfig> {
    Arc::clone(CONFIG.get_or_init(|| Arc::new(config_with_roots(system_roots()))))
}

/// As [`client_config`], reading the roots on a thread that may block. Cancel-safe.
pub async fn load() -> Arc<ClientConfig> {
    if let Some(config) = CONFIG.get() {
        return Arc::clone(config);
    }
    match tokio::task::spawn_blocking(client_config).await {
        Ok(config) => config,
        // Only a runtime that is shutting down refuses; then blocking for a moment harms nobody.
        Err(_cancelled) => client_config(),
    }
}

/// As [`client_config`], for roots of one's own.
pub fn config_with_roots(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the ring provider supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Settings that encrypt without asking whom with: any certificate is accepted. Only for where plain text would be
/// accepted as well (`sslmode=prefer`), as this stops those who listen and nobody who redirects.
pub fn opportunistic_config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate { algorithms: provider.signature_verification_algorithms });
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider supports TLS 1.2 and 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth()
}

/// Shakes hands as a client of `server_name` (a DNS name or an IP address, without brackets), and verifies that the
/// certificate is for that name and comes from a trusted root.
///
/// Ends at `deadline` at the latest, reading the roots included. Cancel-safe: dropping the future closes the stream.
pub async fn connect<S>(stream: S, server_name: &str, deadline: Instant) -> Result<TlsStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = timeout_at(deadline, load()).await.map_err(|_elapsed| TlsError::Timeout)?;
    connect_with(config, stream, server_name, deadline).await
}

/// As [`connect`], with settings of one's own.
pub async fn connect_with<S>(
    config: Arc<ClientConfig>,
    stream: S,
    server_name: &str,
    deadline: Instant,
) -> Result<TlsStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(server_name.to_owned()).map_err(|_invalid| TlsError::InvalidName)?;
    match timeout_at(deadline, TlsConnector::from(config).connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(TlsError::Handshake(error)),
        Err(_elapsed) => Err(TlsError::Timeout),
    }
}

/// Why there is no TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The host is neither a DNS name nor an IP address, so no certificate can be for it.
    #[error("not a name that a certificate can be for")]
    InvalidName,
    /// The handshake failed: an untrusted or expired certificate, another name, or no TLS at all.
    #[error("handshake: {0}")]
    Handshake(#[source] io::Error),
    /// The deadline passed.
    #[error("timed out during the handshake")]
    Timeout,
}

impl TlsError {
    /// The stable code: `tls`, `timeout`, or `network` when the connection broke during the handshake.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Handshake(error) if Fault::of(error) == Fault::Broken => "network",
            Self::InvalidName | Self::Handshake(_) => "tls",
            Self::Timeout => "timeout",
        }
    }

    /// What was wrong with the handshake; `None` when it did not come to one, or to no end.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Handshake(error) => Some(Fault::of(error)),
            Self::InvalidName | Self::Timeout => None,
        }
    }
}

/// Accepts any certificate, but only from who holds its key.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // Certificates that can't be parsed are left out: one broken file must not take all others with it.
    let _counts = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::ServerConfig;
    use rustls_pki_types::PrivateKeyDer;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::TlsAcceptor;

    /// A server for `localhost` that echoes one byte, and roots that trust it.
    fn server() -> (DuplexStream, RootCertStore) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issued.cert.der().clone()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![issued.cert.der().clone()],
                PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into()),
            )
            .unwrap();
        let (near, far) = duplex(16 * 1024);
        tokio::spawn(async move {
            if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(far).await {
                let byte = stream.read_u8().await.unwrap();
                stream.write_u8(byte).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        (near, roots)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test]
    async fn a_trusted_certificate_for_the_name_is_accepted() {
        let (stream, roots) = server();
        let config = Arc::new(config_with_roots(roots));
        let mut stream = connect_with(config, stream, "localhost", soon()).await.unwrap();
        stream.write_u8(7).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_not() {
        let (stream, roots) = server();
        let config = Arc::new(config_with_roots(roots));
        let error = connect_with(config, stream, "elsewhere.example", soon()).await.unwrap_err();
        assert_eq!(error.code(), "tls");
    }

    #[tokio::test]
    async fn without_asking_whom_any_certificate_is_accepted() {
        let (stream, _roots) = server();
        let config = Arc::new(opportunistic_config());
        connect_with(config, stream, "elsewhere.example", soon()).await.unwrap();
    }

    #[tokio::test]
    async fn a_certificate_of_an_unknown_issuer_is_not() {
        let (stream, _roots) = server();
        let error = connect(stream, "localhost", soon()).await.unwrap_err();
        assert_eq!(error.code(), "tls");
    }

    #[tokio::test]
    async fn a_server_without_tls_is_a_tls_error() {
        let (near, mut far) = duplex(1024);
        far.write_all(b"220 mail.example ESMTP ready\r\n").await.unwrap();
        let error = connect(near, "localhost", soon()).await.unwrap_err();
        assert_eq!(error.code(), "tls");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up_at_the_deadline() {
        let config = load().await;
        let (near, _far) = duplex(1024);
        let error = connect_with(config, near, "localhost", soon()).await.unwrap_err();
        assert!(matches!(error, TlsError::Timeout), "{error:?}");
    }

    #[test]
    fn the_process_wide_provider_is_left_alone() {
        let _config = client_config();
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
    }

    #[test]
    fn there_are_always_roots() {
        assert!(!system_roots().is_empty());
    }
}
