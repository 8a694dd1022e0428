//! `#[derive(Settings)]` and `#[derive(Words)]`: how a type is read from a configuration. They write the same questions
//! that one would ask a section by hand. `wellkept-config` documents and exports both.

mod attributes;
mod settings;
mod words;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::{DeriveInput, parse_macro_input};

/// Reads a struct from a section of a configuration: see `wellkept_config::Settings`.
#[proc_macro_derive(Settings, attributes(setting))]
pub fn settings(input: TokenStream) -> TokenStream {
    derived(&parse_macro_input!(input), settings::derive, &quote!(::wellkept_config))
}

/// Reads an enum from a word: see `wellkept_config::FromNode`.
#[proc_macro_derive(Words, attributes(setting))]
pub fn words(input: TokenStream) -> TokenStream {
    derived(&parse_macro_input!(input), words::derive, &quote!(::wellkept_config))
}

/// [`Settings`](macro@Settings) for who imports `wellkept` alone, which exports it by its usual name.
#[proc_macro_derive(SettingsOfWellkept, attributes(setting))]
pub fn settings_of_wellkept(input: TokenStream) -> TokenStream {
    derived(&parse_macro_input!(input), settings::derive, &quote!(::wellkept::config))
}

/// [`Words`](macro@Words) for who imports `wellkept` alone, which exports it by its usual name.
#[proc_macro_derive(WordsOfWellkept, attributes(setting))]
pub fn words_of_wellkept(input: TokenStream) -> TokenStream {
    derived(&parse_macro_input!(input), words::derive, &quote!(::wellkept::config))
}

fn derived(
    input: &DeriveInput,
    derive: fn(&DeriveInput, &Tokens) -> syn::Result<Tokens>,
    config: &Tokens,
) -> TokenStream {
    derive(input, config).unwrap_or_else(|error| error.to_compile_error()).into()
}
