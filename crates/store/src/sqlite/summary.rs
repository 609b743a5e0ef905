//! What a segment has marks for, in memory: a list passes over a segment without opening its file when there is nothing for it.

use std::collections::{HashMap, HashSet};

use posthaste_domain::delivery::DeliveryState;
use rusqlite::Connection;

use super::marks::Name;
use super::sql_count;
use crate::{DeliveryFilter, EventFilter};

/// Types, and names, that are remembered of one segment; one with more is opened for every list.
const TYPES: usize = 256;
const NAMES: usize = 1024;

/// The types and names of one segment; `None` when there are too many.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    types: Option<HashMap<Box<str>, i64>>,
    names: Option<HashSet<Name>>,
}

impl Default for Summary {
    fn default() -> Self {
        Self { types: Some(HashMap::new()), names: Some(HashSet::new()) }
    }
}

impl Summary {
    /// Reads them, as many as are remembered.
    pub(super) fn read(conn: &Connection) -> rusqlite::Result<Self> {
        let mut summary = Self::default();
        let mut select = conn.prepare("SELECT name, id FROM type LIMIT ?1")?;
        let mut rows = select.query([sql_count(TYPES + 1)])?;
        while let Some(row) = rows.next()? {
            summary.add_type(row.get_ref(0)?.as_str()?, row.get(1)?);
        }
        let mut select = conn.prepare("SELECT kind, a, b FROM name LIMIT ?1")?;
        let mut rows = select.query([sql_count(NAMES + 1)])?;
        while let Some(row) = rows.next()? {
            summary.add(Name { kind: row.get(0)?, a: row.get(1)?, b: row.get(2)? });
        }
        Ok(summary)
    }

    /// A type was added.
    pub(super) fn add_type(&mut self, name: &str, id: i64) {
        if let Some(types) = &mut self.types {
            types.insert(name.into(), id);
            if types.len() > TYPES {
                self.types = None;
            }
        }
    }

    /// A mark was added.
    pub(super) fn add(&mut self, name: Name) {
        if let Some(names) = &mut self.names {
            names.insert(name);
            if names.len() > NAMES {
                self.names = None;
            }
        }
    }

    fn has(&self, name: Name) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(&name))
    }

    /// Whether there may be events of a workspace and type.
    pub(super) fn has_type(&self, workspace: i64, type_name: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.get(type_name).is_some_and(|id| self.has(Name::of_type(workspace, Some(*id)))))
    }

    /// The number of a type, if it is remembered.
    pub(super) fn type_id(&self, type_name: &str) -> Option<i64> {
        self.types.as_ref()?.get(type_name).copied()
    }

    /// Whether there may be events for a list.
    pub(super) fn has_events(&self, workspace: i64, filter: &EventFilter) -> bool {
        let is_meant = |name: &String| self.has_type(workspace, name);
        let one = match &filter.type_name {
            Some(Some(name)) => is_meant(name),
            Some(None) => self.has(Name::of_type(workspace, None)),
            None => self.has(Name::of_events(workspace)),
        };
        one && filter.type_names.as_ref().is_none_or(|names| names.iter().any(is_meant))
    }

    /// Whether there may be deliveries in final states for a list.
    pub(super) fn has_ended(&self, workspace: i64, filter: &DeliveryFilter, states: &[DeliveryState]) -> bool {
        let is_of_type = filter.type_name.as_ref().is_none_or(|name| self.has_type(workspace, name));
        is_of_type
            && states.iter().any(|state| match &filter.targets {
                Some(targets) => targets.iter().any(|target| self.has(Name::of_target(*target, *state))),
                None => self.has(Name::of_outcome(workspace, *state)),
            })
    }
}
