//! The list of all metrics at the end of `docs/metrics.md`, read out of the declarations in the sources.

use std::collections::BTreeMap;

use syn::parse::{ParseStream, Parser as _};
use syn::{Expr, ExprCall, ExprMethodCall, Ident, Item, Lit, LitStr, Token, bracketed};

use crate::tidy::{Finding, Tree};

pub(super) const PAGE: &str = "docs/metrics.md";
/// What is above it is written by hand.
const MARK: &str = "<!-- Below this line: `cargo xtask docs` -->\n";

/// A declared family.
#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
    labels: Vec<String>,
    help: String,
}

/// The page as it would be made now; `None` if there is no such page.
pub(super) fn page(tree: &Tree) -> Result<Option<(String, String)>, Finding> {
    let Some(text) = tree.text(PAGE) else { return Ok(None) };
    let Some((by_hand, _)) = text.split_once(MARK) else {
        return Err(Finding::new(PAGE, 1, format!("the line `{}` is missing", MARK.trim())));
    };
    let mut families = BTreeMap::new();
    for (file, source) in tree
        .with_extension("rs")
        .filter(|(file, source)| is_source(file) && (source.contains("Declaration") || source.contains("families!")))
    {
        let parsed =
            syn::parse_file(source).map_err(|error| Finding::new(file, 1, format!("can't be read: {error}")))?;
        let mut found = Vec::new();
        of_items(&parsed.items, &mut found).map_err(|why| Finding::new(file, 1, why))?;
        for family in found {
            if let Some(other) = families.insert(family.name.clone(), family) {
                return Err(Finding::new(file, 1, format!("the metric `{}` is declared twice", other.name)));
            }
        }
    }
    let mut page =
        format!("{by_hand}{MARK}\n| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n");
    for Family { name, kind, unit, labels, help } in families.values() {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let help = help.replace('|', "\\|");
        let unit = unit.as_deref().unwrap_or_default();
        page.push_str(
            &format!("| `{name}` | {kind} | {unit} | {} | {help} |\n", labels.join(", ")).replace("  |", " |"),
        );
    }
    Ok(Some((PAGE.to_owned(), page)))
}

/// Of the crates, without their tests.
fn is_source(file: &str) -> bool {
    file.starts_with("crates/") && file.contains("/src/") && !file.ends_with("/tests.rs") && !file.contains("/tests/")
}

