//! An authority of the test's own that issues certificates, as files for a server and for who should trust it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(86_400);

/// An authority that no system trusts. Its files go when it is dropped.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When there is no room for its files.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate whose names are both the same for one that has signed itself.
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("the parameters are sound");
        let folder = tempfile::Builder::new().prefix("wellkept-authority-").tempdir().expect("a temporary folder");
        fs::write(folder.path().join("ca.pem"), issuer.pem()).expect("the folder can be written");
        Self { issuer, folder }
    }

    /// The file of its own certificate, for those who should trust it.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Issues a certificate for a DNS name or an IP address that ends in so many days; ended, when that is negative.
    ///
    /// # Panics
    /// When the name is none.
    pub fn issue(&self, name: &str, days: i32) -> Issued {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().expect("a DNS name is ASCII")),
        }];
        let now = SystemTime::now();
        let away = DAY * days.unsigned_abs();
        params.not_before = (now - 400 * DAY).into();
        // A minute more, so that "in ten days" are ten whole days when it is looked at.
        let end = if days < 0 { now - away } else { now + away };
        params.not_after = (end + Duration::from_secs(60)).into();
        let key = KeyPair::generate().expect("a key can be made");
        let issued = params.signed_by(&key, &self.issuer).expect("the parameters are sound");
        let file = |kind: &str| self.folder.path().join(format!("{}{days}.{kind}", name.replace(':', "_")));
        let write = |path: &Path, text: String| fs::write(path, text).expect("the folder can be written");
        let files = Issued { certificate: file("pem"), key: file("key") };
        write(&files.certificate, issued.pem());
        write(&files.key, key.serialize_pem());
        files
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
