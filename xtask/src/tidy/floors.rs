//! Who may import whom: a crate imports only from floors below its own, crates of one floor never see each other.

use serde_json::Value;

use super::{Finding, Tree, numbered};

/// Where a member of the workspace stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On a floor of the house; the higher imports the lower.
    Floor(u8),
    /// What derives are written in: it imports nothing of the house, and every floor may import it.
    Ground,
    /// Beside the house: imports whatever it likes and is imported by nothing in it.
    Beside,
}

/// The house. A new crate is listed here, which is the moment to ask where it belongs.
const PLACES: &[(&str, Place)] = &[
    ("wellkept-cli", Place::Floor(4)),
    ("wellkept-python", Place::Floor(4)),
    ("wellkept", Place::Floor(3)),
    ("wellkept-http", Place::Floor(2)),
    ("wellkept-store", Place::Floor(2)),
    ("wellkept-checks", Place::Floor(1)),
    ("wellkept-alerts", Place::Floor(1)),
    ("wellkept-health", Place::Floor(0)),
    ("wellkept-shutdown", Place::Floor(0)),
    ("wellkept-telemetry", Place::Floor(0)),
    ("wellkept-net", Place::Floor(0)),
    ("wellkept-config", Place::Floor(0)),
    ("wellkept-config-derive", Place::Ground),
    ("wellkept-testkit", Place::Beside),
    ("wellkept-bench", Place::Beside),
    ("xtask", Place::Beside),
];

pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let members: Vec<&Value> =
        array(metadata, "packages").iter().filter(|package| package["source"].is_null()).collect();
    for package in members {
        let name = text(package, "name");
        let manifest = relative(text(package, "manifest_path"), text(metadata, "workspace_root"));
        let Some(place) = place(name, &manifest) else {
            findings.push(Finding::new(&manifest, 1, format!("`{name}` stands on no floor: list it in xtask")));
            continue;
        };
        let manifest_text = tree.text(&manifest).unwrap_or_default();
        findings.extend(lints(&manifest, manifest_text));
        // Tests may lean on anything.
        for edge in array(package, "dependencies").iter().filter(|edge| text(edge, "kind") != "dev") {
            let target = text(edge, "name");
            // What is not of this house has no source path.
            if edge["path"].is_null() {
                continue;
            }
            let target_manifest = relative(text(edge, "path"), text(metadata, "workspace_root"));
            if let Some(message) = forbidden((name, place), target, self::place(target, &target_manifest)) {
                findings.push(Finding::new(&manifest, line_of(manifest_text, target), message));
            }
        }
    }
    findings
}

fn forbidden((name, place): (&str, Place), target: &str, target_place: Option<Place>) -> Option<String> {
    match (place, target_place) {
        (Place::Floor(own), Some(Place::Floor(other))) if other < own => None,
        (Place::Ground, Some(_)) => Some(format!("`{name}` may import nothing of the house, not `{target}` either")),
        (Place::Floor(own), Some(Place::Floor(other))) => {
            Some(format!("`{name}` on floor {own} may not import `{target}` on floor {other}"))
        }
        (Place::Floor(_), Some(Place::Beside)) => Some(format!("`{name}` may import `{target}` for its tests only")),
        (Place::Floor(_), Some(Place::Ground)) | (Place::Beside, _) | (_, None) => None,
    }
}

fn place(name: &str, path: &str) -> Option<Place> {
    if path.starts_with("examples/") {
        return Some(Place::Beside);
    }
    PLACES.iter().find(|(known, _)| *known == name).map(|&(_, place)| place)
}

/// Every member obeys the lints of the workspace.
fn lints(manifest: &str, text: &str) -> Option<Finding> {
    let mut section = "";
    for (_, line) in numbered(text) {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let line: String = line.split_whitespace().collect();
        if line == "lints.workspace=true" || (section == "[lints]" && line == "workspace=true") {
            return None;
        }
    }
    Some(Finding::new(manifest, 1, "a member says `[lints] workspace = true`"))
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let names = |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    numbered(manifest).find(|(_, line)| names(line)).map_or(1, |(number, _)| number)
}

fn relative(path: &str, root: &str) -> String {
    path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_owned()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TIDY: &str = "[package]\n[lints]\nworkspace = true\n[dependencies]\nwellkept-http.workspace = true\n";

    fn findings(name: &str, dependency: &str, kind: Option<&str>, manifest: &str) -> Vec<String> {
        let metadata = json!({
            "workspace_root": "/house",
            "packages": [{
                "name": name,
                "source": null,
                "manifest_path": format!("/house/crates/{name}/Cargo.toml"),
                "dependencies": [{"name": dependency, "kind": kind, "path": format!("/house/crates/{dependency}")}],
            }],
        });
        let tree = Tree::of(&[(&format!("crates/{name}/Cargo.toml"), manifest)]);
        check(&tree, &metadata).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_edge_upwards_is_found_with_its_line() {
        assert_eq!(
            findings("wellkept-health", "wellkept-http", None, TIDY),
            [
                "crates/wellkept-health/Cargo.toml:5: `wellkept-health` on floor 0 may not import `wellkept-http` on floor 2"
            ]
        );
    }

    #[test]
    fn an_edge_to_a_crate_of_the_same_floor_is_found_in_build_scripts_too() {
        assert_eq!(findings("wellkept-store", "wellkept-http", Some("build"), TIDY).len(), 1);
    }

    #[test]
    fn edges_downwards_and_edges_of_tests_are_free() {
        assert_eq!(findings("wellkept", "wellkept-http", None, TIDY), [""; 0]);
        assert_eq!(findings("wellkept-health", "wellkept-http", Some("dev"), TIDY), [""; 0]);
        assert_eq!(findings("xtask", "wellkept-testkit", None, TIDY), [""; 0]);
    }

    #[test]
    fn derives_are_imported_by_every_floor_and_import_nothing() {
        assert_eq!(findings("wellkept-config", "wellkept-config-derive", None, TIDY), [""; 0]);
        assert_eq!(findings("wellkept-config-derive", "wellkept-config", None, TIDY).len(), 1);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        assert_eq!(findings("wellkept-cli", "wellkept-testkit", None, TIDY).len(), 1);
    }

    #[test]
    fn a_crate_that_is_not_listed_is_found() {
        assert!(findings("wellkept-attic", "serde", None, TIDY)[0].contains("no floor"));
    }

    #[test]
    fn a_member_without_the_lints_is_found() {
        assert!(
            findings("wellkept", "wellkept-http", None, "[package]\n[features]\nworkspace = true\n")[0]
                .contains("[lints]")
        );
        assert_eq!(findings("wellkept", "wellkept-http", None, "lints.workspace = true\n"), [""; 0]);
    }
}
