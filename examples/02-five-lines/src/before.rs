//! A small axum application, before anybody looked after it. `src/main.rs` is the same with five more lines.
//!
//! ```sh
//! cargo run -p example-five-lines --bin shop-before
//! ```

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{env, io};

use axum::{Router, http::StatusCode, routing::get};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = env::var("SHOP_LISTEN").as_deref().unwrap_or("127.0.0.1:3000").parse()?;
    let app = Router::new().route("/stock", get(count));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await?;
    Ok(())
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
