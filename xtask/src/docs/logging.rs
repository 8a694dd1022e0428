//! The tables of `docs/logging.md`, made from the sources that they describe. The text around them is written by hand.

use std::fmt::Write as _;

use syn::{Expr, ExprMatch, Item, Lit, Pat, Stmt};

use super::kind::documentation;
use crate::tidy::{Finding, Tree};

const PAGE: &str = "docs/logging.md";
const FIELDS: &str = "crates/wellkept-telemetry/src/logging/encode/own.rs";
const LEVELS: &str = "crates/wellkept-telemetry/src/logging/level.rs";
const NAMES: &str = "crates/wellkept-telemetry/src/logging/redact/names.rs";
const SECURITY: &str = "crates/wellkept-telemetry/src/events/vocabulary.rs";
const LOSSES: &str = "crates/wellkept-telemetry/src/logging/books.rs";
const END: &str = "<!-- end -->";

/// The page with its tables made anew.
pub(super) fn page(tree: &Tree) -> Result<Option<(String, String)>, Finding> {
    let Some(text) = tree.text(PAGE) else { return Ok(None) };
    let mut text = text.to_owned();
    let made = [
        ("fields", fields as fn(&Tree) -> _),
        ("levels", levels),
        ("security", security),
        ("names", names),
        ("losses", losses),
    ];
    for (name, make) in made {
        let table: Result<String, Finding> = make(tree);
        text = filled(&text, name, &table?).ok_or_else(|| {
            Finding::new(PAGE, 1, format!("has no place for what is made: `{}` and `{END}` after it", begin(name)))
        })?;
    }
    Ok(Some((PAGE.to_owned(), text)))
}

fn begin(name: &str) -> String {
    format!("<!-- cargo xtask docs: {name} -->")
}

/// The text with what stands between the two marks replaced.
fn filled(text: &str, name: &str, table: &str) -> Option<String> {
    let begin = begin(name);
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n{table}{END}{after}"))
}

fn fields(tree: &Tree) -> Result<String, Finding> {
    let items = parsed(tree, FIELDS)?;
    let own = items.iter().find_map(|item| match item {
        Item::Const(one) if one.ident == "OWN" => Some(&*one.expr),
        _ => None,
    });
    let Some(Expr::Array(own)) = own else { return Err(Finding::new(FIELDS, 1, "has no list `OWN`")) };
    let mut table = "| JSON | GELF | text | what it holds | a field of an event or a span of that name |\n\
                     |---|---|---|---|---|\n"
        .to_owned();
    for one in &own.elems {
        let Expr::Struct(one) = one else { continue };
        let said = |name: &str| {
            let field =
                one.fields.iter().find(|field| matches!(&field.member, syn::Member::Named(it) if it == name))?;
            literal(&field.expr)
        };
        let renames =
            one.fields.iter().any(|field| matches!(&field.expr, Expr::Path(path) if path.path.is_ident("Renamed")));
        let code = |name: &str| {
            said(name).filter(|text| !text.is_empty()).map_or("–".to_owned(), |text| format!("`{text}`"))
        };
        let namesake = if renames { "gets a `_` at its end" } else { "is written instead" };
        let holds = said("holds").unwrap_or_default();
        let _ = writeln!(table, "| {} | {} | {} | {holds} | {namesake} |", code("json"), code("gelf"), code("text"));
    }
    Ok(table)
}

fn levels(tree: &Tree) -> Result<String, Finding> {
    let items = parsed(tree, LEVELS)?;
    let [words, syslog, otel] = ["as_str", "syslog", "otel"].map(|name| arms(&items, name));
    let find = |arms: &[(String, String)], level: &str| {
        arms.iter().find(|(known, _)| known == level).map(|(_, said)| said.clone()).unwrap_or_default()
    };
    let mut table = "| level | syslog, GELF | OpenTelemetry |\n|---|---|---|\n".to_owned();
    for (level, word) in &words {
        let _ = writeln!(table, "| `{word}` | {} | {} |", find(&syslog, level), find(&otel, level));
    }
    if words.is_empty() { Err(Finding::new(LEVELS, 1, "has no words for levels")) } else { Ok(table) }
}

/// From the lines of the macro that declares the events: a text, and below it `Variant("name", Level) { field: type, … }`.
fn security(tree: &Tree) -> Result<String, Finding> {
    let source = tree.text(SECURITY).unwrap_or_default();
    let mut table = "| event | level | fields | what it tells |\n|---|---|---|---|\n".to_owned();
    let mut count = 0;
    for (text, event) in source.lines().zip(source.lines().skip(1)) {
        let event = event.trim().split_once("(\"").and_then(|(_, rest)| rest.split_once("\", "));
        let Some((name, rest)) = event else { continue };
        let (Some(text), Some((level, fields))) = (text.trim().strip_prefix("/// "), rest.split_once(") {")) else {
            continue;
        };
        let fields = fields.trim_end_matches('}').split(',').filter_map(|field| field.split_once(':'));
        let fields: Vec<String> = fields.map(|(field, _)| format!("`{}`", field.trim())).collect();
        let level = level.to_lowercase();
        let besides = if name == "upload_validation" { "; passed: `info`" } else { "" };
        let _ = writeln!(table, "| `{name}` | `{level}`{besides} | {} | {text} |", fields.join(", "));
        count += 1;
    }
    if count == 0 { Err(Finding::new(SECURITY, 1, "has no events")) } else { Ok(table) }
}

