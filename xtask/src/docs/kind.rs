//! What a kind's module says of itself, read out of its source.

use std::collections::BTreeMap;

use syn::{Attribute, Expr, Field, Fields, Item, ItemStruct, Lit, Type};

use crate::tidy::{Finding, Tree, numbered};

const CHECKS: &str = "crates/wellkept-checks/src/";
const CONFIG: &str = "crates/wellkept-config/src/";
/// The headings that every kind's documentation has, in this order.
const HEADINGS: [&str; 3] = ["Verdicts", "Rights", "Cost"];
/// Sections within sections. Deeper ones nobody would want to write.
const MOST_LEVELS: usize = 4;

/// One kind, as its page shows it.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) feature: Option<String>,
    /// Markdown before the first heading.
    pub(super) about: String,
    /// The section as a configuration has it.
    pub(super) example: String,
    pub(super) keys: Vec<Key>,
    /// Headings and the markdown below them.
    pub(super) sections: Vec<(String, String)>,
}

/// One key of a kind's section.
#[derive(Debug)]
pub(super) struct Key {
    /// With the sections around it: `expect.status`.
    pub(super) path: String,
    pub(super) kind: String,
    pub(super) default: String,
    pub(super) what: String,
}

/// The parsed sources of the crates that a page is made from.
pub(super) struct Source<'t> {
    tree: &'t Tree,
    files: BTreeMap<&'t str, syn::File>,
}

impl<'t> Source<'t> {
    pub(super) fn read(tree: &'t Tree) -> Result<Self, Finding> {
        let mut files = BTreeMap::new();
        for (file, text) in
            tree.with_extension("rs").filter(|(file, _)| file.starts_with(CHECKS) || file.starts_with(CONFIG))
        {
            let parsed =
                syn::parse_file(text).map_err(|error| Finding::new(file, 1, format!("can't be read: {error}")))?;
            files.insert(file, parsed);
        }
        Ok(Self { tree, files })
    }

    /// All kinds that the list in `lib.rs` names, and what is missing in them.
    pub(super) fn kinds(&self) -> (Vec<Kind>, Vec<Finding>) {
        let (mut kinds, mut findings) = (Vec::new(), Vec::new());
        for (name, feature) in self.listed() {
            match self.kind(&name, feature) {
                Ok(kind) => kinds.push(kind),
                Err(found) => findings.extend(found),
            }
        }
        (kinds, findings)
    }

