//! Retention: whole segments go, and those that stay are compressed.
//!
//! Retention has to work on a full disk, because it is what makes room there. So it decides from what is in memory, and nothing that it would
//! like to write stops it.

use std::sync::Arc;

use super::compress::{Job, Replacement};
use super::segments::{SUPERSEDED, Segment};
use super::writer::Writer;
use crate::{RetentionRule, Retired};

impl Writer {
    /// See `Journal::retire`.
    pub(super) fn retire(&mut self, rule: RetentionRule, now_ms: i64) -> Retired {
        let current = self.segments.current();
        let (events, first_ms, bytes) = current.with(|state| (state.last_sequence > 0, state.first_ms, state.bytes));
        if events && (bytes >= self.limits.segment_bytes || now_ms - first_ms > self.limits.segment_age_ms) {
            self.roll();
        } else if events && now_ms - first_ms > self.limits.segment_age_ms / 4 * 3 {
            self.make_room_after(&current);
        }
        let all = self.segments.all();
        let mut total: u64 = all.iter().map(|segment| segment.with(|state| state.bytes)).sum();
        let mut retired = Retired::default();
        let mut dropped = Vec::new();
        for segment in &all[..all.len() - 1] {
            let (last_ms, bytes) = segment.with(|state| (state.last_ms, state.bytes));
            if total <= rule.max_bytes && now_ms - last_ms <= rule.max_age_ms {
                break;
            }
            if segment.has_pending() || self.holds_members_of_pending(segment) {
                retired.kept_for_pending += 1;
                continue;
            }
            dropped.push(segment.clone());
            total -= bytes;
            retired.buckets += 1;
            retired.bytes += bytes;
        }
        drop(all);
        self.drop_segments(dropped);
        self.empty_logs();
        self.compress(now_ms);
        retired
    }

    /// Asks for the logs of sealed segments to be emptied, as far as the thread takes them.
    fn empty_logs(&self) {
        let current = self.segments.current().id;
        let sealed = self.segments.matching(|segment| segment.id != current && segment.plain_bytes.is_none());
        // The rest at the next call.
        let _ = sealed.iter().all(|segment| self.checkpointer.ask_to_empty(segment));
    }

    /// Asks for the compression of what is cold.
    fn compress(&self, now_ms: i64) {
        let (Some(compressor), Some(after_ms)) = (&self.compressor, self.limits.compress_after_ms) else { return };
        let current = self.segments.current().id;
        let is_cold = |segment: &Segment| {
            let is_old = segment.with(|state| state.last_sequence > 0 && now_ms - state.last_ms >= after_ms);
            segment.id != current && is_old && segment.plain_bytes.is_none() && !segment.has_pending() && !segment.resists()
        };
        let jobs: Vec<Job> = self.segments.matching(is_cold).iter().map(Job::new).collect();
        if !jobs.is_empty() {
            compressor.ask(jobs);
        }
    }

    /// Puts its compressed file in the place of a segment. Answers `false`, and leaves all as it is, when that has changed or is gone.
    pub(super) fn replace(&mut self, by: &Replacement) -> bool {
        let old = &by.segment;
        if old.is_doomed() || old.has_pending() || old.writes() != by.writes {
            return false;
        }
        // This commit decides, see `compress`.
        if !self.note(old, "INSERT OR REPLACE INTO meta(name, value) VALUES (?1, 1)", &[&SUPERSEDED]) {
            return false;
        }
        self.open.remove(&old.id);
        old.doom();
        self.segments.replace(Arc::new(old.compressed(by.bytes)));
        self.pool.prune();
        true
    }

    /// Drops segments. The newest one no longer names them before their files go, so that a crash in between is no loss. On a full disk
    /// it cannot be written to; then space comes first, and it is told after that.
    fn drop_segments(&mut self, dropped: Vec<Arc<Segment>>) {
        self.unnamed.extend(dropped.iter().map(|segment| segment.name_as_older()));
        self.forget_unnamed();
        for segment in dropped {
            segment.doom();
            self.segments.drop_segment(segment.id);
            self.open.remove(&segment.id);
        }
        self.pool.prune();
        self.forget_unnamed();
    }

    /// Has the newest segment no longer name what was dropped. What fails is tried again at the next call.
    pub(super) fn forget_unnamed(&mut self) {
        let current = self.segments.current();
        while let Some(name) = self.unnamed.pop() {
            if !self.note(&current, "DELETE FROM meta WHERE name = ?1", &[&name]) {
                self.unnamed.push(name);
                return;
            }
        }
    }

    /// Whether a pending batch of an older segment has members here. Looks at files only if it must: this has to work on a full disk,
    /// where a file that is not open cannot be opened.
    fn holds_members_of_pending(&mut self, segment: &Arc<Segment>) -> bool {
        let joined = segment.with(|state| state.joined.clone());
        joined.into_iter().any(|batch| {
            let Some(home) = self.segments.of(batch.sequence()).filter(|home| home.has_pending()) else { return false };
            let pending = self.open(&home).and_then(|open| {
                let sql = "SELECT EXISTS(SELECT 1 FROM delivery WHERE key = ?1 AND state < 4)";
                open.conn.query_row(sql, [batch.0], |row| row.get(0)).map_err(home.failed())
            });
            // What cannot be known is kept.
            pending.unwrap_or(true)
        })
    }
}
