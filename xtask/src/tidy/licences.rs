//! The licences of all dependencies against the list in `deny.toml`: what cargo-deny says, without installing it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Finding, Tree, numbered};

const POLICY: &str = "deny.toml";

pub(super) fn check(tree: &Tree, metadata: &Value) -> Vec<Finding> {
    let Some(policy) = tree.text(POLICY) else {
        return vec![Finding::new(POLICY, 1, "missing: it lists the licences that dependencies may have")];
    };
    let allowed = allowed(policy);
    let line = numbered(policy).find(|(_, line)| line.starts_with("allow =")).map_or(1, |(number, _)| number);
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter_map(|package| {
            let licence = package["license"].as_str().unwrap_or_default();
            let name = format!("{} {}", package["name"].as_str()?, package["version"].as_str()?);
            let message = match permits(licence, &allowed) {
                Some(true) => return None,
                Some(false) => format!("{name}: the licence `{licence}` is not allowed"),
                None => format!("{name}: `{licence}` is no licence expression"),
            };
            Some(Finding::new(POLICY, line, message))
        })
        .collect()
}

/// The quoted words of `allow = [` in `[licenses]`.
fn allowed(policy: &str) -> BTreeSet<&str> {
    policy
        .lines()
        .skip_while(|line| line.trim() != "[licenses]")
        .skip_while(|line| !line.starts_with("allow ="))
        .take_while(|line| line.trim() != "]")
        .filter_map(|line| line.split('#').next()?.split('"').nth(1))
        .collect()
}

/// Whether an SPDX expression can be met by allowed licences alone; `None` when it can't be read. The slash of old
/// manifests means OR.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let verdict = any(&mut words, allowed)?;
    words.is_empty().then_some(verdict)
}

fn any(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> Option<bool> {
    let mut verdict = all(words, allowed)?;
    while words.last() == Some(&"OR") {
        words.pop();
        verdict |= all(words, allowed)?;
    }
    Some(verdict)
}

fn all(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> Option<bool> {
    let mut verdict = one(words, allowed)?;
    while words.last() == Some(&"AND") {
        words.pop();
        verdict &= one(words, allowed)?;
    }
    Some(verdict)
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> Option<bool> {
    match words.pop()? {
        "(" => {
            let verdict = any(words, allowed)?;
            (words.pop()? == ")").then_some(verdict)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        licence if words.last() == Some(&"WITH") => {
            words.pop();
            let exception = words.pop()?;
            Some(allowed.contains(format!("{licence} WITH {exception}").as_str()))
        }
        licence => Some(allowed.contains(licence)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_are_judged_by_their_logic() {
        let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
        for (expression, verdict) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("GPL-3.0/MIT", Some(true)),
            ("GPL-3.0 / MIT", Some(true)),
            ("GPL-3.0 AND MIT", Some(false)),
            ("ISC AND (GPL-3.0 OR MIT)", Some(true)),
            ("MIT OR GPL-3.0 AND Evil", Some(true)),
            ("(MIT OR GPL-3.0) AND Evil", Some(false)),
            ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", Some(true)),
            ("Apache-2.0", Some(false)),
            ("", None),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT ISC", None),
        ] {
            assert_eq!(permits(expression, &allowed), verdict, "{expression}");
        }
    }

    #[test]
    fn a_dependency_with_a_foreign_licence_or_none_is_found() {
        let tree =
            Tree::of(&[(POLICY, "[licenses]\nallow = [\n    \"MIT\", # ours\n]\n[bans]\ndeny = [\"GPL-3.0\"]\n")]);
        let package = |name: &str, licence: Option<&str>| json!({"name": name, "version": "1.0.0", "source": "registry", "license": licence});
        let metadata = json!({"packages": [package("good", Some("MIT")), package("viral", Some("GPL-3.0")), package("bare", None)]});
        let found: Vec<String> = check(&tree, &metadata).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "deny.toml:2: viral 1.0.0: the licence `GPL-3.0` is not allowed",
                "deny.toml:2: bare 1.0.0: `` is no licence expression",
            ]
        );
    }
}
