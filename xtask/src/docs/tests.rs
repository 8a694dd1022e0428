//! What is taken out of a kind's source, and what is refused.

use super::*;

const LIST: (&str, &str) = ("crates/wellkept-checks/src/lib.rs", "kinds! { probe if \"net\", }");

const PROBE: &str = r#"
//! Looks at something, see [`Probe`] and [`there`](https://example.com/a).
//!
//! # Verdicts
//!
//! | what is wrong | status | reason |
//! |---|---|---|
//! | it is gone | unhealthy | `refused` |
//!
//! # Rights
//!
//! None.
//!
//! # Cost
//!
//! Nothing.

/// Settings.
pub struct Options {
    /// Where it is. Required.
    pub at: Option<String>,
    /// What is expected. All must hold. Default: nothing.
    pub expect: Expect,
    /// Sent along. Default: none.
    pub headers: Vec<(String, SecretString)>,
}

pub struct Expect {
    /// One of `a|b`.
    ///
    /// Default `a`.
    pub word: Vec<Word>,
}

impl FromNode for Word {
    const EXPECTED: &'static str = "a word";
}

/// `probe: { at: here }`
pub const KIND: Kind = Kind { name: "probe", summary: "Something", scope: Scope::Machine, read };
"#;

const TYPES: (&str, &str) = (
    "crates/wellkept-config/src/from_node.rs",
    "impl FromNode for String { const EXPECTED: &'static str = \"text\"; }\n\
     impl FromNode for SecretString { const EXPECTED: &'static str = \"secret text\"; }",
);

fn tree(probe: &str) -> Tree {
    Tree::of(&[LIST, ("crates/wellkept-checks/src/probe.rs", probe), TYPES])
}

fn found(probe: &str) -> Vec<String> {
    made(&tree(probe)).1.iter().map(ToString::to_string).collect()
}

#[test]
fn a_page_has_the_settings_the_example_and_the_headings() {
    let (pages, findings) = made(&tree(PROBE));
    assert!(findings.is_empty(), "{findings:?}");
    insta::assert_snapshot!(pages[0].1, @r#"
    <!-- Made by `cargo xtask docs` from crates/wellkept-checks/src/probe.rs: change it there. -->
    # `probe`

    Looks at something, see `Probe` and [`there`](https://example.com/a).

    ```yaml
    checks:
      - name: probe
        probe: { at: here }
    ```

    In builds with the feature `net`.

    ## Settings

    | key | type | default | what it is |
    |---|---|---|---|
    | `at` | text | required | Where it is. |
    | `expect` | section | nothing | What is expected. All must hold. |
    | `expect.word` | list of word | `a` | One of `a\|b`. |
    | `headers` | mapping to secret text | none | Sent along. |

    ## Verdicts

    | what is wrong | status | reason |
    |---|---|---|
    | it is gone | unhealthy | `refused` |

    ## Rights

    None.

    ## Cost

    Nothing.
    "#);
    assert!(pages[1].1.contains("| [`probe`](checks/probe.md) | Something | `net` |\n"), "{}", pages[1].1);
}

#[test]
fn what_a_kind_leaves_undocumented_is_found() {
    for (from, to, message) in [
        (
            "# Rights",
            "# Right",
            ":1: the module's documentation needs the headings # Verdicts, # Rights, # Cost, in this order",
        ),
        ("//! Nothing.\n", "", ":1: there is nothing below # Cost"),
        ("    /// Sent along. Default: none.\n", "", ":24: `headers` is not documented"),
        (" Default: none.", "", ":25: `headers` does not say its default: add a sentence `Default ….` or `Required.`"),
        (
            "/// `probe: { at: here }`\n",
            "",
            ":1: `KIND` needs a summary, and a comment with an example: `kind: { key: value }`",
        ),
        ("Option<String>", "Option<Strung>", ":21: `at`: `Strung` can't be in a configuration, it is no `FromNode`"),
        ("pub struct Options", "pub struct Settings", ":1: there is no `pub struct Options`"),
    ] {
        assert!(PROBE.contains(from), "{from}");
        assert_eq!(found(&PROBE.replacen(from, to, 1)), [format!("crates/wellkept-checks/src/probe.rs{message}")]);
    }
}

#[test]
fn a_page_that_is_missing_old_or_of_no_kind_is_found() {
    let (pages, _) = made(&tree(PROBE));
    let with = |index: &str, page: &str, more: &[(&str, &str)]| {
        let mut files = vec![LIST, ("crates/wellkept-checks/src/probe.rs", PROBE), TYPES];
        files.extend([(INDEX, index), ("docs/checks/probe.md", page)]);
        files.extend(more);
        check(&Tree::of(&files)).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (page, index) = (&pages[0].1, &pages[1].1);
    assert_eq!(with(index, page, &[]), [""; 0]);
    assert_eq!(
        with("", &page.replace("none", "some"), &[("docs/checks/gone.md", "")]),
        [
            "docs/checks/probe.md:1: out of date: run `cargo xtask docs`",
            "docs/checks.md:1: out of date: run `cargo xtask docs`",
            "docs/checks/gone.md:1: of no kind: run `cargo xtask docs`",
        ]
    );
}

#[test]
fn pages_are_written_and_those_of_no_kind_removed() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [LIST, ("crates/wellkept-checks/src/probe.rs", PROBE), TYPES, ("docs/checks/gone.md", "")] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    assert_eq!(run(folder.path()), ExitCode::SUCCESS);
    let tree = Tree::read(folder.path()).unwrap();
    assert_eq!(check(&tree), []);
    assert!(tree.text("docs/checks/probe.md").is_some() && tree.text("docs/checks/gone.md").is_none());
}
