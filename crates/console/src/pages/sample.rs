//! What is tried on what: a recent event, or a document that somebody pasted.

use maud::{Markup, html};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::inbox::Event;
use crate::api::{Api, Failure, Page as List, Problem, segment};
use crate::form::Draft;
use crate::query::link;
use crate::ui::{Choice, Field};

/// Events that are offered.
const OFFERED: usize = 20;
/// Events that are looked at for them.
const LOOKED_AT: &str = "60";
/// Beginning of the types of events that tell about deliveries: nobody sends them.
const OWN: &str = "posthaste.";

/// A document to try something on.
pub(super) struct Sample {
    /// Type of the event, if it is one and has one.
    pub type_name: Option<String>,
    /// When it was received, if it is an event.
    pub received_at: Option<String>,
    /// The document.
    pub data: Box<RawValue>,
}

/// The newest events, of one type or of all but the server's own.
pub(super) async fn recent(api: &Api, type_name: Option<&str>) -> Result<Vec<Event>, Failure> {
    let path = link("/events", [("limit", LOOKED_AT)].into_iter().chain(type_name.map(|name| ("type", name))));
    let mut events = api.get::<List<Event>>(&path).await?.items;
    events.retain(|event| type_name.is_some() || !event.type_name.as_deref().is_some_and(|name| name.starts_with(OWN)));
    events.truncate(OFFERED);
    Ok(events)
}

/// Text as JSON, to be put into a larger document; what is wrong with it is said at its field.
pub(super) fn read<T: DeserializeOwned>(field: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let line = u32::try_from(error.line()).ok();
        let column = u32::try_from(error.column()).ok();
        // The place is told with the problem.
        let text = error.to_string();
        let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
        let problem =
            Problem { status: 422, detail: format!("This is not JSON: {reason}"), field: Some(field.to_owned()), ..Problem::default() };
        Failure::Refused(Box::new(Problem { line, column, ..problem }))
    })
}

/// The fields that choose a sample: `sample` (the id of an event) and `data` (JSON text, if no event is chosen).
pub(super) fn fields(draft: &Draft, events: &[Event]) -> Markup {
    let label = |event: &Event| {
        format!("{} – {}", event.type_name.as_deref().unwrap_or("no type"), event.received_at.replace('T', " ").replace(".000Z", "Z"))
    };
    let labels: Vec<String> = events.iter().map(label).collect();
    let events = events.iter().zip(&labels).map(|(event, label)| Choice::new(&event.id, label));
    let choices: Vec<Choice<'_>> = std::iter::once(Choice::new("", "The document below")).chain(events).collect();
    html! {
        (Field::select(draft, "sample", "Sample", &choices).hint("A recent event from the inbox, or a document of your own.").shows("sample"))
        div data-when-sample="" { (Field::code(draft, "data", "Document (JSON)", 6)) }
    }
}

/// The sample that the two fields chose; `None` if they chose none.
pub(super) async fn chosen(api: &Api, id: &str, text: &str) -> Result<Option<Sample>, Failure> {
    if !id.is_empty() {
        let event: Event = api.get(&format!("/events/{}", segment(id))).await?;
        return Ok(Some(Sample { type_name: event.type_name, received_at: Some(event.received_at), data: event.data }));
    }
    match text.trim() {
        "" => Ok(None),
        text => Ok(Some(Sample { type_name: None, received_at: None, data: read("data", text)? })),
    }
}
