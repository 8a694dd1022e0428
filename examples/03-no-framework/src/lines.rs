//! Every change of health as a line of JSON.

use std::io::Write;

use wellkept_health::{Exporter, ExporterError, StatusChange};

pub(crate) struct Lines<W>(pub(crate) W);

impl<W: Write + Send + 'static> Exporter for Lines<W> {
    fn change(&mut self, change: &StatusChange) -> Result<(), ExporterError> {
        serde_json::to_writer(&mut self.0, change)?;
        self.0.write_all(b"\n")?;
        Ok(self.0.flush()?)
    }
}
