//! `posthaste backup`: copies a data directory while its server runs.

use std::path::PathBuf;

use posthaste_store::StoreError;
use posthaste_store::sqlite::{BackupProgress, backup};
use serde_json::json;

use super::{environment, say_json};
use crate::config::load::Layers;
use crate::config::value::Raw;
use crate::failure::{Failure, chain};
use crate::term::{Style, paint, progress, say};

/// Copies the data directory into a new one, also while a server runs on it.
///
/// The copy holds the key of the secrets: keep it as safe as the original. To restore, start a server on the copy.
#[derive(Debug, clap::Args)]
pub struct Backup {
    /// Where to: a directory that does not exist yet, or an empty one.
    destination: PathBuf,
    /// Data directory to copy [default: ./posthaste-data].
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Configuration file that names the data directory; POSTHASTE_CONFIG otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Backup {
    /// Runs it.
    pub fn run(self, json: bool) -> Result<(), Failure> {
        let flags = self.data.map(|data| ("data", Raw::Text(data), "--data")).into_iter().collect();
        let data = Layers::gather(self.config.as_deref(), environment(), flags)?.load()?.config.data;
        let bar = progress("backup", 0);
        let (mut files, mut bytes, mut current) = (0u64, 0u64, String::new());
        let told = |step: BackupProgress| {
            if step.file != current {
                files += 1;
                current.clone_from(&step.file);
                bar.set_message(step.file);
            }
            bar.set_length(step.total);
            bar.set_position(step.copied);
            if step.copied == step.total {
                bytes += step.total;
            }
        };
        let outcome = backup(&data, &self.destination, told);
        bar.finish_and_clear();
        outcome.map_err(|error| {
            let reason = match &error {
                StoreError::Engine(source) => chain(&**source),
                other => chain(other),
            };
            Failure::refused(format!("no backup was made: {reason}"))
        })?;
        let destination = self.destination.display().to_string();
        if json {
            say_json(&json!({"backup": destination, "files": files, "bytes": bytes}));
        } else {
            say(format!("{} {} files, {:.1} MiB, in {destination}", paint(Style::Good, "copied"), files, bytes as f64 / 1_048_576.0));
        }
        Ok(())
    }
}
