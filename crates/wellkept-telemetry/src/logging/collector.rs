//! The log's own books as metrics.

use super::{Books, Logging, Loss};
use crate::metrics::{Collector, Declaration, Readings};

const ACCEPTED: Declaration<'_> =
    Declaration::counter("wellkept_log_lines_accepted", "Lines handed to the log, by sink.").by(&["sink"]);
const WRITTEN: Declaration<'_> =
    Declaration::counter("wellkept_log_lines_written", "Lines of the log that the output took, by sink.").by(&["sink"]);
const DROPPED: Declaration<'_> =
    Declaration::counter("wellkept_log_lines_dropped", "Lines of the log that reach nobody, by sink and reason.")
        .by(&["sink", "reason"]);
const PENDING: Declaration<'_> =
    Declaration::gauge("wellkept_log_lines_pending", "Lines of the log that wait, by sink.").by(&["sink"]);
const SPILLED: Declaration<'_> =
    Declaration::counter("wellkept_log_lines_spilled", "Lines of the log that were put aside on the disk, by sink.")
        .by(&["sink"]);
const TRUNCATED: Declaration<'_> =
    Declaration::counter("wellkept_log_lines_truncated", "Lines of the log that were cut, by sink.").by(&["sink"]);
const SUPPRESSED: Declaration<'_> = Declaration::counter(
    "wellkept_log_events_suppressed",
    "Events that were left out of the log because they repeated.",
);

type Figure = fn(&Books) -> u64;

/// The books of all sinks. Those of one sink are read together, so that
/// `accepted = written + dropped + pending` holds on every page.
///
/// ```
/// use wellkept_telemetry::logging::{Options, subscriber};
/// use wellkept_telemetry::metrics::{Audience, Metrics};
///
/// let (_subscriber, logging) = subscriber(Options::default())?;
/// let metrics = Metrics::new();
/// metrics.collector("log", logging.clone(), Audience::Everyone)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Collector for Logging {
    fn declarations(&self) -> Vec<Declaration<'static>> {
        vec![ACCEPTED, WRITTEN, DROPPED, PENDING, SPILLED, TRUNCATED, SUPPRESSED]
    }

    fn collect(&self, readings: &mut Readings) {
        let all = self.books();
        let figures: [(&Declaration<'_>, Figure); 5] = [
            (&ACCEPTED, |books| books.accepted),
            (&WRITTEN, |books| books.written),
            (&PENDING, |books| books.pending),
            (&SPILLED, |books| books.spilled),
            (&TRUNCATED, |books| books.truncated),
        ];
        for (declaration, figure) in figures {
            let mut family = readings.family(declaration);
            for of_sink in &all {
                family.sample([of_sink.sink.as_str()], figure(&of_sink.books));
            }
        }
        let mut dropped = readings.family(&DROPPED);
        for of_sink in &all {
            for loss in Loss::ALL {
                dropped.sample([of_sink.sink.as_str(), loss.as_str()], of_sink.books.dropped.of(loss));
            }
        }
        drop(dropped);
        readings.value(&SUPPRESSED, self.suppressed());
    }
}
