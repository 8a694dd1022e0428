//! How a kind's page and the index look.

use std::fmt::Write as _;

use super::kind::Kind;

const INDEX: &str = "\
# Checks

A check asks, and answers with a verdict: pass, warn (`degraded`) or fail (`unhealthy`). When it runs, how often it may
fail and who hears of it is the same for all kinds.

";

const BELOW: &str = "
Every kind can be asked once, without a file; what follows the kind are its keys, a nested one with a dot, a list by
giving its key again. `${NAME}` is filled in from the environment by the program itself, so it needs no shell:

```sh
wellkept check --kind http --url https://example.com/health --expect.status 200 --timeout 2s
wellkept check --kind http --help
```

```dockerfile
HEALTHCHECK CMD [\"wellkept\", \"check\", \"--kind\", \"redis\", \"--url\", \"${REDIS_URL}\"]
```
";

/// The page of one kind.
pub(super) fn of_kind(kind: &Kind) -> String {
    let name = &kind.name;
    let mut page = format!("{}# `{name}`\n\n{}\n\n", made_from(&format!("{name}.rs")), kind.about);
    let mut line = |text: &str| page.extend([text, "\n"]);
    line("```yaml\nchecks:");
    line(&format!("  - name: {name}"));
    for part in kind.example.lines() {
        line(format!("    {part}").trim_end());
    }
    line("```\n");
    if let Some(feature) = &kind.feature {
        line(&format!("In builds with the feature `{feature}`.\n"));
    }
    line("## Settings\n\n| key | type | default | what it is |\n|---|---|---|---|");
    for key in &kind.keys {
        let cells = [&key.kind, &key.default, &key.what].map(|cell| cell.replace('|', "\\|"));
        line(&format!("| `{}` | {} |", key.path, cells.join(" | ")));
    }
    for (heading, text) in &kind.sections {
        line(&format!("\n## {heading}\n\n{text}"));
    }
    page
}

/// The list of all kinds.
pub(super) fn index(kinds: &[Kind]) -> String {
    let mut page = made_from("");
    page += INDEX;
    page += "| kind | asks | feature |\n|---|---|---|\n";
    for Kind { name, summary, feature, .. } in kinds {
        let feature = feature.as_ref().map(|feature| format!("`{feature}` ")).unwrap_or_default();
        // Writing to a String can't fail.
        let _ = writeln!(page, "| [`{name}`](checks/{name}.md) | {summary} | {feature}|");
    }
    page + BELOW
}

fn made_from(file: &str) -> String {
    format!("<!-- Made by `cargo xtask docs` from crates/wellkept-checks/src/{file}: change it there. -->\n")
}
