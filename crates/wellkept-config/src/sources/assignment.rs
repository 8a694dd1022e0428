//! One value that the command line sets: `http.listen=127.0.0.1:1`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::diagnostics::quoted;

/// A key and its value, from the command line: `http.listen=127.0.0.1:8080`.
///
/// Dots stand between the levels of a key; a name that holds a dot or an equals sign goes in double quotes
/// (`checks."a.b".interval=5s`). An item of a list that is joining goes by its name. The value is what follows the first
/// equals sign, as it is.
///
/// ```
/// use wellkept_config::Assignment;
///
/// let assignment: Assignment = "checks.orders-db.interval=5s".parse().unwrap();
/// assert_eq!(assignment.path().collect::<Vec<_>>(), ["checks", "orders-db", "interval"]);
/// assert!("checks".parse::<Assignment>().is_err());
/// ```
///
/// Its `Debug` form does not show the value, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Assignment {
    path: Vec<String>,
    value: String,
    name: Arc<str>,
}

impl Assignment {
    /// A value for a key, whose path is written as in `http.listen`.
    pub fn new(path: &str, value: impl Into<String>) -> Result<Self, AssignmentError> {
        let steps = steps(path)?;
        Ok(Self { path: steps, value: value.into(), name: format!("--set {path}").into() })
    }

    /// Set by an option of its own, which messages and views name instead of `--set KEY`.
    #[must_use]
    pub fn by_option(mut self, option: &str) -> Self {
        self.name = option.into();
        self
    }

    /// The levels of the key.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.path.iter().map(String::as_str)
    }

    /// What messages call it: `--set http.listen`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn parts(&self) -> (&[String], &str, &Arc<str>) {
        (&self.path, &self.value, &self.name)
    }
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, AssignmentError> {
        let mut in_quotes = false;
        let equals = text.char_indices().find(|(_, letter)| {
            in_quotes ^= *letter == '"';
            *letter == '=' && !in_quotes
        });
        let Some((equals, _)) = equals else { return Err(AssignmentError::NoValue) };
        let (path, value) = text.split_at(equals);
        Self::new(path, value.strip_prefix('=').unwrap_or(value))
    }
}

impl fmt::Debug for Assignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Assignment").field(&self.name).finish()
    }
}

/// Why an argument sets nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// There is no equals sign.
    #[error("expected KEY=VALUE, such as http.listen=127.0.0.1:8080")]
    NoValue,
    /// What is before the equals sign is no key.
    #[error("expected a key such as http.listen before the equals sign, found {}", quoted(found))]
    Key {
        /// What is there instead.
        found: String,
    },
}

impl AssignmentError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "config.assignment"
    }
}

fn steps(path: &str) -> Result<Vec<String>, AssignmentError> {
    let wrong = || AssignmentError::Key { found: path.to_owned() };
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let (step, after) = match rest.strip_prefix('"') {
            Some(inside) => inside.split_once('"').ok_or_else(wrong)?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if step.is_empty() || step.chars().any(char::is_control) {
            return Err(wrong());
        }
        steps.push(step.to_owned());
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(steps),
            None => return Err(wrong()),
        }
    }
}
