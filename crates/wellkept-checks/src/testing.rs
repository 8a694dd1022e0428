//! What the tests of all kinds share.

mod server;
mod tls;

use std::time::Duration;

use wellkept_config::Document;
use wellkept_health::{AnyCheck, Check, Context, Outcome};

pub(crate) use self::server::Server;
pub(crate) use self::tls::untrusted_tls_server;

/// A password that must turn up nowhere.
pub(crate) const PLANTED: &str = "hunter2-planted";

/// Long enough for a busy machine; what ends in time does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One run with a generous timeout.
pub(crate) async fn run(check: &impl Check) -> Outcome {
    check.run(&Context::within(PATIENCE)).await
}

/// One run whose other side does not answer; asserts that it ended by itself. The checker drops it half a second after its
/// begin, which a busy machine may miss; this does so much later.
pub(crate) async fn run_into_timeout(check: &impl Check) -> Outcome {
    let within = Context::within(Duration::from_millis(500));
    let outcome =
        tokio::time::timeout(Duration::from_secs(20), check.run(&within)).await.expect("the run ends by itself");
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
