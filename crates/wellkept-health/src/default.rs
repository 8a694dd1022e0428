//! The process-wide checker, for those who ask for one: nothing is here before somebody puts it here.

use std::sync::OnceLock;

use crate::checker::Checker;

static DEFAULT: OnceLock<Checker> = OnceLock::new();

/// Makes `checker` the one that [`default_checker`] returns anywhere in this process, for the rest of its life.
///
/// It is for code that can't be handed a checker: a library's callback, a loop far from `main`. Whoever can be handed
/// one should be: a [`Checker`] is cheap to clone and fits into an application's state, and tests can then have one
/// each.
///
/// ```
/// use wellkept_health::{Checker, Settings, default_checker, install_default};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// assert!(default_checker().is_none());
/// let (checker, engine) = Checker::new(Settings::new("orders"));
/// tokio::spawn(engine.run(std::future::pending()));
/// install_default(checker)?;
///
/// assert_eq!(default_checker().unwrap().service(), "orders");
/// # Ok::<(), wellkept_health::AlreadyInstalled>(()) }).unwrap();
/// ```
pub fn install_default(checker: Checker) -> Result<(), AlreadyInstalled> {
    DEFAULT.set(checker).map_err(|_| AlreadyInstalled)
}

/// The checker that [`install_default`] was given; `None` before.
pub fn default_checker() -> Option<Checker> {
    DEFAULT.get().cloned()
}

/// This process has a default checker, and it stays the one it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this process has a default checker already")]
pub struct AlreadyInstalled;

impl AlreadyInstalled {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        "checker.already_installed"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    /// The only test of this process that touches what is process-wide.
    #[tokio::test]
    async fn the_first_default_checker_stays_and_none_is_there_unasked() {
        assert!(default_checker().is_none());
        let (first, _engine) = Checker::new(Settings::new("first"));
        let (second, _engine) = Checker::new(Settings::new("second"));
        install_default(first).unwrap();
        assert_eq!(install_default(second).unwrap_err().code(), "checker.already_installed");
        assert_eq!(default_checker().unwrap().service(), "first");
    }
}
