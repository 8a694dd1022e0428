//! What differs between two configurations, in lines that show no secret.

use std::collections::{HashMap, HashSet};

use crate::conceal;
use crate::control::{Shown, ShownValue};
use crate::diagnostics::escaped;

/// Most lines of a difference; one more says how many there would be.
pub const MAX_DIFF_LINES: usize = 200;

/// How many characters of a value are shown.
const LONGEST_VALUE: usize = 120;
/// And of a path.
const LONGEST_PATH: usize = 200;

/// What differs, one line for each value: `~ checks.orders-db.interval: 5s -> 10s` changed,
/// `+ checks.cache.redis.url: ${REDIS_URL}` new, `- …` gone. First what is changed or new, in the order of the new one,
/// then what is gone.
///
/// Of secrets it is only said that they changed. A value that came from a variable and is written as before is
/// `${REDIS_URL} (its value changed)`. Defaults that come and go with what they belong to are left out; one that takes
/// the place of a written value is marked. Control characters are escaped, long values are cut, and beyond
/// [`MAX_DIFF_LINES`] the last line is `… and 12 more`.
///
/// ```
/// use wellkept_config::{Shown, diff};
///
/// let old = [
///     Shown::written("checks.db.interval", "5s", "5s", "app.yaml:3:5"),
///     Shown::secret("admin.token", "one", "app.yaml:9:3"),
/// ];
/// let new = [
///     Shown::written("checks.db.interval", "10s", "10s", "default"),
///     Shown::secret("admin.token", "another", "app.yaml:8:3"),
/// ];
/// assert_eq!(diff(&old, &new), ["~ checks.db.interval: 5s -> 10s (default)", "~ admin.token: (secret changed)"]);
/// ```
pub fn diff(old: &[Shown], new: &[Shown]) -> Vec<String> {
    let before: HashMap<&str, &Shown> = old.iter().map(|shown| (shown.path.as_str(), shown)).collect();
    let after: HashSet<&str> = new.iter().map(|shown| shown.path.as_str()).collect();
    let changed_or_new = new.iter().filter_map(|new| match before.get(new.path.as_str()) {
        Some(old) => changed(old, new),
        None => (!is_default(new)).then(|| format!("+ {}: {}", path(new), value(new))),
    });
    let gone = old.iter().filter(|old| !after.contains(old.path.as_str()) && !is_default(old));
    let gone = gone.map(|old| format!("- {}: {}", path(old), value(old)));

    let mut lines = Vec::new();
    let mut more = 0_usize;
    for line in changed_or_new.chain(gone) {
        if lines.len() < MAX_DIFF_LINES {
            lines.push(line);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn changed(old: &Shown, new: &Shown) -> Option<String> {
    if old.value == new.value && old.imprint == new.imprint {
        return None;
    }
    let path = path(new);
    Some(match (&old.value, &new.value) {
        (ShownValue::Secret, ShownValue::Secret) if old.imprint == new.imprint => return None,
        (ShownValue::Secret, ShownValue::Secret) => format!("~ {path}: (secret changed)"),
        (ShownValue::Written(before), ShownValue::Written(now)) if before == now => {
            // What differs is hidden, or came out of a variable.
            format!("~ {path}: {} (its value changed)", value(new))
        }
        _ => format!("~ {path}: {} -> {}{}", value(old), value(new), if is_default(new) { " (default)" } else { "" }),
    })
}

/// A value, fit for a line. It is made fit to be shown once more, for whoever made it by hand.
fn value(shown: &Shown) -> String {
    let value = match &shown.value {
        ShownValue::Written(written) => conceal::shown(&shown.path, written),
        ShownValue::Secret => ShownValue::Secret,
    };
    match value {
        ShownValue::Written(written) if written.is_empty() => "\"\"".to_owned(),
        ShownValue::Written(written) => escaped(&written, LONGEST_VALUE),
        ShownValue::Secret => "(secret)".to_owned(),
    }
}

fn path(shown: &Shown) -> String {
    escaped(&shown.path, LONGEST_PATH)
}

fn is_default(shown: &Shown) -> bool {
    shown.origin == "default"
}

#[cfg(test)]
mod tests;
