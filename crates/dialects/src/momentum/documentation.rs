//! The documentation of events and their samples: what the vendor's forms and clients take their lists from.

use serde_json::{Map, Value, json};

use super::answer::Refusal;
use super::events::{CLASSES, EVENTS, EventKey, canonical};
use super::fields::{self, FIELDS, Field, Kind};

/// `results` of the documentation: class, event key, field.
pub fn documentation() -> Value {
    let class = |class: &super::events::Class| {
        let events = EVENTS.iter().filter(|event| event.class == class.name);
        let events: Map<String, Value> = events.map(|event| (event.key.to_owned(), described(event))).collect();
        let about = json!({ "display_name": class.display_name, "description": class.description, "events": events });
        (class.name.to_owned(), about)
    };
    CLASSES.iter().map(class).collect::<Map<_, _>>().into()
}

fn described(event: &EventKey) -> Value {
    let field = |name: &str| {
        let about = json!({ "description": field(name).description, "sampleValue": sample_value(event, field(name)) });
        (name.to_owned(), about)
    };
    let fields: Map<String, Value> = event.field_names().map(field).collect();
    json!({ "display_name": event.display_name, "description": event.description, "event": fields })
}

fn field(name: &str) -> &'static Field {
    &FIELDS[fields::index(name).expect("every field of an event is in the table: a test says so")]
}

fn sample_value(event: &EventKey, field: &Field) -> Value {
    match field.kind {
        Kind::Text | Kind::Lower if field.name == "type" => event.key.into(),
        Kind::Text | Kind::Lower => field.sample.into(),
        Kind::Integer | Kind::Object | Kind::Array => serde_json::from_str(field.sample).expect("a test reads every sample"),
    }
}

/// A record with an example of every field.
pub fn sample(event: &EventKey) -> Value {
    let content: Map<String, Value> = event.field_names().map(|name| (name.to_owned(), sample_value(event, field(name)))).collect();
    json!({ "msys": { (event.class): content } })
}

/// `results` of the samples: of the events named, separated by commas, in their order; of all if there is no list.
pub fn samples(events: Option<&str>) -> Result<Value, Refusal> {
    let Some(list) = events.filter(|list| !list.trim().is_empty()) else {
        return Ok(EVENTS.iter().map(sample).collect());
    };
    let event = |key: &str| {
        let found = canonical(key.trim()).and_then(|key| EVENTS.iter().find(|event| event.key == key));
        found.map(sample).ok_or_else(|| Refusal::Parameter(format!("parameter 'events' names no known event: '{}'", key.trim())))
    };
    if list.split(',').count() > EVENTS.len() {
        return Err(Refusal::Parameter(format!("parameter 'events' names more than the {} events there are", EVENTS.len())));
    }
    list.split(',').map(event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // MOMENTUM-101, MOMENTUM-102
    #[test]
    fn every_key_and_field_is_documented() {
        let all = documentation();
        let mut keys = 0;
        for (class, about) in all.as_object().unwrap() {
            assert!(about["display_name"].is_string() && about["description"].is_string(), "{class}");
            for (key, event) in about["events"].as_object().unwrap() {
                keys += 1;
                assert!(event["display_name"].is_string() && event["description"].is_string(), "{key}");
                for (name, field) in event["event"].as_object().unwrap() {
                    assert!(field["description"].is_string() && !field["sampleValue"].is_null(), "{key}.{name}");
                }
            }
        }
        assert_eq!(keys, 16);
        assert_eq!(all["message_event"]["events"]["bounce"]["event"]["campaign_id"]["sampleValue"], "Spring Sale");
        assert_eq!(all["track_event"]["events"]["open"]["event"]["type"]["sampleValue"], "open");
    }

    #[test]
    fn samples_come_in_the_order_of_the_request() {
        let types = |list: Option<&str>| -> Vec<Value> {
            let records = samples(list).unwrap();
            records
                .as_array()
                .unwrap()
                .iter()
                .map(|record| record["msys"].as_object().unwrap().values().next().unwrap()["type"].clone())
                .collect()
        };
        assert_eq!(types(Some("delivery, bounce")), ["delivery", "bounce"]);
        assert_eq!(types(None).len(), 16);
        assert_eq!(types(Some("")).len(), 16);
        assert!(matches!(samples(Some("bounce,nothing")), Err(Refusal::Parameter(_))));
        assert!(matches!(samples(Some("bounce,")), Err(Refusal::Parameter(_))));
        assert!(matches!(samples(Some(&["bounce"; 17].join(","))), Err(Refusal::Parameter(_))), "anybody may ask: the answer is bounded");
    }
}
