//! The application of `src/before.rs`, kept well: its stock is checked, probes and metrics are answered, a check that
//! fails is a line of the log, and SIGTERM loses no request. It takes five more lines, in place of the four that served it.
//!
//! ```sh
//! seq 12 > stock.txt; cargo run -p example-five-lines --bin shop
//! curl 127.0.0.1:3000/stock; curl 127.0.0.1:3000/readyz; curl 127.0.0.1:3000/health/ready
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, io};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use wellkept::{Service, shutdown::Report};

#[tokio::main]
async fn main() -> Result<Report, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let address: SocketAddr = env::var("SHOP_LISTEN").as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let stock = Arc::new(Stock { path: env::var_os("SHOP_STOCK").map_or_else(|| "stock.txt".into(), PathBuf::from) });
    let service = Service::new("shop", env!("CARGO_PKG_VERSION"));
    service.check_with("stock", stock.clone(), async |stock| stock.read().await.map(drop))?;
    let app = Router::new().route("/stock", get(count)).with_state(stock);
    Ok(service.serve(app, address).await?)
}

/// The list of the stock, one line for each kind of goods.
struct Stock {
    path: PathBuf,
}

impl Stock {
    async fn read(&self) -> io::Result<String> {
        tokio::fs::read_to_string(&self.path).await
    }
}

/// `GET /stock`: how many lines the list of the stock has.
async fn count(State(stock): State<Arc<Stock>>) -> Result<String, StatusCode> {
    let list = stock.read().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{}\n", list.lines().count()))
}
