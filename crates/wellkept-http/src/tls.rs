//! What a server shakes hands with: a certificate and its key, checked before they are used, and renewed while it serves.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// Largest file that is read, in bytes.
const MOST_OF_A_FILE: usize = 1024 * 1024;
/// What is offered, the preferred one first (ALPN, RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files that a [`TlsIdentity`] is read from, each in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
    /// Authorities of clients. With them a client without a certificate of theirs is not let in. Default none.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with its key, found fit to serve with: TLS 1.2 and 1.3 by `ring`, HTTP/2 and HTTP/1.1 by ALPN. Cheap to
/// clone; two are equal when they were read from the same bytes. Nothing shows the key.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    /// Of all that it was made from.
    digest: [u8; 32],
    not_after: Option<SystemTime>,
}

impl TlsIdentity {
    /// Reads the files, each of at most 1 MiB. Blocks on the file system.
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let certificate = Source::read(TlsPart::Certificate, &files.certificate)?;
        let key = Source::read(TlsPart::Key, &files.key)?;
        let client_ca = files.client_ca.as_deref().map(|path| Source::read(TlsPart::ClientCa, path)).transpose()?;
        Self::of(&certificate, &key, client_ca.as_ref())
    }

    /// Of texts in PEM, as [`TlsFiles`] has them.
    pub fn from_pem(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Self, TlsError> {
        let source = |part, bytes: &[u8]| Source { place: TlsPlace { part, path: None }, bytes: bytes.to_vec() };
        let client_ca = client_ca.map(|bytes| source(TlsPart::ClientCa, bytes));
        Self::of(&source(TlsPart::Certificate, certificate), &source(TlsPart::Key, key), client_ca.as_ref())
    }

    fn of(certificate: &Source, key: &Source, client_ca: Option<&Source>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificate.certificates()?;
        let not_after = chain.first().and_then(|own| wellkept_net::tls::not_after(own));
        let certified = certified(certificate, chain, key, &provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the ring provider supports TLS 1.2 and 1.3");
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(source) => {
                let unusable = |why: &dyn fmt::Display| source.unusable(why);
                let mut roots = RootCertStore::empty();
                for authority in source.certificates()? {
                    roots.add(authority).map_err(|error| unusable(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| unusable(&error))?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        let mut digest = Sha256::new();
        for source in [Some(certificate), Some(key), client_ca] {
            // Each by its own digest, so that no byte can move from one to the next unseen.
            digest.update(Sha256::digest(source.map_or(&[][..], |source| &source.bytes)));
        }
        Ok(Self { config: Arc::new(config), digest: digest.finalize().into(), not_after })
    }

    /// When the certificate ends; `None` when that can't be read from it.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// One line for a certificate that has ended, which clients will refuse; `None` for one that holds.
    pub fn warning(&self) -> Option<String> {
        let ended = self.not_after.filter(|end| *end <= SystemTime::now())?;
        let ended = Timestamp::try_from(ended).map_or_else(|_| "long ago".to_owned(), |at| at.to_string());
        Some(format!("the certificate has ended at {ended}: clients will refuse it"))
    }
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TlsIdentity {}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// What a server shakes hands with, now: clones share it, so that one kept outside renews it while it serves.
///
/// ```no_run
/// use wellkept_http::{Server, ServerOptions, Tls, TlsFiles, TlsIdentity};
///
/// let files = TlsFiles { certificate: "tls.pem".into(), key: "tls.key".into(), client_ca: None };
/// let tls = Tls::new(TlsIdentity::load(&files)?);
/// let options = ServerOptions { tls: Some(tls.clone()), ..ServerOptions::default() };
/// let server = Server::bind(([0, 0, 0, 0], 8443), options)?;
/// // Later, when the files have changed. What can't be used is an error, and all goes on as before.
/// tls.renew(TlsIdentity::load(&files)?);
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tls(Arc<ArcSwap<TlsIdentity>>);

impl Tls {
    /// With this identity at first.
    pub fn new(identity: TlsIdentity) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(identity)))
    }

    /// Connections from now on get this identity; those that have shaken hands keep theirs. No session of before is
    /// resumed.
    pub fn renew(&self, identity: TlsIdentity) {
        self.0.store(Arc::new(identity));
    }

    /// What connections get now.
    pub fn identity(&self) -> Arc<TlsIdentity> {
        self.0.load_full()
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.load().config)
    }
}

/// Why there is nothing to shake hands with. Each says which file and what to do; none holds anything of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not there, not for us to read, or no file.
    #[error("{place} can't be read: {error}")]
    Unreadable {
        /// Which one.
        place: TlsPlace,
        /// What the system said.
        error: io::Error,
    },
    /// It has more than 1 MiB.
    #[error("{place} is larger than 1 MiB")]
    TooLarge {
        /// Which one.
        place: TlsPlace,
    },
    /// There is no certificate in it.
    #[error("{place} holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate {
        /// Which one.
        place: TlsPlace,
    },
    /// There is no private key in it.
    #[error("{place} holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`), or one with a passphrase")]
    NoKey {
        /// Which one.
        place: TlsPlace,
    },
    /// What is in it can't be used.
    #[error("{place} can't be used: {why}")]
    Unusable {
        /// Which one.
        place: TlsPlace,
        /// What is wrong with it.
        why: String,
    },
    /// The key is that of another certificate.
    #[error("{key} does not belong to {certificate}: name the one that it was issued for")]
    Mismatch {
        /// Which key.
        key: TlsPlace,
        /// Which certificate.
        certificate: TlsPlace,
    },
}

