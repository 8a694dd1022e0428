//! The program `wellkept`: arguments in, one command, an exit code out.

mod arguments;
mod ask;
mod commands;
mod exit;
mod output;

use std::process::ExitCode;

use crate::arguments::{Arguments, Command, ConfigCommand, LogCommand, MaintenanceCommand};
use crate::exit::Exit;

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let ended = match arguments.command {
        Command::Serve(options) => commands::serve::run(&options),
        Command::Check(options) => commands::check::run(options),
        Command::Status(options) => commands::status::run(&options),
        Command::Reload(options) => commands::reload::run(&options),
        Command::Maintenance(MaintenanceCommand::Start(options)) => commands::maintenance::start(&options),
        Command::Maintenance(MaintenanceCommand::End(options)) => commands::maintenance::end(&options),
        Command::Maintenance(MaintenanceCommand::List(options)) => commands::maintenance::list(&options),
        Command::Log(LogCommand::Level(options)) => commands::log::level(&options),
        Command::Log(LogCommand::Status(options)) => commands::log::status(&options),
        Command::Heartbeat(options) => commands::heartbeat::run(&options),
        Command::Config(ConfigCommand::Check(options)) => Ok(commands::config::check::run(&options)),
        Command::Config(ConfigCommand::Schema(options)) => Ok(commands::config::schema(&options)),
        Command::Config(ConfigCommand::Show(options)) => commands::config::show::run(&options),
        Command::Config(ConfigCommand::Diff(options)) => commands::config::diff::run(&options),
        Command::Config(ConfigCommand::History(options)) => commands::config::history::run(&options),
        Command::Config(ConfigCommand::Rollback(options)) => commands::config::rollback(&options),
    };
    ended.unwrap_or_else(|failure| failure.tell()).into()
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
