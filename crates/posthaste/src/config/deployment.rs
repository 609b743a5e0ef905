//! What the deployment files name exists, and they give a server the time that it asks for.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use clap::CommandFactory;
use posthaste_store::secrets::MasterKeys;

use super::{Config, SETTINGS};
use crate::command::Cli;

const UNIT: &str = include_str!("../../../../deploy/posthaste.service");
const COMPOSE: &str = include_str!("../../../../deploy/compose.yaml");
const PODS: &str = include_str!("../../../../deploy/kubernetes/deployment.yaml");
const FILES: [(&str, &str); 7] = [
    ("deploy/posthaste.service", UNIT),
    ("deploy/compose.yaml", COMPOSE),
    ("deploy/kubernetes/deployment.yaml", PODS),
    ("deploy/Containerfile", include_str!("../../../../deploy/Containerfile")),
    ("deploy/haproxy.cfg", include_str!("../../../../deploy/haproxy.cfg")),
    ("deploy/make-env", MAKE_ENV),
    ("docs/scaling.md", include_str!("../../../../docs/scaling.md")),
];
const MAKE_ENV: &str = include_str!("../../../../deploy/make-env");
/// Variables that are no settings.
const OTHERS: [&str; 3] = ["POSTHASTE_KEY", "POSTHASTE_URL", "POSTHASTE_CONFIG"];
/// Paths that a balancer or a probe may ask for.
const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The words of a text that are made of such characters.
fn words(text: &str, is_part: impl Fn(char) -> bool) -> impl Iterator<Item = &str> {
    text.split(move |c| !is_part(c)).filter(|word| !word.is_empty())
}

/// The number behind a word.
fn number_after(text: &str, word: &str) -> u64 {
    let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("no {word}"));
    words(rest, |c| c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number behind {word}"))
}

#[test]
fn variables_are_those_of_settings() {
    let known: Vec<String> = SETTINGS.iter().map(super::Setting::variable).chain(OTHERS.map(str::to_owned)).collect();
    for (file, text) in FILES {
        for word in words(text, |c| c.is_ascii_uppercase() || c == '_').filter(|word| word.starts_with("POSTHASTE_")) {
            assert!(known.iter().any(|name| name == word), "{file} names {word}");
        }
    }
}

#[test]
fn settings_in_the_page_exist() {
    let (_, page) = FILES[FILES.len() - 1];
    let sections: Vec<&str> = SETTINGS.iter().filter_map(|setting| setting.key.split_once('.')).map(|(section, _)| section).collect();
    for quoted in page.split('`').skip(1).step_by(2).filter(|quoted| !quoted.contains("posthaste.")) {
        if quoted.split_once('.').is_some_and(|(section, _)| sections.contains(&section)) {
            assert!(SETTINGS.iter().any(|setting| setting.key == quoted), "docs/scaling.md names {quoted}");
        }
    }
}

#[test]
fn commands_in_the_page_exist() {
    let (_, page) = FILES[FILES.len() - 1];
    let cli = Cli::command();
    let calls = page.lines().filter_map(|line| line.trim_start_matches('`').strip_prefix("posthaste "));
    let mut seen = 0;
    for call in calls {
        let mut said = words(call, |c| c.is_ascii_lowercase() || c == '-');
        let command = said.next().and_then(|name| cli.find_subcommand(name)).unwrap_or_else(|| panic!("docs/scaling.md: posthaste {call}"));
        for flag in said.filter_map(|word| word.strip_prefix("--")) {
            assert!(command.get_arguments().any(|argument| argument.get_long() == Some(flag)), "docs/scaling.md: --{flag}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "the page shows how to start nodes");
}

#[test]
fn probes_ask_for_what_is_served() {
    for (file, text) in FILES {
        let asked = text.lines().flat_map(|line| ["path: ", "GET ", "{ path "].map(|before| line.split_once(before)));
        for (_, rest) in asked.flatten().filter(|(_, rest)| rest.starts_with('/') && !rest.starts_with("/posthaste/")) {
            let path = words(rest, |c| c == '/' || c.is_ascii_lowercase()).next().unwrap_or_default();
            assert!(PATHS.contains(&path), "{file} asks for {path}");
        }
    }
}

#[test]
fn nobody_is_killed_before_the_shutdown_is_over() {
    let needed = Config::default().limits.shutdown.0 + Duration::from_secs(10);
    let pause = number_after(PODS, "command: [sleep, ");
    let given = [
        number_after(UNIT, "\nTimeoutStopSec="),
        number_after(COMPOSE, "\n  stop_grace_period: "),
        number_after(PODS, "\n      terminationGracePeriodSeconds: ") - pause,
    ];
    assert!(given.iter().all(|seconds| Duration::from_secs(*seconds) >= needed), "{given:?} are not all {needed:?}");
}

#[test]
fn the_environment_is_made_once_for_its_owner_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = dir.path().join("make-env");
    std::fs::write(&script, MAKE_ENV).expect("written");
    let run = || Command::new("sh").arg(&script).output().expect("it runs").status.success();
    assert!(run(), "it makes a file");
    let file = dir.path().join(".env");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned();
    assert!(MasterKeys::parse(&value("POSTHASTE_DATABASE_MASTER_KEY")).is_ok());
    assert!(["POSTHASTE_KEY", "POSTGRES_PASSWORD"].iter().all(|name| value(name).len() == 48), "{text}");
    assert_eq!(std::fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert!(!run(), "it replaces a file");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), text);
}
