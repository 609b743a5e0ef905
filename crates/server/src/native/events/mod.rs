//! Events: publish, list, watch, read.

mod publish;
mod read;
mod stream;

use http::StatusCode;
use posthaste_domain::resource::Scope;

use super::api::{Api, Op};
use super::view::{DeliveryView, EventView};
pub(crate) use publish::publish;
use publish::{Accepted, DocumentInput, EventInput};
pub(super) use publish::{REPLAYED, idempotency};
pub(super) use read::PATIENCE;
use read::{EVENTS, WATCH};
use stream::STREAM;

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("events", "What happened. Immutable.");
    api.add(
        Op::post("/events", "publishEvents", "Publish one event, or a list of up to 1,000")
            .about(
                "The answer comes after the events and their deliveries are flushed to disk. A list is stored whole or not at all. `data` is kept \
                 byte for byte.",
            )
            .scope(Scope::Publish)
            .header(
                "Idempotency-Key",
                "1 to 255 visible ASCII characters. The same key and body give the same answer again, marked with `Idempotent-Replayed: true`; \
                 another body is refused (422).",
            )
            .one_or_many_body::<EventInput>()
            .answer::<Accepted>(StatusCode::ACCEPTED, "Stored. A single event also has its `id`, `sequence` and `received_at` at the top."),
        publish::publish_route,
    );
    api.add(
        Op::post("/events/document", "publishDocument", "Publish one document whose type the rules find")
            .about("As the inbox does: the oldest event type whose rule the document contains. Without one it is kept as unmatched.")
            .scope(Scope::Publish)
            .header("Idempotency-Key", "As for publishEvents.")
            .body::<DocumentInput>()
            .answer::<Accepted>(StatusCode::ACCEPTED, "Stored. Read the event to see which type it got."),
        publish::publish_document,
    );
    api.add(
        Op::get("/events", "listEvents", "List, or wait for new ones")
            .about(
                "With `wait` the order is ascending, the answer comes as soon as there is something after the cursor, and `next` is always given: \
                 send it to go on. `cursor=latest` begins after the newest event.",
            )
            .scope(Scope::Read)
            .query(&[&EVENTS, &WATCH])
            .page_of::<EventView>(),
        read::list,
    );
    api.add(
        Op::get("/events/stream", "streamEvents", "Watch as server-sent events")
            .about("Each message is one event as JSON; its id is a cursor, so a reconnecting client (Last-Event-ID) misses nothing.")
            .scope(Scope::Read)
            .query(&[&STREAM])
            .header("Last-Event-ID", "Where to go on.")
            .other(StatusCode::OK, "The stream.", "text/event-stream"),
        stream::stream,
    );
    api.add(
        Op::get("/events/{id}", "readEvent", "Read one, with its deliveries")
            .scope(Scope::Read)
            .answer::<EventView>(StatusCode::OK, "The event."),
        read::read,
    );
    api.add(
        Op::post("/events/{id}/resend", "resendEvent", "Send all its finished deliveries again")
            .scope(Scope::Manage)
            .page_of::<DeliveryView>(),
        read::resend,
    );
}
