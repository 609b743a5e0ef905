//! A Postgres of this test program's own.

use std::path::Path;

#[expect(dead_code, reason = "the tests of the store use all of it")]
#[path = "../../../store/tests/postgres/server.rs"]
pub mod postgres;

/// A database for a directory: its name, and how the program reaches it.
pub async fn database(dir: &Path) -> (String, String) {
    let server = postgres::Server::shared();
    let name = server.database(dir).await;
    let url = server.url(&name);
    let port = url.split(" port=").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port");
    let url = format!("postgres://postgres@127.0.0.1:{port}/{name}?sslmode=disable");
    (name, url)
}