impl TlsError {
    /// The part that is wrong.
    pub const fn part(&self) -> TlsPart {
        match self {
            Self::Unreadable { place, .. }
            | Self::TooLarge { place }
            | Self::NoCertificate { place }
            | Self::NoKey { place }
            | Self::Unusable { place, .. }
            | Self::Mismatch { key: place, .. } => place.part,
        }
    }

    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "tls.unreadable",
            Self::TooLarge { .. } => "tls.too_large",
            Self::NoCertificate { .. } => "tls.no_certificate",
            Self::NoKey { .. } => "tls.no_key",
            Self::Unusable { .. } => "tls.unusable",
            Self::Mismatch { .. } => "tls.mismatch",
        }
    }
}

/// Which part of an identity an error is about, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPlace {
    /// The part.
    pub part: TlsPart,
    /// Its file; `None` for a text.
    pub path: Option<PathBuf>,
}

/// The parts of an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPart {
    /// The certificate.
    Certificate,
    /// Its key.
    Key,
    /// The authorities of clients.
    ClientCa,
}

impl TlsPart {
    /// The word in the configuration: `certificate`, `key` or `client_ca`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::ClientCa => "client_ca",
        }
    }
}

impl fmt::Display for TlsPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            TlsPart::Certificate => "certificate",
            TlsPart::Key => "key",
            TlsPart::ClientCa => "client CA",
        };
        match &self.path {
            Some(path) => write!(formatter, "the {part} file {}", path.display()),
            None => write!(formatter, "the {part}"),
        }
    }
}

/// A text in PEM and where it is from.
struct Source {
    place: TlsPlace,
    bytes: Vec<u8>,
}

impl Source {
    fn read(part: TlsPart, path: &Path) -> Result<Self, TlsError> {
        let place = TlsPlace { part, path: Some(path.to_owned()) };
        match wellkept_config::read_regular(path, MOST_OF_A_FILE + 1) {
            Ok(bytes) if bytes.len() > MOST_OF_A_FILE => Err(TlsError::TooLarge { place }),
            Ok(bytes) => Ok(Self { place, bytes }),
            Err(error) => Err(TlsError::Unreadable { place, error }),
        }
    }

    fn unusable(&self, why: &dyn fmt::Display) -> TlsError {
        TlsError::Unusable { place: self.place.clone(), why: why.to_string() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if found.is_empty() => Err(TlsError::NoCertificate { place: self.place.clone() }),
            Ok(found) => Ok(found),
            Err(_) => Err(self.unusable(&"it is damaged")),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| match error {
            rustls_pki_types::pem::Error::NoItemsFound => TlsError::NoKey { place: self.place.clone() },
            // Its own words might quote a line.
            _ => self.unusable(&"it is damaged"),
        })
    }
}

fn certified(
    certificate: &Source,
    chain: Vec<CertificateDer<'static>>,
    key: &Source,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let signing = provider.key_provider.load_private_key(key.key()?);
    let signing = signing.map_err(|_| key.unusable(&"it is of a kind or size that is not known"))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(TlsError::Mismatch { key: key.place.clone(), certificate: certificate.place.clone() })
        }
        // That it can't be told is no reason to refuse it.
        Ok(()) | Err(rustls::Error::InconsistentKeys(_)) => Ok(certified),
        Err(error) => Err(certificate.unusable(&error)),
    }
}

#[cfg(test)]
mod tests;
