//! Which targets have an owner, told by a catalog that no server uses: for moving what is pending to where the owners look for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use posthaste_channels::Channels;
use posthaste_domain::people::Session;
use posthaste_domain::people::audit::Entry;
use posthaste_store::{AuditFilter, AuditRecord, Catalog, CatalogError, Change, Record, StoreError};

use crate::catalogue::Catalogue;
use crate::error::EngineError;
use crate::format::Formats;
use crate::routing::Routing;
use crate::settings::CarrierSettings;

/// Numbers of the targets that one node alone sends to, where several share a database: those with an order, and those with so few places that
/// they cannot be divided. The rest of what is given has to be as the nodes have it, since formats and carriers have policies of their own.
///
/// # Errors
/// [`EngineError::Document`] when a document cannot be read.
pub fn owned_targets(
    records: Vec<Record>,
    channels: Channels,
    formats: Formats,
    carriers: CarrierSettings,
) -> Result<BTreeSet<i64>, EngineError> {
    let catalogue = Catalogue::of(Arc::new(Still), records, None)?;
    let routing = Routing::new(channels, formats, carriers, true);
    let mut owned = BTreeSet::new();
    for workspace in catalogue.workspaces() {
        let routes = routing.of(&catalogue, workspace);
        owned.extend(routes.targets.values().filter(|target| target.lane.has_owner()).map(|target| target.number));
    }
    Ok(owned)
}

/// Stands behind a catalogue that is only looked at: it has nothing, and takes nothing.
struct Still;

#[async_trait]
impl Catalog for Still {
    async fn load(&self) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    async fn write(&self, _: Vec<Change>, _: Vec<Entry>) -> Result<Vec<Record>, CatalogError> {
        Err(StoreError::Closed.into())
    }

    async fn audit(&self, _: i64, _: AuditFilter, _: Option<i64>, _: usize) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn drop_audit(&self, _: i64) -> Result<usize, StoreError> {
        Err(StoreError::Closed)
    }

    async fn sessions(&self) -> Result<Vec<Session>, StoreError> {
        Ok(Vec::new())
    }

    async fn put_session(&self, _: Session) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }

    async fn end_sessions(&self, _: Vec<String>, _: Vec<Entry>) -> Result<(), StoreError> {
        Err(StoreError::Closed)
    }
}
