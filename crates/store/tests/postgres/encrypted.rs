//! A database that is reached by TLS: who vouches for it is always asked.

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_store::postgres::{PostgresOptions, PostgresStore};
use posthaste_store::{Journal, StoreError};

use super::server::{Server, options};

/// A certificate that vouches for itself, and its key.
fn made() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    (pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &made.signing_key.serialize_der()))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// The right authority opens it, and every connection is encrypted. Another one, those of the system, and a file without any do not.
#[tokio::test]
async fn certificates_are_verified() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start();
    let database = server.database(dir.path()).await;
    let ((right, key), (wrong, _)) = (made(), made());
    let url = server.secure(&right, &key, &database).await;
    let open = |authorities: Option<&str>| {
        let authorities = authorities.map(|pem| pem.as_bytes().to_vec());
        PostgresStore::open(&url, PostgresOptions { authorities, ..options() })
    };
    assert!(matches!(open(Some(&wrong)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(open(None).await, Err(StoreError::Unavailable(_))));
    let none = open(Some("nothing")).await.err().expect("nobody vouches for it");
    assert!(none.source().is_some_and(|cause| cause.to_string().contains("no certificate")), "{none:?}");

    let store = open(Some(&right)).await.expect("it opens");
    let admin = server.connect(&database).await;
    let connections = "SELECT count(*) FILTER (WHERE NOT s.ssl), count(*) FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
                       WHERE a.application_name LIKE 'posthaste%'";
    let row = admin.query_one(connections, &[]).await.expect("connections");
    let (plain, all): (i64, i64) = (row.get(0), row.get(1));
    assert!(plain == 0 && all >= 6, "{plain} of {all} are not encrypted");
    store.close().await;
}
