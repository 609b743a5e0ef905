//! The contract suite against Postgres.

use std::path::Path;

use posthaste_store::contract::Store;
use posthaste_store::postgres::PostgresOptions;

use super::server::{Server, options};

async fn open(dir: &Path) -> Store {
    open_with(dir, options()).await
}

/// One whose lists come in the smallest pieces.
async fn open_tired(dir: &Path) -> Store {
    open_with(dir, PostgresOptions { piece_effort: 1, ..options() }).await
}

async fn open_with(dir: &Path, options: PostgresOptions) -> Store {
    let store = Server::shared().open(dir, options).await;
    Store { catalog: store.clone(), journal: store.clone(), history: store.clone(), bins: store.clone(), suppressions: store }
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                posthaste_store::contract::$name(&open).await;
            }
        )*
    };
}

contract!(
    appends_are_atomic,
    one_bad_append_fails_alone,
    payloads_come_back_exactly,
    settled_is_settled,
    pages_are_bounded,
    due_is_ordered,
    batches_are_found,
    members_come_in_pages,
    idempotency_keys_last_a_day,
    reopening_queues_again,
    survives_a_restart,
    history_belongs_to_its_workspace,
    lists_match_a_model,
    last_attempts_are_found,
    retention_drops_whole_buckets,
    catalog_is_versioned,
    writes_are_atomic,
    audit_entries_belong_to_their_change,
    audit_is_filtered_and_ends,
    sessions_are_kept,
    events_are_found_by_their_subject,
    outgoing_messages_are_listed_only_by_type,
    bins_keep_the_newest,
    suppressions_are_kept,
    closed_is_closed,
);

#[tokio::test]
async fn lists_in_small_pieces_match_a_model() {
    posthaste_store::contract::lists_match_a_model(&open_tired).await;
}
