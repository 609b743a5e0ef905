//! The console in a browser: `tests/console` goes through it.

use crate::server::{KEY, Server};
use crate::tools::run;

/// What must have been gone through; the steps of each are in its output.
const JOURNEYS: [&str; 13] = [
    "first visit",
    "first visit without scripts",
    "momentum webhook",
    "replay",
    "a failure and its end",
    "keyboard",
    "add delivery",
    "template",
    "a member",
    "second step",
    "too late",
    "live parts",
    "pages",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_goes_through_the_console() {
    let (server, plain) = (Server::start(), Server::by_default());
    let variables = [
        ("POSTHASTE_URL", server.url.as_str()),
        ("POSTHASTE_SETUP_URL", &server.setup_url),
        ("POSTHASTE_PLAIN_URL", &plain.url),
        ("POSTHASTE_PLAIN_SETUP_URL", &plain.setup_url),
        ("POSTHASTE_KEY", KEY),
    ];
    let lines = run("console/run.mjs", &variables, "");
    let begins = |journey: &str| lines.iter().any(|line| line["case"].as_str().unwrap().starts_with(&format!("{journey}: ")));
    for journey in JOURNEYS {
        assert!(begins(journey), "the journey {journey:?} was not gone");
    }
}
