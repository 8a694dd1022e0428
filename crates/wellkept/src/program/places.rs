//! Where the program's configuration is read from: the file, the folder beside it, the environment, the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use wellkept_config::{Assignment, Live, LiveOptions, LocateError, Located, Locations, Sources};

use super::configuration::Configuration;
use super::machine;

const LOCATIONS: Locations<'_> = Locations {
    option: "--config",
    variable: "WELLKEPT_CONFIG",
    usual: &["./wellkept.yaml", "/etc/wellkept/wellkept.yaml"],
};
/// What the variables begin with that are keys.
const PREFIX: &str = "WELLKEPT_";
/// Lists that add up over the files, and what their items go by.
const JOINING: [(&str, &str); 2] = [("checks", "name"), ("maintenance.windows", "name")];

/// What the program's configuration is read from, later ones first: the command line, variables such as
/// `WELLKEPT_HTTP__LISTEN`, the files of the folder beside the file (`wellkept.d` for `wellkept.yaml`), the file.
#[derive(Debug, Clone)]
pub struct Places {
    /// The file; `None` when there is none and the program watches its own machine.
    pub file: Option<PathBuf>,
    /// All of it.
    pub sources: Sources,
}

impl Places {
    /// Finds the file: `explicit`, then `WELLKEPT_CONFIG`, `./wellkept.yaml`, `/etc/wellkept/wellkept.yaml`. Without any,
    /// the program watches the machine it runs on. `arguments` is what the command line sets.
    ///
    /// Blocks on the file system.
    pub fn find(explicit: Option<&Path>, arguments: impl IntoIterator<Item = Assignment>) -> Result<Self, LocateError> {
        let lookup = |name: &str| -> Option<OsString> { std::env::var_os(name) };
        let file = LOCATIONS.find(explicit, &lookup)?.map(|Located { path, .. }| path);
        let sources = match &file {
            Some(file) => Sources::new().file(file).folder(folder_of(file)),
            None => Sources::new().text("built-in", machine::CHECKS),
        };
        let sources = sources.joining(&JOINING).environment(PREFIX).environment_ignores(&[LOCATIONS.variable]);
        Ok(Self { file, sources: sources.arguments(arguments) })
    }

    /// Reads the configuration once. Blocks on the file system.
    pub fn read(&self) -> Result<Configuration, wellkept_config::LoadError> {
        let document = self.sources.document(&self.sources.content()?)?;
        Ok(document.read(Configuration::read_root)?)
    }

    /// Reads the configuration as one that runs and can be changed, as `first`, what it said before, has it. Blocks on
    /// the file system, and on the store that keeps its versions.
    pub fn load(&self, first: &Configuration) -> Result<Live<Configuration>, wellkept_config::LoadError> {
        let mut options = LiveOptions::default();
        first.reload.set(&mut options);
        match first.store.versions() {
            Ok(versions) => Live::load_with(self.sources.clone(), options, versions),
            Err(fault) => {
                tracing::error!(target: "wellkept::config", %fault, "versions are kept in memory only");
                Live::load(self.sources.clone(), options)
            }
        }
    }
}

/// `wellkept.d` beside `wellkept.yaml`.
fn folder_of(file: &Path) -> PathBuf {
    file.with_extension("d")
}
