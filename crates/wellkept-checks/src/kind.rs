//! What a configuration needs to know of a kind of check.

use std::borrow::Cow;

use secrecy::SecretString;
use thiserror::Error;
use wellkept_config::Section;
use wellkept_health::{AnyCheck, Scope};

/// One kind of check, as a configuration sees it.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// The key in the configuration, for example `postgres`.
    pub name: &'static str,
    /// What it asks, in one line.
    pub summary: &'static str,
    /// How far it reaches: what is remote is refused on liveness.
    pub scope: Scope,
    /// What its settings have it open on this machine.
    pub opens: Opens,
    /// Reads its section, and reports what is wrong with it. Connects to nothing.
    pub read: fn(&mut Section<'_>) -> Option<AnyCheck>,
}

/// What a check's settings have it open on this machine, which decides who may bring one while the process runs: whoever
/// may write to the API must not become able to run programs or to look at files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// Nothing: what it asks is elsewhere, or a figure of the whole machine. Keys that name files stand apart: they end
    /// in `_file`, or are called `unix_socket`.
    Nothing,
    /// Paths, or what else belongs to others here, such as the command lines of processes.
    Paths,
    /// Programs, which it runs.
    Programs,
}

/// An option that can't be used. Holds nothing of the option's value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{option}`: {message}")]
pub struct InvalidOption {
    /// Which one, as it is named in the configuration.
    pub option: &'static str,
    /// What is wrong with it, and what to write instead.
    pub message: Cow<'static, str>,
}

impl InvalidOption {
    pub(crate) fn new(option: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { option, message: message.into() }
    }

    /// The stable code: `check.invalid_option`.
    pub fn code(&self) -> &'static str {
        "check.invalid_option"
    }
}

/// The check, or a report at the option that stands against it.
pub(crate) fn built(section: &mut Section<'_>, check: Result<impl Into<AnyCheck>, InvalidOption>) -> Option<AnyCheck> {
    match check {
        Ok(check) => Some(check.into()),
        Err(error) => {
            section.report(section.position_of(error.option), error.code(), error.message);
            None
        }
    }
}

/// `headers: { NAME: value }`, or nothing when the key is not there.
pub(crate) fn named_secrets(section: &mut Section<'_>, key: &'static str) -> Option<Vec<(String, SecretString)>> {
    let entries = section.entries(key);
    if !section.has(key) && !section.is_describing() {
        return Some(Vec::new());
    }
    let values: Vec<_> = entries?.into_iter().map(|(name, _, node)| Some((name, section.value(node)?))).collect();
    values.into_iter().collect()
}
