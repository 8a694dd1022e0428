//! From the environment's variables to keys. Decides which variables are keys.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use crate::diagnostics::codes;
use crate::tree::{Spelling, loosely};

/// The variables of one prefix.
#[derive(Clone)]
pub(super) struct Environment {
    prefix: String,
    /// `None`: those of the process, whenever it is asked.
    variables: Option<Arc<[(OsString, OsString)]>>,
    ignored: Vec<String>,
}

/// A variable that is a key, or may be one.
pub(super) struct Variable {
    pub(super) name: Arc<str>,
    pub(super) path: Vec<String>,
    pub(super) spelling: Spelling,
    /// A stable code and a message when it can't be one.
    pub(super) value: Result<String, (&'static str, String)>,
}

impl Environment {
    pub(super) fn of_process(prefix: &str) -> Self {
        assert!(!prefix.is_empty(), "without a prefix every variable of the process would be a key");
        Self { prefix: prefix.to_owned(), variables: None, ignored: Vec::new() }
    }

    pub(super) fn of(prefix: &str, variables: Vec<(OsString, OsString)>) -> Self {
        Self { variables: Some(variables.into()), ..Self::of_process(prefix) }
    }

    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.ignored.extend(names.iter().map(|name| (*name).to_owned()));
    }

    /// The variables that are keys, by name: a name comes before those that it is the beginning of.
    pub(super) fn read(&self) -> Vec<Variable> {
        let mut read: Vec<_> = match &self.variables {
            Some(variables) => variables.iter().filter_map(|(name, value)| self.variable(name, value)).collect(),
            None => std::env::vars_os().filter_map(|(name, value)| self.variable(&name, &value)).collect(),
        };
        read.sort_by(|one, other| one.name.cmp(&other.name));
        read
    }

    /// A name that is not UTF-8 is nobody's key, and an empty value is none.
    fn variable(&self, name: &OsString, value: &OsString) -> Option<Variable> {
        let name = name.to_str().filter(|_| !value.is_empty())?;
        let (prefix, key) = name.split_at_checked(self.prefix.len())?;
        if key.is_empty() || !prefix.eq_ignore_ascii_case(&self.prefix) || self.ignores(name) {
            return None;
        }
        let path: Vec<String> = key.split("__").map(|step| loosely(step).collect()).collect();
        let spelling = if path.len() > 1 { Spelling::Loose } else { Spelling::Tentative };
        let value = match value.to_str() {
            _ if path.iter().any(String::is_empty) => {
                Err((codes::UNKNOWN_KEY, "no key: `__` stands between levels, and one of them is empty".to_owned()))
            }
            Some(value) => Ok(value.to_owned()),
            None => Err((codes::ENCODING, "the variable's value is not UTF-8".to_owned())),
        };
        Some(Variable { name: name.into(), path, spelling, value })
    }

    fn ignores(&self, name: &str) -> bool {
        self.ignored.iter().any(|ignored| ignored.eq_ignore_ascii_case(name))
    }
}

/// Without values, which may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Environment").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
