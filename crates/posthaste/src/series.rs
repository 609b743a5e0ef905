//! Keeps the counts over time in a file of the data directory: `series.json`, written every minute and at the end, renamed into place.
//!
//! They are for charts: a file that is missing or cannot be read costs the charts their past, and nothing else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use posthaste_engine::Engine;

const FILE: &str = "series.json";
const EVERY: Duration = Duration::from_secs(60);

/// Takes up what the last run kept.
pub fn restore(engine: &Engine, data: &Path) {
    match std::fs::read_to_string(data.join(FILE)) {
        Ok(text) => {
            if let Err(error) = engine.restore_series(&text) {
                tracing::warn!(%error, file = FILE, "the counts of the charts cannot be read, and begin anew");
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, file = FILE, "the counts of the charts cannot be read, and begin anew"),
    }
}

/// Writes them once.
pub fn save(engine: &Engine, data: &Path) {
    let (file, part) = (data.join(FILE), data.join("series.json.new"));
    if let Err(error) = std::fs::write(&part, engine.series_text()).and_then(|()| std::fs::rename(&part, &file)) {
        tracing::warn!(%error, file = FILE, "the counts of the charts were not kept");
    }
}

/// Writes them every minute, until the engine stops.
pub async fn keep(engine: Engine, data: PathBuf) {
    let mut stop = std::pin::pin!(engine.tasks().cancelled());
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = &mut stop => return,
        }
        let (engine, data) = (engine.clone(), data.clone());
        let saved = tokio::task::spawn_blocking(move || save(&engine, &data)).await;
        if saved.is_err() {
            tracing::warn!(file = FILE, "the counts of the charts were not kept");
        }
    }
}
