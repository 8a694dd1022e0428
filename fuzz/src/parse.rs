//! Any bytes as one file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wellkept_config::Document;
use wellkept_fuzz::{SECRET, judge, read, variable};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // What is filled in is looked for in messages; of a file that holds it itself nothing could be said.
    let secret = if text.contains(SECRET) { "" } else { SECRET };
    // Files of this machine are not for fuzzing.
    if text.contains("file:") || text.contains("_file") {
        return;
    }
    let outcome = Document::parse_deferring("app.yaml", text)
        .and_then(|document| read(&document.interpolate_deferring(&variable)));
    if let Err(wrong) = outcome {
        judge(&wrong, secret);
    }
});
