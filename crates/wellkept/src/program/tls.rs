//! TLS on the doors of the program: read with the configuration, renewed by a reload.

use std::path::PathBuf;

use wellkept_config::Section;
use wellkept_http::{Tls, TlsFiles, TlsIdentity};

use super::listeners::Listeners;

/// TLS on a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorTls {
    /// Where it was read.
    pub files: TlsFiles,
    /// What was in them.
    pub identity: TlsIdentity,
}

impl DoorTls {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        section.describe(&[
            ("certificate", "The file of the certificate and those that lead to its root, in PEM."),
            ("key", "The file of its private key, in PEM."),
            ("client_ca", "The file of the roots that clients' certificates must lead to, in PEM. Default: clients need no certificate."),
        ]);
        // Whether there is TLS waits for a restart; what it shakes hands with does not.
        section.at_once(&["certificate", "key", "client_ca"]);
        let (certificate, key) = (section.required("certificate"), section.required("key"));
        let client_ca = section.optional::<PathBuf>("client_ca");
        section.complete();
        let files = TlsFiles { certificate: certificate?, key: key?, client_ca };
        for path in [&files.certificate, &files.key].into_iter().chain(&files.client_ca) {
            section.take_in(path);
        }
        match TlsIdentity::load(&files) {
            Ok(identity) => Some(Self { files, identity }),
            Err(error) => {
                let at = section.position_of(error.part().as_str());
                section.report(at, "config.tls", error.to_string());
                None
            }
        }
    }

    /// One line for a certificate that has ended.
    pub(super) fn warning(&self, door: &str) -> Option<String> {
        let warning = self.identity.warning()?;
        Some(format!("{door}: {}: {warning}", self.files.certificate.display()))
    }
}

/// What the running doors shake hands with. A door that began without TLS stays without it until a restart.
#[derive(Debug, Default)]
pub(super) struct RunningTls {
    pub(super) http: Option<Tls>,
    pub(super) admin: Option<Tls>,
}

impl RunningTls {
    pub(super) fn of(listeners: &Listeners) -> Self {
        let tls = |door: Option<&DoorTls>| door.map(|tls| Tls::new(tls.identity.clone()));
        Self { http: tls(listeners.http.tls.as_ref()), admin: tls(listeners.admin_tls()) }
    }

    /// Has new connections shake hands with what was read anew, and says until when it holds.
    pub(super) fn renew(&self, listeners: &Listeners) {
        let doors = [("http", &self.http, listeners.http.tls.as_ref()), ("admin", &self.admin, listeners.admin_tls())];
        for (door, running, new) in doors {
            let (Some(running), Some(new)) = (running, new) else { continue };
            if *running.identity() == new.identity {
                continue;
            }
            running.renew(new.identity.clone());
            let until = new.identity.not_after().and_then(|end| jiff::Timestamp::try_from(end).ok());
            let until = until.map(tracing::field::display);
            tracing::info!(target: "wellkept::config", door, until, "the certificate is renewed");
            if let Some(warning) = new.warning(door) {
                tracing::warn!(target: "wellkept::config", "{warning}");
            }
        }
    }
}