fn names(tree: &Tree) -> Result<String, Finding> {
    let items = parsed(tree, NAMES)?;
    let function = items.iter().find_map(|item| match item {
        Item::Fn(one) if one.sig.ident == "built_in" => matched(&one.block.stmts),
        _ => None,
    });
    let mut names: Vec<String> = Vec::new();
    for arm in function.iter().flat_map(|it| &it.arms) {
        let list = match &*arm.body {
            Expr::Reference(list) => &*list.expr,
            other => other,
        };
        if let Expr::Array(list) = list {
            names.extend(list.elems.iter().filter_map(literal).map(|name| format!("`{name}`")));
        }
    }
    names.sort();
    if names.is_empty() { Err(Finding::new(NAMES, 1, "has no built-in names")) } else { Ok(names.join(", ") + "\n") }
}

fn losses(tree: &Tree) -> Result<String, Finding> {
    let items = parsed(tree, LOSSES)?;
    let losses = items.iter().find_map(|item| match item {
        Item::Enum(one) if one.ident == "Loss" => Some(&one.variants),
        _ => None,
    });
    let words = arms(&items, "as_str");
    let mut table = "| reason | what it means |\n|---|---|\n".to_owned();
    for variant in losses.into_iter().flatten() {
        let word = words.iter().find(|(known, _)| variant.ident == known).map(|(_, word)| word.as_str());
        let said = documentation(&variant.attrs).replace('\n', " ");
        let _ = writeln!(table, "| `{}` | {} |", word.unwrap_or_default(), said.trim());
    }
    if words.is_empty() { Err(Finding::new(LOSSES, 1, "has no words for losses")) } else { Ok(table) }
}

/// What each variant is matched to in a method: `Self::A | Self::B => "x"` is `x` for both.
fn arms(items: &[Item], method: &str) -> Vec<(String, String)> {
    let methods = items.iter().filter_map(|item| match item {
        Item::Impl(one) => Some(&one.items),
        _ => None,
    });
    let found = methods.flatten().find_map(|item| match item {
        syn::ImplItem::Fn(one) if one.sig.ident == method => matched(&one.block.stmts),
        _ => None,
    });
    let variants = |pattern: &Pat| -> Vec<String> {
        let one = |pattern: &Pat| match pattern {
            Pat::Path(path) => path.path.segments.last().map(|it| it.ident.to_string()),
            _ => None,
        };
        match pattern {
            Pat::Or(several) => several.cases.iter().filter_map(one).collect(),
            other => one(other).into_iter().collect(),
        }
    };
    let arms = found.into_iter().flat_map(|it| &it.arms);
    arms.flat_map(|arm| {
        let said = literal(&arm.body).unwrap_or_default();
        variants(&arm.pat).into_iter().map(move |variant| (variant, said.clone()))
    })
    .collect()
}

fn matched(statements: &[Stmt]) -> Option<&ExprMatch> {
    statements.iter().find_map(|statement| match statement {
        Stmt::Expr(Expr::Match(found), _) => Some(found),
        _ => None,
    })
}

fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(one) => match &one.lit {
            Lit::Str(text) => Some(text.value()),
            Lit::Int(number) => Some(number.base10_digits().to_owned()),
            _ => None,
        },
        _ => None,
    }
}

fn parsed(tree: &Tree, file: &str) -> Result<Vec<Item>, Finding> {
    let text = tree.text(file).ok_or_else(|| Finding::new(file, 1, "is not there; the page is made from it"))?;
    let parsed = syn::parse_file(text).map_err(|error| Finding::new(file, 1, format!("can't be read: {error}")))?;
    Ok(parsed.items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let text = "a\n<!-- cargo xtask docs: levels -->\nold\n<!-- end -->\nb\n<!-- end -->\n";
        let wanted = "a\n<!-- cargo xtask docs: levels -->\nnew\n<!-- end -->\nb\n<!-- end -->\n";
        assert_eq!(filled(text, "levels", "new\n").as_deref(), Some(wanted));
        assert_eq!(filled(text, "fields", "new\n"), None);
    }

    #[test]
    fn the_levels_are_read_out_of_the_matches() {
        let source = "impl Level { fn as_str(self) -> &str { match self { Self::A => \"a\", Self::B => \"b\" } } \
                      fn syslog(self) -> u8 { match self { Self::A | Self::B => 7 } } \
                      fn otel(self) -> u8 { match self { Self::A => 1, Self::B => 5 } } }";
        let table = levels(&Tree::of(&[(LEVELS, source)])).unwrap();
        assert!(table.ends_with("| `a` | 7 | 1 |\n| `b` | 7 | 5 |\n"), "{table}");
    }
}
