//! Memory, file handles and disk of the server as time goes by.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use super::Soaking;
use crate::BenchError;
use crate::usage::disk_bytes;

/// Between two lines of a long soak; a short one has ten lines.
const EVERY: Duration = Duration::from_secs(30);
/// Growth over what is judged, in parts of the mean, that counts as flat.
const FLAT: f64 = 0.10;

/// What was seen.
pub struct Samples {
    time: Duration,
    began: Instant,
    all: Vec<Sample>,
}

struct Sample {
    at_s: f64,
    memory_mib: f64,
    handles: f64,
    disk_mib: f64,
}

impl Samples {
    /// For a soak of this length.
    pub fn new(time: Duration) -> Self {
        Self { time, began: Instant::now(), all: Vec::new() }
    }

    /// Takes and prints samples until the soak is over.
    pub async fn run(&mut self, soaking: &Soaking<'_>) -> Result<(), BenchError> {
        self.began = Instant::now();
        while soaking.rest(EVERY.min(self.time / 10)).await {
            let mut server = soaking.server.lock().await;
            if server.has_ended() {
                return Err(BenchError::Start { log: "; it ended by itself during the soak".to_owned() });
            }
            let handles = fs::read_dir(format!("/proc/{}/fd", server.pid())).map_or(0, Iterator::count);
            let sample = Sample {
                at_s: self.began.elapsed().as_secs_f64(),
                memory_mib: server.usage()?.resident_kib as f64 / 1024.0,
                handles: handles as f64,
                disk_mib: disk_bytes(server.data())? as f64 / f64::from(1 << 20),
            };
            drop(server);
            let ledger = &soaking.ledger;
            eprintln!(
                "{:>5.0} s  accepted {:>9}  delivered {:>9}  owed {:>7}  again {:>6}  memory {:>6.1} MiB  handles {:>4}  disk {:>7.1} MiB",
                sample.at_s,
                ledger.accepted(),
                ledger.delivered(),
                ledger.outstanding(),
                ledger.duplicates(),
                sample.memory_mib,
                sample.handles,
                sample.disk_mib
            );
            self.all.push(sample);
        }
        Ok(())
    }

    /// Of the last third: resident memory.
    pub fn memory(&self) -> Vec<(f64, f64)> {
        self.last_third(|sample| sample.memory_mib)
    }

    /// Of the last third: open file handles.
    pub fn handles(&self) -> Vec<(f64, f64)> {
        self.last_third(|sample| sample.handles)
    }

    /// Of the last third: bytes of the data directory.
    pub fn disk(&self) -> Vec<(f64, f64)> {
        self.last_third(|sample| sample.disk_mib)
    }

    /// Kills end after half of the time. The new process then needs some minutes until it has as many segments, and caches of them, as retention
    /// leaves it: that is no growth yet.
    fn last_third(&self, read: fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        let from = self.time.as_secs_f64() / 3.0 * 2.0;
        self.all.iter().filter(|sample| sample.at_s >= from).map(|sample| (sample.at_s, read(sample))).collect()
    }
}

/// Whether values stay as they are, by the straight line that fits them best.
pub fn verdict(values: &[(f64, f64)], at_least: usize) -> String {
    if values.len() < at_least {
        return "too short to judge".to_owned();
    }
    let mean = values.iter().map(|(_, value)| value).sum::<f64>() / values.len() as f64;
    let grown = slope(values) * (values[values.len() - 1].0 - values[0].0);
    let percent = grown / mean.max(f64::MIN_POSITIVE) * 100.0;
    let word = if grown.abs() <= mean * FLAT {
        "flat"
    } else if grown > 0.0 {
        "GROWS"
    } else {
        "shrinks"
    };
    format!("{word} ({percent:+.1} %)")
}

/// Growth per unit of time, by least squares.
fn slope(values: &[(f64, f64)]) -> f64 {
    let count = values.len() as f64;
    let mean_x = values.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = values.iter().map(|(_, y)| y).sum::<f64>() / count;
    let (over, under) =
        values.iter().fold((0.0, 0.0), |(over, under), (x, y)| (over + (x - mean_x) * (y - mean_y), under + (x - mean_x) * (x - mean_x)));
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_noise() {
        let noisy: Vec<(f64, f64)> = (0..20).map(|n| (f64::from(n), 100.0 + f64::from(n * 7 % 5))).collect();
        let growing: Vec<(f64, f64)> = (0..20).map(|n| (f64::from(n), 100.0 + 2.0 * f64::from(n))).collect();
        assert!((slope(&growing) - 2.0).abs() < 1e-9);
        assert!(verdict(&noisy, 10).starts_with("flat"), "{}", verdict(&noisy, 10));
        assert!(verdict(&growing, 10).starts_with("GROWS (+31"), "{}", verdict(&growing, 10));
        assert_eq!(verdict(&growing[..5], 10), "too short to judge");
    }
}
