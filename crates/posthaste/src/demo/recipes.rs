//! Copy-ready commands, one for each way in which MsgGO clients send events (MsgGO specification, section 9, T1 to T20).
//!
//! Each sends what that client sends, as far as the inbox looks at it: method, place of the key, content type, `Accept`, body.

use serde::Serialize;
use serde_json::{Value, json};

/// A way to send an event.
#[derive(Debug, Serialize)]
pub struct Recipe {
    /// Row of the specification's table.
    pub way: &'static str,
    /// What it shows.
    pub name: &'static str,
    /// A shell command.
    pub command: String,
    /// The document that the inbox makes of it.
    pub document: Value,
}

/// A system alert of nested JSON over several lines, with a percent sign that must not be decoded.
const ALERT: &str = "{\n  \"event\": \"system_alert\",\n  \"details\": {\n    \"type\": \"disk_space\",\n    \"value\": \"95%\"\n  }\n}";

/// All ways, for a server and a key.
pub fn recipes(url: &str, key: &str) -> Vec<Recipe> {
    let mut all = tools(url, key);
    all.extend(programs(url, key));
    all
}

/// T1 to T11: curl itself, forms and the address bar.
fn tools(url: &str, key: &str) -> Vec<Recipe> {
    let contact = format!("{url}/inbox?msggo-key={key}&event=contact-form&name=John%20Doe&email=john.doe@example.com");
    let contact_document = json!({"event": "contact-form", "name": "John Doe", "email": "john.doe@example.com"});
    let short = format!("{url}/inbox?msggo-key={key}&event=your-event-name");
    let short_document = json!({"event": "your-event-name"});
    let form = "-H 'Content-Type: application/x-www-form-urlencoded'";
    vec![
        Recipe {
            way: "T1",
            name: "GET, the key in the path",
            command: format!("curl '{url}/inbox/{key}?event=deploy_done&status=success'"),
            document: json!({"event": "deploy_done", "status": "success"}),
        },
        Recipe {
            way: "T2",
            name: "GET, the key in the query",
            command: format!("curl '{url}/inbox?msggo-key={key}&event=user_registered&email=test@example.com'"),
            document: json!({"event": "user_registered", "email": "test@example.com"}),
        },
        Recipe {
            way: "T3",
            name: "POST, JSON with the key in it",
            command: format!("curl -X POST {url}/inbox -d '{{\"msggo-key\":\"{key}\",\"event\":\"payment_processed\",\"amount\":100}}'"),
            document: json!({"event": "payment_processed", "amount": 100}),
        },
        Recipe {
            way: "T4",
            name: "POST, a form with the key in it",
            command: format!("curl -X POST {url}/inbox -d msggo-key={key} -d event=form_submission -d customer_id=123"),
            document: json!({"event": "form_submission", "customer_id": "123"}),
        },
        Recipe {
            way: "T5",
            name: "POST, JSON, the key in a header",
            command: format!(
                "curl -X POST {url}/inbox -H 'X-MsgGO-Key: {key}' -d '{{\"event\":\"backup_completed\",\"status\":\"success\"}}'"
            ),
            document: json!({"event": "backup_completed", "status": "success"}),
        },
        Recipe { way: "T6", name: "GET, a contact form", command: format!("curl '{contact}'"), document: contact_document.clone() },
        Recipe { way: "T7", name: "POST without a body", command: format!("curl -X POST '{contact}'"), document: contact_document },
        Recipe {
            way: "T8",
            name: "POST, a form with its content type",
            command: format!("curl -X POST {url}/inbox -H 'X-MsgGO-Key: {key}' {form} -d 'event=new_order&product_id=XYZ123&quantity=2'"),
            document: json!({"event": "new_order", "product_id": "XYZ123", "quantity": "2"}),
        },
        Recipe {
            way: "T9",
            name: "POST, nested JSON over several lines",
            command: format!("curl -X POST {url}/inbox -H 'X-MsgGO-Key: {key}' -d '{ALERT}'"),
            document: serde_json::from_str(ALERT).expect("the sample is valid JSON"),
        },
        Recipe {
            way: "T10",
            name: "a browser's address bar: open the address, a blank page answers",
            command: format!("curl -i -H 'Accept: text/html' '{short}'"),
            document: short_document.clone(),
        },
        Recipe { way: "T11", name: "the short samples, GET", command: format!("curl '{short}'"), document: short_document.clone() },
        Recipe {
            way: "T11",
            name: "the short samples, POST",
            command: format!("curl -X POST {url}/inbox -d '{{\"msggo-key\":\"{key}\",\"event\":\"your-event-name\"}}'"),
            document: short_document,
        },
    ]
}

