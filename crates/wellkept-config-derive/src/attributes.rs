//! What stands in `#[setting(…)]`, and documentation as text.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta};

/// What a field, a variant or the whole type says of itself.
#[derive(Default)]
pub(crate) struct Setting {
    pub(crate) default: Option<DefaultValue>,
    pub(crate) rename: Option<String>,
    pub(crate) range: Option<Expr>,
    pub(crate) validate: Option<Expr>,
    pub(crate) secret: bool,
    pub(crate) restart: bool,
}

/// What holds where there is no value.
pub(crate) enum DefaultValue {
    /// `Default::default()`.
    OfType,
    /// This.
    Is(Expr),
}

/// Where the attribute stands, which decides what it may say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Type,
    Field,
    Variant,
}

impl Setting {
    pub(crate) fn read(attributes: &[Attribute], place: Place) -> syn::Result<Self> {
        let mut setting = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("setting")) {
            attribute.parse_nested_meta(|meta| setting.take(&meta, place))?;
        }
        Ok(setting)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>, place: Place) -> syn::Result<()> {
        let known: &[&str] = match place {
            Place::Type => &["default", "validate"],
            Place::Field => &["default", "range", "rename", "restart", "secret", "validate"],
            Place::Variant => &["rename"],
        };
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if !known.contains(&name.as_str()) {
            return Err(meta.error(format!("expected one of {}", known.join(", "))));
        }
        match name.as_str() {
            "default" if meta.input.peek(syn::Token![=]) && place == Place::Field => {
                self.default = Some(DefaultValue::Is(meta.value()?.parse()?));
            }
            "default" => self.default = Some(DefaultValue::OfType),
            "range" => self.range = Some(meta.value()?.parse()?),
            "rename" => self.rename = Some(meta.value()?.parse::<LitStr>()?.value()),
            "restart" => self.restart = true,
            "secret" => self.secret = true,
            _ => self.validate = Some(meta.value()?.parse()?),
        }
        Ok(())
    }
}

/// The documentation, its lines joined.
pub(crate) fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    lines.map(|line| line.trim().to_owned()).collect::<Vec<_>>().join(" ").trim().to_owned()
}
