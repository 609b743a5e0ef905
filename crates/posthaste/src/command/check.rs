//! `posthaste check`: the effective configuration, and where each value came from.

use std::path::PathBuf;

use serde_json::json;

use super::{environment, say_json};
use crate::config::load::{Layers, Loaded};
use crate::config::{SETTINGS, example};
use crate::failure::Failure;
use crate::term::{Style, paint, say};

/// Shows the configuration that `serve` would use, and where each value came from.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Configuration file; POSTHASTE_CONFIG otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print every setting with its default, as a file to start from.
    #[arg(long, conflicts_with = "config")]
    example: bool,
}

impl Check {
    /// Runs it.
    pub fn run(self, json: bool) -> Result<(), Failure> {
        if self.example {
            say(example().trim_end());
            return Ok(());
        }
        let loaded = Layers::gather(self.config.as_deref(), environment(), Vec::new())?.load()?;
        if json {
            as_json(&loaded)
        } else {
            for_people(&loaded)
        }
        Ok(())
    }
}

fn as_json(loaded: &Loaded) {
    let settings = SETTINGS.iter().map(|setting| {
        let shown = setting.show_masked(&loaded.config);
        // Every value shows itself as TOML; strings, integers and lists of strings are JSON as well.
        let value = serde_json::from_str::<serde_json::Value>(&shown).unwrap_or(serde_json::Value::String(shown));
        (setting.key.to_owned(), json!({"value": value, "from": loaded.origins[setting.key].to_string()}))
    });
    let settings: serde_json::Map<_, _> = settings.collect();
    say_json(&json!({"ok": true, "settings": settings, "warnings": loaded.warnings}));
}

fn for_people(loaded: &Loaded) {
    let shown: Vec<String> = SETTINGS.iter().map(|s| s.show_masked(&loaded.config)).collect();
    let width = shown.iter().map(|value| value.chars().count()).filter(|w| *w <= 40).max().unwrap_or(0);
    let mut section = "";
    for (setting, value) in SETTINGS.iter().zip(&shown) {
        let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if of != section {
            say(format!("\n{}", paint(Style::Bold, format!("[{of}]"))));
            section = of;
        }
        let origin = paint(Style::Dim, format!("# {}", loaded.origins[setting.key]));
        say(format!("{name:18} = {value:width$}  {origin}"));
    }
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    say("\nThe configuration is valid.");
}