/// T12 to T20: what programs send.
fn programs(url: &str, key: &str) -> Vec<Recipe> {
    let short = format!("{url}/inbox?msggo-key={key}&event=your-event-name");
    let short_document = json!({"event": "your-event-name"});
    let json_type = "-H 'Content-Type: application/json'";
    vec![
        Recipe { way: "T12", name: "as Python's requests.get", command: format!("curl '{short}'"), document: short_document.clone() },
        Recipe {
            way: "T13",
            name: "as Python's requests.post with json=",
            command: format!("curl {url}/inbox {json_type} -d '{{\"msggo-key\": \"{key}\", \"event\": \"your-event-name\"}}'"),
            document: short_document.clone(),
        },
        Recipe {
            way: "T14",
            name: "as PHP's file_get_contents: neither User-Agent nor Accept",
            command: format!("curl -H 'User-Agent:' -H 'Accept:' -H 'Connection: close' '{short}'"),
            document: short_document.clone(),
        },
        Recipe {
            way: "T15",
            name: "as PHP's curl with an array: multipart",
            command: format!("curl {url}/inbox -F msggo-key={key} -F event=your-event-name"),
            document: short_document.clone(),
        },
        Recipe { way: "T16", name: "as JavaScript's fetch", command: format!("curl '{short}'"), document: short_document.clone() },
        Recipe {
            way: "T17",
            name: "as JavaScript's fetch with a text body",
            command: format!(
                "curl {url}/inbox -H 'Content-Type: text/plain;charset=UTF-8' -d '{{\"msggo-key\":\"{key}\",\"event\":\"your-event-name\"}}'"
            ),
            document: short_document.clone(),
        },
        Recipe {
            way: "T18",
            name: "as axios behind Express, the key first",
            command: format!(
                "curl {url}/inbox {json_type} -H 'Accept: application/json, text/plain, */*' \
                 -d '{{\"msggo-key\":\"{key}\",\"event_name\":\"user-action\",\"action\":\"click\"}}'"
            ),
            document: json!({"event_name": "user-action", "action": "click"}),
        },
        Recipe {
            way: "T19",
            name: "as requests behind Flask, the key last",
            command: format!("curl {url}/inbox {json_type} -d '{{\"event\": \"your-event-name\", \"msggo-key\": \"{key}\"}}'"),
            document: short_document,
        },
        Recipe {
            way: "T20",
            name: "as the PHP SDK",
            command: format!(
                "curl {url}/inbox {json_type} -H 'Accept: application/json' -H 'X-MsgGO-Key: {key}' \
                 -d '{{\"event\":\"my-event\",\"username\":\"john_doe\"}}'"
            ),
            document: json!({"event": "my-event", "username": "john_doe"}),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::samples::EVENT_TYPES;

    #[test]
    fn every_way_of_the_specification_has_a_command_with_address_and_key_and_an_event_type() {
        let all = recipes("http://127.0.0.1:1", "phk_K");
        for row in 1..=20 {
            assert!(all.iter().any(|recipe| recipe.way == format!("T{row}")), "T{row} is missing");
        }
        for recipe in &all {
            assert!(recipe.command.contains("http://127.0.0.1:1/inbox") && recipe.command.contains("phk_K"), "{}", recipe.command);
            let event = recipe.document["event"].as_str().or(recipe.document["event_name"].as_str());
            assert!(EVENT_TYPES.contains(&event.expect("every document names its event")), "{event:?} has no event type in the demo");
        }
    }
}
