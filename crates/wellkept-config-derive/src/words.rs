//! `#[derive(Words)]`: an enum without fields that is read from a word.

use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{Data, DeriveInput, Fields};

use crate::attributes::{Place, Setting};

pub(crate) fn derive(input: &DeriveInput, config: &Tokens) -> syn::Result<Tokens> {
    let Data::Enum(choices) = &input.data else {
        return Err(syn::Error::new_spanned(&input.ident, "Words are an enum; a struct derives `Settings`"));
    };
    let mut variants = Vec::new();
    let mut words = Vec::new();
    for variant in &choices.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(syn::Error::new_spanned(variant, "a word brings nothing along: no fields"));
        }
        let setting = Setting::read(&variant.attrs, Place::Variant)?;
        let word = setting.rename.unwrap_or_else(|| in_snake_case(&variant.ident.to_string()));
        if words.contains(&word) {
            return Err(syn::Error::new_spanned(variant, format!("`{word}` is the word of two variants")));
        }
        words.push(word);
        variants.push(&variant.ident);
    }
    let Some((last, others)) = words.split_last() else {
        return Err(syn::Error::new_spanned(&input.ident, "there is no word: add a variant"));
    };
    let expected = if others.is_empty() { last.clone() } else { format!("{} or {last}", others.join(", ")) };
    let name = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #config::FromNode for #name {
            const EXPECTED: &'static str = #expected;

            fn schema() -> #config::Schema {
                #config::Schema::words(&[#((#words, ())),*])
            }

            fn written(&self) -> ::core::option::Option<::std::string::String> {
                let __word = match self {
                    #(Self::#variants => #words,)*
                };
                ::core::option::Option::Some(::std::string::String::from(__word))
            }

            fn from_scalar(__text: &str) -> ::core::result::Result<Self, ::std::string::String> {
                match __text {
                    #(#words => ::core::result::Result::Ok(Self::#variants),)*
                    _ => ::core::result::Result::Err(#config::derived::hint(__text, &[#(#words),*])),
                }
            }
        }
    })
}

/// `VerySlow` as `very_slow`, which is how keys are written too.
fn in_snake_case(name: &str) -> String {
    let mut word = String::new();
    for character in name.trim_start_matches("r#").chars() {
        if character.is_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.extend(character.to_lowercase());
    }
    word
}
