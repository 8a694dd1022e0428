//! `wellkept config show`: what a running server is told, each value with where it comes from.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wellkept::config::{nearest, quoted};

use super::{by, short, words};
use crate::arguments::ConfigShow;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Colours, Table, escaped, print, print_json};

/// How many letters of a value are shown among others.
const WIDEST: usize = 80;

/// One value.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: String,
    value: Option<String>,
    secret: bool,
    origin: String,
}

pub(crate) fn run(options: &ConfigShow) -> Result<Exit, Failure> {
    let path = match (options.version, options.file) {
        (Some(version), _) => format!("{}/versions/{version}", super::PATH),
        (None, true) => format!("{}/file", super::PATH),
        (None, false) => super::PATH.to_owned(),
    };
    let (server, _) = crate::commands::find_server(&options.door)?;
    let mut answer: Value = super::view(&server, &path)?;
    // A version that was refused has none.
    let values: Option<Vec<Entry>> = serde_json::from_value(answer["values"].take())
        .map_err(|error| Failure::new(Exit::Unreachable, format!("the answer is not one of wellkept's: {error}")))?;
    let values = match (values, &options.key) {
        (Some(values), Some(key)) => Some(below(values, key)?),
        (values, _) => values,
    };
    if options.door.json {
        answer["values"] = json!(values);
        print_json(&answer);
        return Ok(Exit::Clean);
    }
    if options.key.is_none() && options.version.is_none() && !options.file {
        print(&(about(&answer) + "\n"));
    }
    match values {
        Some(values) => print(&table(&values).render(Colours::of_stdout())),
        None => print("It was refused: its content is not kept.\n"),
    }
    Ok(Exit::Clean)
}

/// The values of a key, or of all keys below it.
fn below(values: Vec<Entry>, key: &str) -> Result<Vec<Entry>, Failure> {
    let is_below = |path: &str| {
        path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with('['))
    };
    let (found, others): (Vec<_>, Vec<_>) = values.into_iter().partition(|entry| is_below(&entry.path));
    if found.is_empty() {
        let known = others.iter().map(|entry| entry.path.as_str());
        let hint = nearest(key, known).map(|near| format!(", did you mean {}?", quoted(near))).unwrap_or_default();
        return Err(Failure::new(Exit::Usage, format!("there is no key {}{hint}", quoted(key))));
    }
    Ok(found)
}

fn table(values: &[Entry]) -> Table {
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for entry in values {
        let value = if entry.secret { "(secret)" } else { entry.value.as_deref().unwrap_or_default() };
        // Among others a long one would push what stands behind it out of sight; alone it is what was asked for.
        let is_long = values.len() > 1 && value.chars().count() > WIDEST;
        let value = if is_long { value.chars().take(WIDEST - 1).chain(['…']).collect() } else { value.to_owned() };
        table.row([Cell::from(&entry.path), Cell::from(value), Cell::from(&entry.origin)]);
    }
    table
}

/// What runs, in a few lines.
fn about(running: &Value) -> String {
    let text = |key: &str| running[key].as_str().unwrap_or_default();
    let version = match running["version"].as_u64() {
        Some(version) => format!("Version {version}"),
        None => "This".to_owned(),
    };
    let (hash, since) = (short(text("hash")), escaped(text("since")));
    let runs = format!("{version} ({hash}) runs since {since}, by {}\n", by(text("trigger"), text("author")));
    let told = [
        ("Read from", words(&running["files"]).join(", ")),
        ("Waits for a restart", words(&running["restart_required"]).join(", ")),
        ("On probation until", escaped(text("probation_until"))),
        ("Refused until the files change", short(text("refuses"))),
    ];
    let refused = words(&running["last_rejection"]).into_iter().map(|why| ("The latest attempt was refused", why));
    let drift = words(&running["drift"]).into_iter().map(|what| ("Changed by hand", what));
    let told = told.into_iter().chain(refused).chain(drift).filter(|(_, told)| !told.is_empty());
    std::iter::once(runs).chain(told.map(|(word, told)| format!("{word}: {told}\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<Entry> {
        [
            ("http.listen", Some("[::]:80")),
            ("checks.db.url", None),
            ("checks.db2.url", Some("x")),
            ("list[0]", Some("a")),
        ]
        .map(|(path, value)| Entry {
            path: path.to_owned(),
            value: value.map(ToOwned::to_owned),
            secret: value.is_none(),
            origin: "default".to_owned(),
        })
        .into_iter()
        .collect()
    }

    fn paths(key: &str) -> Result<Vec<String>, String> {
        let found = below(values(), key).map_err(|failure| failure.message)?;
        Ok(found.into_iter().map(|entry| entry.path).collect())
    }

    #[test]
    fn a_key_is_shown_with_what_is_below_it_and_an_unknown_one_with_the_nearest() {
        assert_eq!(paths("http.listen").unwrap(), ["http.listen"]);
        assert_eq!(paths("checks.db").unwrap(), ["checks.db.url"]);
        assert_eq!(paths("list").unwrap(), ["list[0]"]);
        assert_eq!(paths("http.listn").unwrap_err(), "there is no key `http.listn`, did you mean `http.listen`?");
    }

    #[test]
    fn a_long_value_is_cut_among_others_and_whole_alone() {
        let long = |path: &str| Entry { value: Some("x".repeat(81)), path: path.to_owned(), ..values().remove(0) };
        let shown = |entries: &[Entry]| table(entries).render(Colours::Off);
        assert!(shown(&[long("a")]).contains(&"x".repeat(81)));
        let among = shown(&[long("a"), long("b")]);
        assert!(among.contains(&format!("{}…", "x".repeat(79))) && !among.contains(&"x".repeat(80)), "{among}");
    }

    #[test]
    fn what_runs_is_told_with_what_an_operator_must_know_of_it() {
        let running = json!({
            "version": 4, "hash": "0123456789abcdef", "since": "2026-01-15T10:30:00.123Z", "trigger": "api",
            "author": "ann", "files": ["wellkept.yaml", "wellkept.d/a.yaml"], "refuses": "fedcba9876543210",
            "restart_required": ["store"], "probation_until": null, "last_rejection": ["a\u{1b}"],
            "drift": ["api: checks.db disabled"],
        });
        let text = format!("{}\n{}", about(&running), table(&values()).render(Colours::Off));
        insta::assert_snapshot!(text, @r"
        Version 4 (0123456789ab) runs since 2026-01-15T10:30:00.123Z, by api (ann)
        Read from: wellkept.yaml, wellkept.d/a.yaml
        Waits for a restart: store
        Refused until the files change: fedcba987654
        The latest attempt was refused: a\u{1b}
        Changed by hand: api: checks.db disabled

        KEY             VALUE     FROM
        http.listen     [::]:80   default
        checks.db.url   (secret)  default
        checks.db2.url  x         default
        list[0]         a         default
        ");
    }
}
