//! What the tests of all kinds share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wellkept_config::Document;
use wellkept_health::{AnyCheck, Check, Context, Outcome};

/// A password that must turn up nowhere.
pub(crate) const PLANTED: &str = "hunter2-planted";

/// Long enough for a busy machine; what ends in time does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One run with a generous timeout.
pub(crate) async fn run(check: &impl Check) -> Outcome {
    check.run(&Context::within(PATIENCE)).await
}

/// One run whose other side does not answer; asserts that it ended by itself, before the checker had to drop it.
pub(crate) async fn run_into_timeout(check: &impl Check) -> Outcome {
    let timeout = Duration::from_millis(500);
    let begun = Instant::now();
    let outcome = tokio::time::timeout(timeout, check.run(&Context::within(timeout))).await;
    let outcome = outcome.unwrap_or_else(|_| panic!("the run went on until {:?}", begun.elapsed()));
    assert_eq!(reason(&outcome), "timeout", "{outcome:?}");
    outcome
}

/// The code of the reason; `pass` when there is none.
pub(crate) fn reason(outcome: &Outcome) -> &str {
    outcome.reason().map_or("pass", |reason| reason.as_str())
}

/// Asserts that nothing of an outcome, not even what only operators see, holds the planted password.
pub(crate) fn assert_keeps_secrets(outcome: &Outcome) {
    assert!(!format!("{outcome:?}").contains(PLANTED), "{outcome:?}");
}

/// Reads `KIND: …` as a configuration would, or what is reported about it.
pub(crate) fn configured(text: &str) -> Result<AnyCheck, String> {
    let document = Document::parse("test.yaml", text).map_err(|diagnostics| diagnostics.to_string())?;
    let read = document.read(|section| {
        let name = section.keys().next().map(|(name, _)| name.to_owned())?;
        let kind = crate::kinds().iter().find(|kind| kind.name == name).expect("the kind exists");
        section.open(&name, kind.read)
    });
    read.map_err(|diagnostics| diagnostics.to_string())
}

/// A server whose certificate is for 127.0.0.1 and comes from nobody. Returns its port.
pub(crate) async fn untrusted_tls_server() -> u16 {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![issued.cert.der().clone()],
            PrivateKeyDer::Pkcs8(issued.signing_key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            assert!(acceptor.accept(stream).await.is_err(), "the client trusts a certificate that comes from nobody");
        }
    });
    port
}
