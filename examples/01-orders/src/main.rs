//! An axum application with a PostgreSQL pool, kept well: checked through its own pool, drained without losing a
//! request, the pool closed when the last request is done.
//!
//! ```sh
//! docker run --rm -d --name orders -p 5432:5432 -e POSTGRES_PASSWORD=secret postgres
//! docker exec -u postgres orders psql -c 'CREATE TABLE orders (id bigint)'
//! export DATABASE_URL=postgres://postgres:secret@127.0.0.1/postgres ORDERS_ADMIN=127.0.0.1:3001
//! cargo run -p example-orders
//! curl 127.0.0.1:3000/readyz; curl 127.0.0.1:3001/health/detailed
//! curl '127.0.0.1:3000/slow?ms=5000' & kill "$(pidof orders)"; wait
//! ```

mod database;
mod routes;
mod settings;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use wellkept::http::Access;
use wellkept::shutdown::{Report, Resource, ResourceType};
use wellkept::telemetry::logging::{self, Format, Options, SinkOptions};
use wellkept::{AnyCheck, Component, ServeError, Service, ServiceOptions};

use settings::Settings;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let format = if std::io::stdout().is_terminal() { Format::Text } else { Format::Json };
    let log = logging::init(Options::to(SinkOptions::stdout(format)))?;
    let code = match run().await {
        Ok(report) => {
            tracing::info!(report = %serde_json::to_string(&report)?, "orders has ended");
            report.exit_code()
        }
        Err(error) => {
            tracing::error!(error = &*error, "orders can't run");
            error.downcast_ref().map_or(settings::EXIT_CODE, ServeError::exit_code)
        }
    };
    // The last line has the books of the log.
    log.close(Duration::from_secs(1));
    Ok(code.into())
}

async fn run() -> Result<Report, Box<dyn Error>> {
    let settings = Settings::from_environment()?;
    let pool = database::pool(settings.database)?;

    let options = ServiceOptions { shutdown: settings.shutdown, ..ServiceOptions::default() };
    let mut service = Service::with_options("orders", env!("CARGO_PKG_VERSION"), options);
    let checked = pool.clone();
    let check = AnyCheck::from_fn(move || database::check(checked.clone()));
    service.component(Component::new("database", check).interval(settings.check_interval))?;
    let closed = pool.clone();
    service.resource(Resource::new("database", ResourceType::Database, async move || database::close(&closed)))?;
    if let Some(address) = settings.probes {
        service = service.probes(address);
    }
    if let Some(address) = settings.admin {
        service = service.admin(address, Access::loopback_only());
    }
    Ok(service.serve(routes::routes(pool), settings.listen).await?)
}
