//! `wellkept serve`: the whole life of the process on one page.

use std::io::IsTerminal;
use std::path::Path;

use tokio::runtime::Builder;
use wellkept::Role;
use wellkept::config::Assignment;
use wellkept::http::activated;
use wellkept::program::{Configuration, Handlers, LoggingSettings, Places, StandardStream, Start, StartError, serve};
use wellkept::shutdown::Report;
use wellkept::telemetry::logging::{self, Format, Logging};

use crate::arguments::Serve;
use crate::exit::{Exit, Failure};

pub(crate) fn run(options: &Serve) -> Result<Exit, Failure> {
    // Before there is another thread: it takes variables away.
    let activated = activated().map_err(|error| Failure::new(Exit::Unreachable, error))?;
    let role = if options.take_over { Role::Successor } else { Role::First };
    let start = Start { activated, role };
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("wk-checks")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("the runtime can't be started: {error}")))?;
    let served = runtime.block_on(async {
        // First of all: a signal during the start must find its handler.
        let mut handlers = Handlers::install().map_err(failed)?;
        // On a thread of its own: a file on a disk that does not answer must not make the program deaf to signals.
        let (file, arguments) = (options.file.config.clone(), options.assignments());
        let loading = tokio::task::spawn_blocking(move || read(file.as_deref(), arguments));
        let (places, first) = tokio::select! {
            loaded = loading => loaded.map_err(|error| Failure::new(Exit::Failed, error))??,
            () = handlers.asked_to_end() => return Ok(None),
        };
        // So must the disk that the log is written to.
        let settings = first.logging.clone();
        let starting = tokio::task::spawn_blocking(move || start_logging(&settings));
        let logging = tokio::select! {
            started = starting => started.map_err(|error| Failure::new(Exit::Failed, error))??,
            () = handlers.asked_to_end() => return Ok(None),
        };
        say_hello(&places, &first);
        // What is wrong with the store of its versions is for the log.
        let loading = tokio::task::spawn_blocking(move || places.load(&first).map_err(wrong));
        let live = tokio::select! {
            loaded = loading => loaded.map_err(|error| Failure::new(Exit::Failed, error))??,
            () = handlers.asked_to_end() => return Ok(None),
        };
        let report = serve(live, start, handlers, Some(logging.clone())).await;
        Ok(Some((report, logging)))
    });
    // What still hangs in a check is left behind: nobody waits for it.
    runtime.shutdown_background();
    let Some((report, logging)): Option<(Result<Report, StartError>, Logging)> = served? else {
        return Ok(Exit::Clean);
    };
    // The last line has the books of the log, also of a start that failed. A reader that is stuck is no fault of the
    // service.
    logging.close(std::time::Duration::from_secs(1));
    Ok(Exit::Shutdown(report.map_err(failed)?.exit_code()))
}

fn read(file: Option<&Path>, arguments: Vec<Assignment>) -> Result<(Places, Configuration), Failure> {
    let places = Places::find(file, arguments).map_err(wrong)?;
    let first = places.read().map_err(wrong)?;
    Ok((places, first))
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Configuration, error)
}

fn failed(error: StartError) -> Failure {
    Failure::new(Exit::Shutdown(error.exit_code()), error)
}

fn start_logging(settings: &LoggingSettings) -> Result<Logging, Failure> {
    let is_for_people = match settings.outputs.stream {
        StandardStream::Errors => std::io::stderr().is_terminal(),
        StandardStream::Output | StandardStream::None => std::io::stdout().is_terminal(),
    };
    let usual = if is_for_people { Format::Text } else { Format::Json };
    logging::init(settings.options(usual)).map_err(|error| Failure::new(Exit::Failed, error))
}

fn say_hello(places: &Places, configuration: &Configuration) {
    let checks = configuration.checks.len();
    match &places.file {
        Some(file) => {
            let file = file.display();
            tracing::info!(target: "wellkept", service = configuration.service, checks, %file, "starting");
        }
        None => {
            tracing::info!(
                target: "wellkept", service = configuration.service, checks,
                "starting without a configuration: watching this machine"
            );
        }
    }
    tracing::info!(target: "wellkept", store = %configuration.store, "history is kept");
}
