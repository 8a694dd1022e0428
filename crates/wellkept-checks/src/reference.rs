//! The reference page of a kind, as `cargo xtask docs` makes it, taken apart again: for help on the command line.

/// What there is to know of a kind: its page in `docs/checks`, which is built in.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    page: &'static str,
}

/// One key of a kind's section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// With the sections around it: `expect.status`.
    pub path: String,
    /// What is expected of its value: `duration such as 10s or 250ms`, `section`.
    pub expected: String,
    /// What holds without it; `required` where it can't be left out.
    pub default: String,
    /// What it is for.
    pub what: String,
}

impl Key {
    /// Whether it holds keys of its own, which are listed after it.
    pub fn is_section(&self) -> bool {
        matches!(self.expected.as_str(), "section" | "list of sections")
    }

    /// Whether what is below it is free: names of headers, paths in JSON.
    pub fn is_mapping(&self) -> bool {
        self.expected.starts_with("mapping")
    }
}

impl Reference {
    pub(crate) fn of(page: &'static str) -> Self {
        Self { page }
    }

    /// The whole page, in Markdown.
    pub fn page(&self) -> &'static str {
        self.page
    }

    /// What the kind asks and how, up to the first block.
    pub fn about(&self) -> &'static str {
        let after_title = self.page.split_once("\n# ").and_then(|(_, rest)| rest.split_once('\n'));
        let about = after_title.and_then(|(_, rest)| rest.split_once("```yaml"));
        about.map(|(about, _)| about.trim()).unwrap_or_default()
    }

    /// The list `checks` of a configuration with one item of this kind.
    pub fn example(&self) -> &'static str {
        let block = self.page.split_once("```yaml\n").and_then(|(_, rest)| rest.split_once("\n```"));
        block.map(|(block, _)| block).unwrap_or_default()
    }

    /// Its keys, each section's own after the section.
    pub fn keys(&self) -> Vec<Key> {
        self.section("Settings").lines().filter_map(key).collect()
    }

    /// What stands below a heading, such as `Verdicts`, `Rights` or `Cost`; nothing without the heading.
    pub fn section(&self, heading: &str) -> &'static str {
        let heading = format!("\n## {heading}\n");
        let rest = self.page.split_once(&heading).map(|(_, rest)| rest).unwrap_or_default();
        rest.split("\n## ").next().unwrap_or_default().trim()
    }
}

/// ``| `path` | expected | default | what |``, in which a `|` has a backslash before it.
fn key(row: &str) -> Option<Key> {
    let row = row.replace("\\|", "\u{0}");
    let mut cells = row.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").map(|cell| cell.replace('\u{0}', "|"));
    let path = cells.next()?.strip_suffix('`')?.to_owned();
    Some(Key { path, expected: cells.next()?, default: cells.next()?, what: cells.next()? })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wellkept_config::Document;

    use super::*;
    use crate::{kinds, reference};

    fn of(kind: &str) -> Reference {
        reference(kind).unwrap_or_else(|| panic!("{kind} has no page"))
    }

    /// A section with all sections in it, all empty: `{ expect: {} }`.
    fn skeleton(keys: &[Key], above: &str) -> String {
        let own = keys.iter().filter(|key| key.is_section() && key.path.starts_with(above));
        let own = own.filter_map(|key| {
            let name = key.path.strip_prefix(above).filter(|name| !name.contains('.'))?;
            let below = skeleton(keys, &format!("{}.", key.path));
            Some(if key.expected == "section" { format!("{name}: {below}") } else { format!("{name}: [{below}]") })
        });
        format!("{{ {} }}", own.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn the_documented_keys_are_those_that_are_asked_for() {
        for kind in kinds() {
            let keys = of(kind.name).keys();
            let text = format!("{}: {}", kind.name, skeleton(&keys, ""));
            let document = Document::parse("skeleton", &text).unwrap();
            let asked = document.asked(|section| section.open(kind.name, kind.read));
            let documented: BTreeSet<_> = keys.iter().map(|key| format!("{}.{}", kind.name, key.path)).collect();
            assert_eq!(documented, asked, "left: what Options documents; right: what `read` of {} asks for", kind.name);
            // A key that is asked for only where it is there has no suggestion for a spelling mistake.
            let empty = Document::parse("empty", &format!("{}:", kind.name)).unwrap();
            let asked = empty.asked(|section| section.open(kind.name, kind.read));
            let top = |path: &&String| path.matches('.').count() == 1;
            assert!(documented.iter().filter(top).eq(&asked), "asked of an empty section: {asked:?}");
        }
    }

    #[test]
    fn every_example_can_be_read() {
        for kind in kinds() {
            let reference = of(kind.name);
            let document = Document::parse("example", reference.example()).unwrap();
            let filled = document.interpolate(&|name| {
                // Asked for once by every document: it is where systemd's credentials are.
                if name == "CREDENTIALS_DIRECTORY" {
                    return None;
                }
                assert!(name.ends_with("_URL"), "${{{name}}}: call it …_URL, or say here what it may hold");
                Some(format!(
                    "{}://127.0.0.1",
                    name.trim_end_matches("_URL").to_lowercase().replace("database", "postgres")
                ))
            });
            let read = filled.unwrap().read(|root| {
                root.list("checks", |item| {
                    drop(item.required::<String>("name"));
                    item.open(kind.name, kind.read)
                })
            });
            assert!(read.is_ok(), "{}: {}", kind.name, read.unwrap_err());
        }
    }

    #[test]
    fn every_page_says_what_it_must() {
        for kind in kinds() {
            let reference = of(kind.name);
            for text in [reference.about(), reference.section("Rights"), reference.section("Cost")] {
                assert!(!text.is_empty() && !text.contains("\n## "), "{}: {text}", kind.name);
            }
            let verdicts = reference.section("Verdicts");
            assert!(verdicts.starts_with("| what is wrong | status | reason |\n|---|---|---|\n| "), "{}", kind.name);
            assert!(reference.example().contains(&format!("{}:", kind.name)), "{}", kind.name);
            assert!(reference.page().contains(reference.about()), "{}", kind.name);
        }
    }

    #[test]
    fn a_row_is_taken_apart_with_its_pipes() {
        let row = r"| `expect.body` | text | none | One of `a\|b`. |";
        let found = key(row).unwrap();
        assert_eq!((found.path.as_str(), found.what.as_str()), ("expect.body", "One of `a|b`."));
        assert!(key("|---|---|---|---|").is_none() && key("| key | type | default | what it is |").is_none());
    }
}
