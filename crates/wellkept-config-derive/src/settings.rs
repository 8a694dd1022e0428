//! `#[derive(Settings)]`: one question for each field, all of them asked before anything is given up.

use proc_macro2::{Ident, Span, TokenStream as Tokens};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Fields, GenericArgument, PathArguments, Type};

use crate::attributes::{DefaultValue, Place, Setting, documentation};

pub(crate) fn derive(input: &DeriveInput, config: &Tokens) -> syn::Result<Tokens> {
    let Data::Struct(structure) = &input.data else {
        return Err(syn::Error::new_spanned(&input.ident, "Settings are a struct; an enum of words derives `Words`"));
    };
    let Fields::Named(fields) = &structure.fields else {
        return Err(syn::Error::new_spanned(&input.ident, "Settings need named fields: their names are the keys"));
    };
    if !input.generics.params.is_empty() {
        return Err(syn::Error::new_spanned(&input.generics, "Settings can't be generic"));
    }
    let whole = Setting::read(&input.attrs, Place::Type)?;
    let fields: Vec<Field<'_>> = fields.named.iter().map(|field| Field::of(field, &whole)).collect::<Result<_, _>>()?;

    let name = &input.ident;
    let default = whole.default.is_some().then(|| quote!(let __default: Self = ::core::default::Default::default();));
    let described = fields.iter().map(|field| (&field.key, &field.documentation));
    let described = described.map(|(key, documentation)| quote!((#key, #documentation)));
    let keys_with = |wanted: fn(&Setting) -> bool| {
        let keys: Vec<_> = fields.iter().filter(|field| wanted(&field.setting)).map(|field| &field.key).collect();
        (!keys.is_empty()).then(|| quote!(&[#(#keys),*]))
    };
    let restart = keys_with(|setting| setting.restart).map(|keys| quote!(__section.restart(#keys);));
    let conceal = keys_with(|setting| setting.secret).map(|keys| quote!(__section.conceal(#keys);));
    let asked = fields.iter().map(|field| field.asked(config));
    let names: Vec<_> = fields.iter().map(|field| field.name).collect();
    let locals: Vec<_> = fields.iter().map(Field::local).collect();
    let validate = whole.validate.map(|validate| {
        let span = validate.span();
        let called = quote_spanned!(span=> (#validate)(&__value));
        quote! {
            if let ::core::result::Result::Err(__why) = #called {
                let __at = __section.position();
                __section.report(__at, #config::codes::INVALID, ::std::string::ToString::to_string(&__why));
            }
        }
    });
    let restarts = fields.iter().map(|field| field.restarts(config));
    // A glob, since a type may need the methods for values only, or those for sections.
    let methods = (!fields.is_empty()).then(|| quote!(use #config::derived::*;));
    let methods_below = fields.iter().any(Field::asks_below).then_some(&methods);
    let restart_required = fields.iter().any(|field| field.setting.restart || field.asks_below()).then(|| {
        quote! {
            fn restart_required(__started: &Self, __new: &Self) -> ::std::vec::Vec<::std::string::String> {
                #methods_below
                let mut __keys = ::std::vec::Vec::new();
                #(#restarts)*
                __keys
            }
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #config::Settings for #name {
            fn read(__section: &mut #config::Section<'_>) -> ::core::option::Option<Self> {
                #methods
                #default
                __section.describe(&[#(#described),*]);
                #restart
                #conceal
                #(#asked)*
                __section.complete();
                let __value = Self { #(#names: #locals?),* };
                #validate
                ::core::option::Option::Some(__value)
            }

            #restart_required
        }
    })
}

struct Field<'f> {
    name: &'f Ident,
    key: String,
    documentation: String,
    setting: Setting,
    shape: Shape<'f>,
    span: Span,
    /// Whether the whole type has a default, which the field's is then taken from.
    of_whole: bool,
}

/// How often a field's type is there, and what it is then.
enum Shape<'f> {
    One(&'f Type),
    Optional(&'f Type),
    List(&'f Type),
    Map(&'f Type),
}

impl<'f> Field<'f> {
    fn of(field: &'f syn::Field, whole: &Setting) -> syn::Result<Self> {
        let name = field.ident.as_ref().ok_or_else(|| syn::Error::new_spanned(field, "a field needs a name"))?;
        let setting = Setting::read(&field.attrs, Place::Field)?;
        let key = setting.rename.clone().unwrap_or_else(|| name.to_string().trim_start_matches("r#").to_owned());
        let shape = Shape::of(&field.ty);
        if let (Some(range), Shape::List(_) | Shape::Map(_)) = (&setting.range, &shape) {
            return Err(syn::Error::new_spanned(range, "a range is of a single value: use `validate` for a list"));
        }
        let of_whole = whole.default.is_some();
        let mut documentation = documentation(&field.attrs);
        let is_optional = matches!(shape, Shape::Optional(_)) && setting.default.is_none() && !of_whole;
        if is_optional && !documentation.contains("Default") {
            documentation.push_str(" Default: nothing.");
        }
        Ok(Self { name, key, documentation, setting, shape, span: field.ty.span(), of_whole })
    }

    fn local(&self) -> Ident {
        format_ident!("__{}", self.key_as_name())
    }

    fn key_as_name(&self) -> String {
        self.name.to_string().trim_start_matches("r#").to_owned()
    }

    /// `Some(default)`, or `None` where the field must be there.
    fn default(&self) -> Tokens {
        let name = self.name;
        match &self.setting.default {
            Some(DefaultValue::OfType) => quote!(::core::option::Option::Some(::core::default::Default::default())),
            Some(DefaultValue::Is(value)) => {
                let span = value.span();
                quote_spanned!(span=> ::core::option::Option::Some(#value))
            }
            None if self.of_whole => quote!(::core::option::Option::Some(__default.#name)),
            None => quote!(::core::option::Option::None),
        }
    }

    /// Binds the field's value, an `Option` that is `None` when it could not be had.
    fn asked(&self, config: &Tokens) -> Tokens {
        let (local, key, default) = (self.local(), &self.key, self.default());
        let (method, inner) = match self.shape {
            Shape::One(inner) => ("one", inner),
            Shape::Optional(inner) => ("optional", inner),
            Shape::List(inner) => ("list", inner),
            Shape::Map(inner) => ("map", inner),
        };
        let span = self.span;
        let method = Ident::new(method, span);
        // Where a type is neither read from a value nor from a section, the error points at it.
        let read =
            quote_spanned!(span=> (&#config::derived::Reader::<#inner>::new()).#method(__section, #key, #default));
        let range = self.setting.range.as_ref().map(|range| {
            let is_optional = matches!(self.shape, Shape::Optional(_));
            let within = if is_optional { quote!(within_if_there) } else { quote!(within) };
            quote_spanned!(range.span()=> let #local = #config::derived::#within(__section, #key, #local, #range);)
        });
        let validate = self.setting.validate.as_ref().map(|validate| {
            let called = quote_spanned!(validate.span()=> (#validate)(__value));
            quote! {
                if let ::core::option::Option::Some(__value) = &#local
                    && let ::core::result::Result::Err(__why) = #called
                {
                    let __at = __section.position_of(#key);
                    __section.report(__at, #config::codes::INVALID, ::std::string::ToString::to_string(&__why));
                }
            }
        });
        quote!(let #local = #read; #range #validate)
    }

    /// Whether its keys below may wait for a restart.
    fn asks_below(&self) -> bool {
        !self.setting.restart && matches!(self.shape, Shape::One(_))
    }

    /// Adds the paths of what waits for a restart.
    fn restarts(&self, config: &Tokens) -> Tokens {
        let (name, key) = (self.name, &self.key);
        if self.setting.restart {
            let span = self.span;
            let differs = quote_spanned!(span=> __started.#name != __new.#name);
            return quote!(if #differs { __keys.push(::std::string::String::from(#key)); });
        }
        match self.shape {
            Shape::One(inner) => quote! {
                (&#config::derived::Reader::<#inner>::new()).restarts(#key, &__started.#name, &__new.#name, &mut __keys);
            },
            // A section that comes or goes, or is one of several, says nothing of its keys.
            Shape::Optional(_) | Shape::List(_) | Shape::Map(_) => Tokens::new(),
        }
    }
}

impl<'f> Shape<'f> {
    fn of(whole: &'f Type) -> Self {
        let Type::Path(path) = whole else { return Self::One(whole) };
        let Some(last) = path.path.segments.last() else { return Self::One(whole) };
        let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Self::One(whole) };
        let inner: Vec<&Type> = arguments
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(inner) => Some(inner),
                _ => None,
            })
            .collect();
        match (last.ident.to_string().as_str(), inner.as_slice()) {
            ("Option", [inner]) => Self::Optional(inner),
            ("Vec", [inner]) => Self::List(inner),
            ("BTreeMap", [_, inner]) => Self::Map(inner),
            _ => Self::One(whole),
        }
    }
}