    /// The list `kinds! { tcp, http if "http", … }`.
    fn listed(&self) -> Vec<(String, Option<String>)> {
        let items = self.files.get(format!("{CHECKS}lib.rs").as_str()).map(|file| file.items.as_slice());
        let list = items.unwrap_or_default().iter().find_map(|item| match item {
            Item::Macro(list) if list.ident.is_none() && list.mac.path.is_ident("kinds") => {
                Some(list.mac.tokens.to_string())
            }
            _ => None,
        });
        let list = list.unwrap_or_default();
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| match entry.split_once(" if ") {
                Some((name, feature)) => (name.trim().to_owned(), Some(feature.trim().trim_matches('"').to_owned())),
                None => (entry.to_owned(), None),
            })
            .collect()
    }

    fn kind(&self, name: &str, feature: Option<String>) -> Result<Kind, Vec<Finding>> {
        let place = format!("{CHECKS}{name}.rs");
        let Some((&file, parsed)) = self.files.get_key_value(place.as_str()) else {
            return Err(vec![Finding::new(&place, 1, "missing: the list of kinds names it")]);
        };
        let mut findings = Vec::new();
        let (about, sections) = split(&documentation(&parsed.attrs));
        let headings: Vec<&str> = sections.iter().map(|(heading, _)| heading.as_str()).collect();
        if headings.iter().filter(|heading| HEADINGS.contains(heading)).ne(HEADINGS.iter()) {
            let message =
                format!("the module's documentation needs the headings # {}, in this order", HEADINGS.join(", # "));
            findings.push(Finding::new(file, 1, message));
        }
        for (heading, _) in sections.iter().filter(|(_, text)| text.is_empty()) {
            findings.push(Finding::new(file, 1, format!("there is nothing below # {heading}")));
        }
        let constant = parsed.items.iter().find_map(|item| match item {
            Item::Const(constant) if constant.ident == "KIND" => Some(constant),
            _ => None,
        });
        let summary = constant.and_then(|constant| text_field(&constant.expr, "summary"));
        let example = constant.and_then(|constant| example(&documentation(&constant.attrs)));
        if summary.is_none() || example.is_none() {
            let message = "`KIND` needs a summary, and a comment with an example: `kind: { key: value }`";
            findings.push(Finding::new(file, 1, message));
        }
        let mut keys = Keys { source: self, name, list: Vec::new(), findings: &mut findings };
        match self.structure(name, "Options") {
            Some((file, options)) => keys.add(file, options, "", 0),
            None => keys.findings.push(Finding::new(file, 1, "there is no `pub struct Options`")),
        }
        let keys = keys.list;
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Kind {
            name: name.to_owned(),
            summary: summary.unwrap_or_default(),
            feature,
            about: plain(&about),
            example: example.unwrap_or_default(),
            keys,
            sections: sections.into_iter().map(|(heading, text)| (heading, plain(&text))).collect(),
        })
    }

    /// The kind's own files first, then all others of the crates.
    fn files_for(&self, name: &str) -> impl Iterator<Item = (&'t str, &syn::File)> {
        let (own, folder) = (format!("{CHECKS}{name}.rs"), format!("{CHECKS}{name}/"));
        let (first, then): (Vec<_>, Vec<_>) =
            self.files.iter().partition(|(file, _)| **file == own || file.starts_with(&folder));
        first.into_iter().chain(then).map(|(file, parsed)| (*file, parsed))
    }

    fn structure(&self, name: &str, wanted: &str) -> Option<(&'t str, &ItemStruct)> {
        // Another kind's `Options` are none of this one's.
        let others = wanted != "Options";
        let own = format!("{CHECKS}{name}");
        self.files_for(name).filter(|(file, _)| others || file.starts_with(&own)).find_map(|(file, parsed)| {
            parsed.items.iter().find_map(|item| match item {
                Item::Struct(structure) if structure.ident == wanted => Some((file, structure)),
                _ => None,
            })
        })
    }

    /// What a value of a type is called where one is expected: `FromNode::EXPECTED`, without its article.
    fn expected(&self, name: &str, wanted: &str) -> Option<String> {
        if matches!(wanted, "u8" | "u16" | "u32" | "u64" | "usize" | "i64") {
            return Some("whole number".to_owned());
        }
        let expected = self.files_for(name).find_map(|(_, parsed)| {
            parsed.items.iter().find_map(|item| {
                let Item::Impl(implementation) = item else { return None };
                let (_, implemented, _) = implementation.trait_.as_ref()?;
                let is_it =
                    implemented.segments.last()?.ident == "FromNode" && last_name(&implementation.self_ty)? == wanted;
                is_it.then_some(())?;
                implementation.items.iter().find_map(|item| match item {
                    syn::ImplItem::Const(constant) if constant.ident == "EXPECTED" => text(&constant.expr),
                    _ => None,
                })
            })
        })?;
        let bare = expected.strip_prefix("a ").or_else(|| expected.strip_prefix("an ")).unwrap_or(&expected);
        Some(bare.to_owned())
    }

    fn line_of(&self, file: &str, field: &str) -> usize {
        let declared = format!("pub {field}:");
        let text = self.tree.text(file).unwrap_or_default();
        numbered(text).find(|(_, line)| line.trim_start().starts_with(&declared)).map_or(1, |(number, _)| number)
    }
}

/// The keys of one kind, gathered.
struct Keys<'a, 't> {
    source: &'a Source<'t>,
    name: &'a str,
    list: Vec<Key>,
    findings: &'a mut Vec<Finding>,
}

impl Keys<'_, '_> {
    fn add(&mut self, file: &str, structure: &ItemStruct, above: &str, level: usize) {
        let Fields::Named(fields) = &structure.fields else { return };
        for field in &fields.named {
            self.add_field(file, field, above, level);
        }
    }

    fn add_field(&mut self, file: &str, field: &Field, above: &str, level: usize) {
        let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let name = name.trim_start_matches("r#");
        let line = self.source.line_of(file, name);
        let said = documentation(&field.attrs);
        if said.trim().is_empty() {
            self.findings.push(Finding::new(file, line, format!("`{name}` is not documented")));
            return;
        }
        let Some((what, default)) = what_and_default(&plain(&said)) else {
            let message = format!("`{name}` does not say its default: add a sentence `Default ….` or `Required.`");
            self.findings.push(Finding::new(file, line, message));
            return;
        };
        let path = format!("{above}{name}");
        let shape = Shape::of(&field.ty);
        let nested = (level < MOST_LEVELS).then(|| self.source.structure(self.name, &shape.name)).flatten();
        let kind = match self.source.expected(self.name, &shape.name) {
            Some(expected) => shape.described(&expected),
            None if nested.is_some() => {
                if matches!(shape.holds, Holds::One) { "section" } else { "list of sections" }.to_owned()
            }
            None => {
                let message = format!("`{name}`: `{}` can't be in a configuration, it is no `FromNode`", shape.name);
                self.findings.push(Finding::new(file, line, message));
                return;
            }
        };
        let is_section = kind == "section" || kind == "list of sections";
        self.list.push(Key { path: path.clone(), kind, default, what });
        if let Some((file, structure)) = nested.filter(|_| is_section) {
            self.add(file, structure, &format!("{path}."), level + 1);
        }
    }
}

