//! How much is remembered, and in how many bytes: the section `history`.

use std::time::Duration;

use wellkept_config::{ByteSize, Position, Section};
use wellkept_health::trend::Retention;

/// `history: { retention: 31d, budget: 256MiB }`, and where the budget stands.
pub(super) fn read(section: &mut Section<'_>) -> (Retention, Position) {
    section.describe(&[
        ("retention", "How long what was is remembered, from 1h to 31d. In memory it is the last day, whatever this says."),
        ("budget", "How large the history in a file may become; a budget that all checks together don't fit into is refused. Default: as much as the retention takes."),
    ]);
    let default = Retention::default();
    let keep = section.or("retention", default.keep);
    let budget = section.optional::<ByteSize>("budget").map(ByteSize::as_u64);
    section.complete();
    if !(Retention::SHORTEST..=Retention::LONGEST).contains(&keep) {
        let at = section.position_of("retention");
        section.report(at, "config.range", "the retention must be from 1h to 31d");
    }
    (Retention { keep, budget }, section.position_of("budget"))
}

/// Refuses a budget that the history of all checks does not fit into: nothing is then kept shorter than was asked for
/// without a word.
pub(super) fn refuse(root: &mut Section<'_>, retention: Retention, at: Position, components: usize) {
    if retention.fits(components) {
        return;
    }
    let needed = mebibytes(Retention { budget: Some(0), ..retention }.footprint(components).bytes);
    let message = format!(
        "the history of {components} components takes up to {needed} MiB, which is more than the budget: raise it, or \
         lower `retention`"
    );
    root.report(at, "history.budget", message);
}

/// One line for the start: how long, of how many, in how many bytes at most.
pub(super) fn say(retention: Retention, components: usize) {
    let footprint = retention.footprint(components);
    tracing::info!(
        target: "wellkept", retention = words(retention.keep), components, remembered = footprint.components,
        most_bytes = footprint.bytes, "history takes at most {} MiB on disk", mebibytes(footprint.bytes)
    );
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn words(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds => format!("{seconds}s"),
    }
}