fn of_items(items: &[Item], found: &mut Vec<Family>) -> Result<(), String> {
    for item in items {
        match item {
            Item::Const(constant) => of_expression(&constant.expr, found)?,
            Item::Static(constant) => of_expression(&constant.expr, found)?,
            Item::Mod(module) if !module.attrs.iter().any(|attribute| attribute.path().is_ident("cfg")) => {
                of_items(module.content.as_ref().map(|(_, items)| items.as_slice()).unwrap_or_default(), found)?;
            }
            Item::Macro(list) if list.mac.path.is_ident("families") => {
                let listed = families.parse2(list.mac.tokens.clone());
                found.extend(listed.map_err(|error| format!("`families!` can't be read: {error}"))?);
            }
            Item::Impl(block) => {
                for item in &block.items {
                    if let syn::ImplItem::Const(constant) = item {
                        of_expression(&constant.expr, found)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// `families! { ALL: ORDERS = counter "orders" ["channel"], "Orders."; … }`, which makes such constants.
fn families(input: ParseStream<'_>) -> syn::Result<Vec<Family>> {
    input.parse::<Ident>()?;
    input.parse::<Token![:]>()?;
    let mut found = Vec::new();
    while !input.is_empty() {
        input.parse::<Ident>()?;
        input.parse::<Token![=]>()?;
        let (kind, name) = (input.parse::<Ident>()?, input.parse::<LitStr>()?);
        let mut labels = Vec::new();
        if input.peek(syn::token::Bracket) {
            let list;
            bracketed!(list in input);
            let list = list.parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,])?;
            labels.extend(list.iter().map(LitStr::value));
        }
        input.parse::<Token![,]>()?;
        let help = input.parse::<LitStr>()?;
        input.parse::<Token![;]>()?;
        found.push(Family { labels, ..family(&kind.to_string(), &name.value(), &help.value()) });
    }
    Ok(found)
}

/// A family without labels.
fn family(kind: &str, name: &str, help: &str) -> Family {
    let suffix = match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let name = name.strip_suffix(suffix).unwrap_or(name);
    let unit = UNITS.iter().find(|unit| name.rsplit_once('_').is_some_and(|(_, last)| last == **unit));
    Family {
        name: format!("{name}{suffix}"),
        kind: kind.to_owned(),
        unit: unit.map(|unit| (*unit).to_owned()),
        labels: Vec::new(),
        help: help.to_owned(),
    }
}

/// The declarations in the value of a constant: one, or some in arrays and tuples.
fn of_expression(expression: &Expr, found: &mut Vec<Family>) -> Result<(), String> {
    match expression {
        Expr::Array(array) => array.elems.iter().try_for_each(|one| of_expression(one, found)),
        Expr::Tuple(tuple) => tuple.elems.iter().try_for_each(|one| of_expression(one, found)),
        Expr::Reference(reference) => of_expression(&reference.expr, found),
        Expr::Struct(literal) => literal.fields.iter().try_for_each(|field| of_expression(&field.expr, found)),
        Expr::Call(_) | Expr::MethodCall(_) => {
            found.extend(declaration(expression)?);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `Declaration::counter("orders", "Orders.").by(&["channel"])`.
fn declaration(expression: &Expr) -> Result<Option<Family>, String> {
    match expression {
        Expr::Call(ExprCall { func, args, .. }) => {
            let Expr::Path(function) = &**func else { return Ok(None) };
            let words: Vec<_> = function.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let [.., of, kind] = words.as_slice() else { return Ok(None) };
            if of != "Declaration" {
                return Ok(None);
            }
            let texts: Option<Vec<_>> = args.iter().map(text).collect();
            let Some([name, help]) = texts.as_deref() else {
                return Err(
                    "the name and the help of a `Declaration` are written as they are, for the page of metrics"
                        .to_owned(),
                );
            };
            Ok(Some(family(kind, name, help)))
        }
        Expr::MethodCall(ExprMethodCall { receiver, method, args, .. }) => {
            let Some(family) = declaration(receiver)? else { return Ok(None) };
            let argument = args.first();
            Ok(Some(match method.to_string().as_str() {
                "by" => Family { labels: argument.map(texts).unwrap_or_default(), ..family },
                "unit" => Family { unit: argument.and_then(text), ..family },
                _ => family,
            }))
        }
        _ => Ok(None),
    }
}

/// As `wellkept-telemetry` takes them from a name.
const UNITS: [&str; 9] = ["seconds", "bytes", "ratio", "celsius", "joules", "volts", "amperes", "meters", "grams"];

fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn texts(expression: &Expr) -> Vec<String> {
    match expression {
        Expr::Reference(reference) => texts(&reference.expr),
        Expr::Array(array) => array.elems.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        const ONE: Declaration<'_> = Declaration::counter("worked_seconds", "Time | worked.").by(&["who", "where"]);
        const SOME: [Declaration<'static>; 2] = [
            Declaration::gauge("basket_euros", "Worth.").unit("euros"),
            wellkept_telemetry::metrics::Declaration::histogram("latency_seconds", "Latency."),
        ];
        families! { ALL:
            READ = counter "read_bytes" ["device", "where"], "Bytes read.";
            ROOM = gauge "room", "Room.";
        }
        const OTHER: Duration = Duration::from_secs(1);
        #[cfg(test)]
        mod tests {
            const NOT: Declaration<'_> = Declaration::gauge("of_a_test", "Of a test.");
        }
    "#;

    fn made(source: &str) -> Result<Option<(String, String)>, Finding> {
        let by_hand = format!("# Metrics\n\n{MARK}old");
        page(&Tree::of(&[("crates/a/src/lib.rs", source), (PAGE, &by_hand)]))
    }

    #[test]
    fn every_constant_that_declares_a_family_is_a_row() {
        let (_, page) = made(SOURCE).unwrap().unwrap();
        let rows = page.strip_prefix(&format!("# Metrics\n\n{MARK}\n")).unwrap();
        assert_eq!(
            rows,
            "| metric | type | unit | labels | what it says |\n|---|---|---|---|---|\n\
             | `basket_euros` | gauge | euros | | Worth. |\n\
             | `latency_seconds` | histogram | seconds | | Latency. |\n\
             | `read_bytes_total` | counter | bytes | `device`, `where` | Bytes read. |\n\
             | `room` | gauge | | | Room. |\n\
             | `worked_seconds_total` | counter | seconds | `who`, `where` | Time \\| worked. |\n"
        );
    }

    #[test]
    fn a_family_that_can_not_be_listed_is_told() {
        let twice = r#"const A: D = [Declaration::gauge("a", ""), Declaration::gauge("a", "")];"#;
        assert!(made(twice).unwrap_err().to_string().contains("declared twice"));
        assert!(
            made("const A: D = Declaration::gauge(NAME, \"\");")
                .unwrap_err()
                .to_string()
                .contains("written as they are")
        );
    }
}
