//! The one line of a monitoring plugin (Monitoring Plugins Development Guidelines, "Plugin Output" and "Performance
//! data"), as the program's `check` prints it and the doors answer it.

use std::fmt::Write as _;

use super::view::{Seen, View};
use crate::outcome::Reason;
use crate::status::Status;
use crate::table::milliseconds;

/// What the line says of one component.
#[derive(Debug, Clone)]
pub struct Part<'p> {
    /// Its name.
    pub name: &'p str,
    /// Its status.
    pub status: Status,
    /// Why it is not healthy.
    pub reason: Option<&'p str>,
    /// How long its latest run took, for the performance data.
    pub milliseconds: Option<f64>,
}

/// The plugin's exit code: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
pub fn code(status: Status) -> u8 {
    match status {
        Status::Healthy => 0,
        Status::Degraded | Status::Maintenance => 1,
        Status::Unhealthy => 2,
        Status::Unknown => 3,
    }
}

/// `WELLKEPT WARNING - 1 of 2 healthy: cache unhealthy (refused) | 'cache'=0.001800s;;;0`, with a line feed.
pub fn line<'p>(status: Status, parts: impl Iterator<Item = Part<'p>>) -> String {
    let (mut count, mut healthy) = (0_usize, 0_usize);
    let (mut troubles, mut perfdata) = (String::new(), String::new());
    // Writing to a String can't fail.
    for part in parts {
        count += 1;
        if part.status == Status::Healthy {
            healthy += 1;
        } else {
            let before = if troubles.is_empty() { ": " } else { ", " };
            let _ = write!(troubles, "{before}{} {}", escaped(part.name), part.status);
            if let Some(reason) = part.reason {
                let _ = write!(troubles, " ({reason})");
            }
        }
        if let Some(milliseconds) = part.milliseconds {
            let label = escaped(part.name).replace(['\'', '='], "_");
            let _ = write!(perfdata, " '{label}'={:.6}s;;;0", milliseconds / 1000.0);
        }
    }
    let word = match code(status) {
        0 => "OK",
        1 => "WARNING",
        2 => "CRITICAL",
        _ => "UNKNOWN",
    };
    let perfdata = if perfdata.is_empty() { perfdata } else { format!(" |{perfdata}") };
    format!("WELLKEPT {word} - {healthy} of {count} healthy{troubles}{perfdata}\n")
}

/// The line on a view. Without sight of details it has neither reasons nor performance data, and without names no
/// components.
pub fn line_of(view: &View<'_>) -> String {
    let seen: Vec<Seen<'_>> = view.components().collect();
    let parts = seen.iter().map(|seen| Part {
        name: &seen.component.name,
        status: seen.standing.status,
        reason: seen.standing.reason.as_ref().filter(|_| view.has_details()).map(Reason::as_str),
        milliseconds: seen.component.response_time.filter(|_| view.has_details()).map(milliseconds),
    });
    line(status_of(view), parts)
}

/// What the plugin tells of a view: a service that is well and on its way out is a warning, one that still starts is
/// not known.
pub fn status_of(view: &View<'_>) -> Status {
    match view.hindrance() {
        Some(crate::Lifecycle::Draining) if view.status().is_ready() => Status::Degraded,
        Some(_) if view.status().is_ready() => Status::Unknown,
        _ => view.status(),
    }
}

/// Names in a line that ends at a line feed and whose performance data begins at a bar.
fn escaped(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() || letter == '|' { '/' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, status: Status) -> Part<'_> {
        let reason = (status != Status::Healthy).then_some("refused");
        Part { name, status, reason, milliseconds: Some(1.8) }
    }

    #[test]
    fn a_bar_a_quote_and_a_line_feed_do_not_forge_the_line() {
        let parts = [part("it's=|a\nb", Status::Unhealthy), part("fine", Status::Healthy)];
        let line = line(Status::Unhealthy, parts.into_iter());
        insta::assert_snapshot!(line, @"WELLKEPT CRITICAL - 1 of 2 healthy: it's=/a/b unhealthy (refused) | 'it_s_/a/b'=0.001800s;;;0 'fine'=0.001800s;;;0");
    }

    #[test]
    fn each_status_has_the_code_of_the_table() {
        assert_eq!(Status::ALL.map(code), [0, 1, 3, 2, 1]);
    }
}
