//! What operators did to checks at run time, in lines beside those of a difference: names, kinds and figures, and no
//! setting of a check, which may be a secret.

use serde_json::{Map, Value};
use wellkept_config::MAX_DIFF_LINES;
use wellkept_health::{Activity, Belonging, Checker, Component, Drift};

use crate::doors::control::Tuned;

/// One line for each thing that was done and holds; bounded as a difference is.
pub(super) fn lines(checker: &Checker) -> Vec<String> {
    let mut lines: Vec<String> = checker.drift().iter().flat_map(of).collect();
    let more = lines.len().saturating_sub(MAX_DIFF_LINES);
    if more > 0 {
        lines.truncate(MAX_DIFF_LINES);
        lines.push(format!("api: … and {more} more"));
    }
    lines
}

fn of(drift: &Drift) -> Vec<String> {
    let name = drift.now.name();
    let mut lines = Vec::new();
    if drift.belongs == Belonging::Addition {
        let kind = drift.kind.map(|kind| format!(" ({kind})")).unwrap_or_default();
        lines.push(format!("api: + checks.{name}{kind}"));
    }
    let (defined, now) = (settings(&drift.defined), settings(&drift.now));
    // What was tuned back to what it was is as it was.
    for ((key, old), (_, new)) in defined.iter().zip(&now).filter(|(old, new)| old != new) {
        lines.push(format!("api: ~ checks.{name}.{key}: {} -> {}", written(old), written(new)));
    }
    match drift.switched {
        Some(Activity::Disabled) => lines.push(format!("api: checks.{name} disabled")),
        Some(Activity::Enabled) => lines.push(format!("api: checks.{name} enabled")),
        None => {}
    }
    lines
}

/// What can be tuned, by key; always the same keys.
fn settings(component: &Component) -> Map<String, Value> {
    let mut settings = match serde_json::to_value(Tuned::of(component)) {
        Ok(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    let schedule = component.current_schedule();
    if component.current_max_age() == schedule.interval.saturating_mul(3).saturating_add(schedule.timeout) {
        // It follows from the others, and is told by them.
        settings.insert("max_age".to_owned(), Value::Null);
    }
    settings
}

fn written(value: &Value) -> String {
    match value {
        Value::Null => "default".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
