//! A small axum application, before anybody looked after it. `src/main.rs` is the same with five more lines.
//!
//! ```sh
//! cargo run -p example-five-lines --bin shop-before
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, io};

use axum::{Router, extract::State, http::StatusCode, routing::get};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt::init();
    let address: SocketAddr = env::var("SHOP_LISTEN").as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let stock = Arc::new(Stock { path: env::var_os("SHOP_STOCK").map_or_else(|| "stock.txt".into(), PathBuf::from) });
    let app = Router::new().route("/stock", get(count)).with_state(stock);
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
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