/// A field's type, without what only says how often it is there.
struct Shape {
    name: String,
    holds: Holds,
}

#[derive(Clone, Copy)]
enum Holds {
    One,
    List,
    Mapping,
}

impl Shape {
    fn of(field: &Type) -> Self {
        let name = last_name(field).unwrap_or_default();
        match (name.as_str(), inner(field)) {
            ("Option" | "Box" | "Arc", Some(inner)) => Self::of(inner),
            ("Vec", Some(Type::Tuple(pair))) => {
                let name = pair.elems.last().and_then(last_name).unwrap_or_default();
                Self { name, holds: Holds::Mapping }
            }
            ("Vec", Some(inner)) => Self { holds: Holds::List, ..Self::of(inner) },
            _ => Self { name, holds: Holds::One },
        }
    }

    fn described(&self, expected: &str) -> String {
        match self.holds {
            Holds::One => expected.to_owned(),
            Holds::List => format!("list of {expected}"),
            Holds::Mapping => format!("mapping to {expected}"),
        }
    }
}

fn last_name(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

fn inner(of: &Type) -> Option<&Type> {
    let Type::Path(path) = of else { return None };
    let syn::PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(inner) => Some(inner),
        _ => None,
    })
}

fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn text_field(expression: &Expr, wanted: &str) -> Option<String> {
    let Expr::Struct(structure) = expression else { return None };
    structure.fields.iter().find_map(|field| match &field.member {
        syn::Member::Named(name) if name == wanted => text(&field.expr),
        _ => None,
    })
}

/// The lines of documentation, without the space that each begins with.
pub(super) fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
        let line = text(&attribute.meta.require_name_value().ok()?.value)?;
        Some(line.strip_prefix(' ').unwrap_or(&line).to_owned())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands before the first heading, and the headings with what stands below each.
fn split(documentation: &str) -> (String, Vec<(String, String)>) {
    let (mut about, mut sections) = (String::new(), Vec::<(String, String)>::new());
    let mut in_code = false;
    for line in documentation.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if let Some(heading) = line.strip_prefix("# ").filter(|_| !in_code) {
            sections.push((heading.trim().to_owned(), String::new()));
            continue;
        }
        let text = sections.last_mut().map_or(&mut about, |(_, text)| text);
        text.push_str(line);
        text.push('\n');
    }
    let sections = sections.into_iter().map(|(heading, text)| (heading, text.trim().to_owned())).collect();
    (about.trim().to_owned(), sections)
}

/// The first thing in backticks, or the first block of code.
fn example(documentation: &str) -> Option<String> {
    if let Some((_, block)) = documentation.split_once("```yaml\n") {
        return block.split_once("\n```").map(|(block, _)| block.to_owned());
    }
    documentation.split('`').nth(1).map(|example| example.replace('\n', " ")).filter(|example| !example.is_empty())
}

/// The sentence that tells the default, apart from the others.
fn what_and_default(said: &str) -> Option<(String, String)> {
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut default = None;
    let mut others = Vec::new();
    let mut rest = said.as_str();
    while !rest.is_empty() {
        let (sentence, after) = match rest.find(". ") {
            Some(end) => (&rest[..=end], &rest[end + 2..]),
            None => (rest, ""),
        };
        rest = after;
        let bare = sentence.trim_end_matches('.');
        match bare.strip_prefix("Default") {
            Some(told) if default.is_none() => default = Some(told.trim_start_matches(':').trim().to_owned()),
            None if bare == "Required" && default.is_none() => default = Some("required".to_owned()),
            _ => others.push(sentence),
        }
    }
    Some((others.join(" "), default.filter(|default| !default.is_empty())?))
}

/// Without the links that only rustdoc understands.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("[`") {
        let (before, link) = rest.split_at(start);
        out.push_str(before);
        let Some((name, after)) = link[2..].split_once("`]") else {
            out.push_str("[`");
            rest = &link[2..];
            continue;
        };
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        match target {
            // A real address stays a link.
            Some((target, _)) if target.contains('/') => {
                out.push_str("[`");
                out.push_str(name);
                out.push_str("`]");
                rest = after;
            }
            Some((_, after)) => {
                out.push_str(&["`", name, "`"].concat());
                rest = after;
            }
            None => {
                out.push_str(&["`", name, "`"].concat());
                rest = after;
            }
        }
    }
    out + rest
}
