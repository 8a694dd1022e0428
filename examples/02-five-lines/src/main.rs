//! The application of `src/before.rs`, kept well: its stock is checked, probes and metrics are answered, and SIGTERM
//! loses no request. It takes five more lines, in place of the three that served it.
//!
//! ```sh
//! seq 12 > stock.txt; cargo run -p example-five-lines --bin shop
//! curl 127.0.0.1:3000/stock; curl 127.0.0.1:3000/readyz; curl 127.0.0.1:3000/health/ready
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{env, io};

use axum::{Router, http::StatusCode, routing::get};
use wellkept::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = env::var("SHOP_LISTEN").as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let app = Router::new().route("/stock", get(count));
    let service = Service::new("shop", env!("CARGO_PKG_VERSION"));
    service.check("stock", async || read_stock().await.map(drop))?;
    let report = service.serve(app, address).await?;
    std::process::exit(report.exit_code().into());
}

/// `GET /stock`: how many lines the list of the stock has.
async fn count() -> Result<String, StatusCode> {
    let list = read_stock().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{}\n", list.lines().count()))
}

async fn read_stock() -> io::Result<String> {
    let path = env::var_os("SHOP_STOCK").map_or_else(|| "stock.txt".into(), PathBuf::from);
    tokio::fs::read_to_string(path).await
}
