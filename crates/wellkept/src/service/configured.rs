//! What of a service a configuration changes, and what is shown of it.

use wellkept_config::FlagBoard;
use wellkept_http::Doors;

use super::Service;

/// What was said of it before the service is served.
#[derive(Debug, Default)]
pub(super) struct Configured {
    flags: Option<FlagBoard>,
}

impl Service {
    /// Shows feature flags in the metrics (`wellkept_feature_flag_…`), to whoever may see names, and to operators in
    /// `/health/detailed`.
    ///
    /// ```
    /// let board = wellkept::config::FlagBoard::new();
    /// // Here the board begins to follow a configuration: see `FlagBoard::follow`.
    /// let service = wellkept::Service::new("orders", "1.4.2").flags(&board);
    /// # drop(service);
    /// ```
    #[must_use]
    pub fn flags(mut self, board: &FlagBoard) -> Self {
        self.configured.flags = Some(board.clone());
        self
    }
}

impl Configured {
    /// Shows it on the doors.
    pub(super) fn show(self, doors: &Doors) {
        if let Some(flags) = &self.flags {
            doors.show_flags(flags);
        }
    }
}
