//! A check that is brought over the API: read as an item of `checks` is, but for what only the files may name.

use serde_json::{Map, Value, json};
use wellkept_checks::{Opens, kinds};
use wellkept_config::{Document, quoted};
use wellkept_health::{Checker, Component};

use super::checks;

/// The component that an item defines; otherwise what is wrong with it.
///
/// Whoever may write to the API must not become able to run programs or to look at files: kinds that do are refused, and
/// so are keys and values that name files. Nothing is filled in, and the section `defaults` does not hold.
pub(super) fn read(item: &Map<String, Value>, checker: &Checker) -> Result<Component, String> {
    refuse_local(item)?;
    let text = json!({ "checks": [item] }).to_string();
    let parents = item.get("depends_on").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let known = parents.filter(|name| checker.definition(name).is_some()).map(str::to_owned).collect();
    let document = Document::parse("request", &text).map_err(|errors| errors.to_string())?;
    document.read(|root| checks::read_addition(root, known)).map_err(|errors| errors.to_string())
}

fn refuse_local(item: &Map<String, Value>) -> Result<(), String> {
    let local = kinds().iter().find(|kind| kind.opens != Opens::Nothing && item.contains_key(kind.name));
    if let Some(kind) = local {
        return Err(format!(
            "kind `{}` looks at what is on this machine: name it in the configuration file",
            kind.name
        ));
    }
    for (key, value) in item {
        refuse_key(key)?;
        refuse_paths(value)?;
    }
    Ok(())
}

fn refuse_key(key: &str) -> Result<(), String> {
    let names_a_file = key.ends_with("_file") || key.ends_with("_credential") || key == "unix_socket";
    if names_a_file {
        Err(format!("key {} names a file: give it in the configuration file", quoted(key)))
    } else {
        Ok(())
    }
}

fn refuse_paths(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(section) => section.iter().try_for_each(|(key, value)| {
            refuse_key(key)?;
            refuse_paths(value)
        }),
        Value::Array(items) => items.iter().try_for_each(refuse_paths),
        // What is wrong may hold a secret.
        Value::String(text) if opens_a_path(text) => {
            Err("an address names a file or a socket of this machine: give it in the configuration file".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether an address leads to a file or a Unix socket, or brings a file along.
fn opens_a_path(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    if text.starts_with("unix:") || text.starts_with("unix-abstract:") || text.starts_with("file:") {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    if ["http", "https", "ws", "wss"].contains(&scheme) {
        return false;
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = place.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let of_a_file = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let telling = ["file", "cert", "key", "crl", "socket", "-ca", "_ca"];
        value.contains(['/', '%']) || key.contains('%') || telling.iter().any(|part| key.contains(part))
    };
    host.is_empty() || host.contains('%') || query.split('&').any(of_a_file)
}

#[cfg(test)]
mod tests {
    use wellkept_health::{AnyCheck, Settings};

    use super::*;

    fn read_item(item: &Value) -> Result<Component, String> {
        let (checker, _engine) = Checker::new(Settings::new("tested"));
        checker.register(Component::new("network", AnyCheck::from_fn(async || ()))).unwrap();
        read(item.as_object().unwrap(), &checker)
    }

    #[test]
    fn a_check_is_brought_as_a_file_would_bring_it() {
        let item = json!({
            "name": "gate", "tcp": { "address": "127.0.0.1:1" }, "interval": "2s", "depends_on": ["network"],
        });
        let component = read_item(&item).unwrap();
        assert_eq!((component.name(), component.current_schedule().interval.as_secs()), ("gate", 2));
        for (item, wrong) in [
            (json!({ "tcp": { "address": "127.0.0.1:1" } }), "missing key `name`"),
            (json!({ "name": "gate", "tcp": { "adress": "127.0.0.1:1" } }), "did you mean `address`"),
            (json!({ "name": "gate", "tcp": { "address": "127.0.0.1:1" }, "depends_on": ["nobody"] }), "`nobody`"),
            (json!({ "name": "history", "tcp": { "address": "127.0.0.1:1" } }), "of the program's own"),
        ] {
            let error = read_item(&item).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn nothing_that_runs_a_program_or_opens_a_path_is_brought() {
        for (kind, settings) in [
            ("command", json!({ "program": "/bin/true" })),
            ("disk", json!({ "path": "/" })),
            ("sqlite", json!({ "path": "/etc/passwd" })),
            ("processes", json!({ "name": "init" })),
            ("tls", json!({ "address": "127.0.0.1:1", "ca_file": "/etc/passwd" })),
            ("http", json!({ "url": "http://localhost/", "unix_socket": "/run/docker.sock" })),
            ("memcached", json!({ "url": "memcached:///run/memcached.sock" })),
            ("postgres", json!({ "url": "postgres://user@/database?host=/run/postgresql" })),
            ("postgres", json!({ "url": "postgres://user@%2Frun%2Fpostgresql/database" })),
            ("mysql", json!({ "url": "mysql://user@host/database?ssl-ca=ca.pem" })),
        ] {
            let error = read_item(&json!({ "name": "curious", kind: settings })).unwrap_err();
            assert!(error.contains("configuration file"), "{kind}: {error}");
        }
    }
}
