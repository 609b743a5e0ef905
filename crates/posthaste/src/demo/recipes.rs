//! Copy-ready commands, one for each way in which a MsgGO client sends an event (MsgGO specification, section 9).

use serde::Serialize;
use serde_json::{Value, json};

/// A way to send an event.
#[derive(Debug, Serialize)]
pub struct Recipe {
    /// What it shows.
    pub name: &'static str,
    /// A shell command; for the browser, an address.
    pub command: String,
    /// The document that the inbox makes of it.
    pub document: Value,
}

/// A system alert of nested JSON over several lines, with a percent sign that must not be decoded.
const ALERT: &str = "{\n  \"event\": \"system_alert\",\n  \"details\": {\n    \"type\": \"disk_space\",\n    \"value\": \"95%\"\n  }\n}";

/// All ways, for a server and a key.
pub fn recipes(url: &str, key: &str) -> Vec<Recipe> {
    let mut all = curl(url, key);
    all.extend(programs(url, key));
    all
}

fn curl(url: &str, key: &str) -> Vec<Recipe> {
    let recipe = |name, command: String, document| Recipe { name, command, document };
    let contact = "event=contact-form&name=John%20Doe&email=john.doe@example.com";
    let contact_document = json!({"event": "contact-form", "name": "John Doe", "email": "john.doe@example.com"});
    let order = "event=new_order&product_id=XYZ123&quantity=2";
    vec![
        recipe(
            "GET, key in the path",
            format!("curl '{url}/inbox/{key}?event=deploy_done&status=success'"),
            json!({"event": "deploy_done", "status": "success"}),
        ),
        recipe(
            "GET, key in the query",
            format!("curl '{url}/inbox?msggo-key={key}&event=user_registered&email=test@example.com'"),
            json!({"event": "user_registered", "email": "test@example.com"}),
        ),
        recipe(
            "POST, key in the JSON body",
            format!("curl -X POST {url}/inbox -d '{{\"msggo-key\":\"{key}\",\"event\":\"payment_processed\",\"amount\":100}}'"),
            json!({"event": "payment_processed", "amount": 100}),
        ),
        recipe(
            "POST, key in the form",
            format!("curl -X POST {url}/inbox -d msggo-key={key} -d event=form_submission -d customer_id=123"),
            json!({"event": "form_submission", "customer_id": "123"}),
        ),
        recipe(
            "POST, key in a header",
            format!("curl -X POST {url}/inbox -H 'X-MsgGO-Key: {key}' -d '{{\"event\":\"backup_completed\",\"status\":\"success\"}}'"),
            json!({"event": "backup_completed", "status": "success"}),
        ),
        recipe("GET, a contact form", format!("curl '{url}/inbox?msggo-key={key}&{contact}'"), contact_document.clone()),
        recipe(
            "POST without a body, everything in the query",
            format!("curl -X POST '{url}/inbox?msggo-key={key}&{contact}'"),
            contact_document,
        ),
        recipe(
            "POST, a form with its content type",
            format!(
                "curl -X POST {url}/inbox -H 'X-MsgGO-Key: {key}' -H 'Content-Type: application/x-www-form-urlencoded' -d '{order}'"
            ),
            json!({"event": "new_order", "product_id": "XYZ123", "quantity": "2"}),
        ),
        recipe(
            "POST, nested JSON over several lines",
            format!("curl -X POST {url}/inbox -H 'X-MsgGO-Key: {key}' -d '{ALERT}'"),
            serde_json::from_str(ALERT).expect("the sample is valid JSON"),
        ),
        recipe(
            "POST, multipart",
            format!("curl {url}/inbox -F msggo-key={key} -F event=form_submission -F customer_id=123"),
            json!({"event": "form_submission", "customer_id": "123"}),
        ),
        recipe(
            "POST, JSON with its content type",
            format!("curl {url}/inbox -H 'X-MsgGO-Key: {key}' --json '{{\"event\":\"payment_processed\",\"amount\":100}}'"),
            json!({"event": "payment_processed", "amount": 100}),
        ),
        recipe(
            "GET, values encoded by curl",
            format!("curl -G {url}/inbox -d msggo-key={key} --data-urlencode 'event=your-event-name' --data-urlencode 'note=50% off & more'"),
            json!({"event": "your-event-name", "note": "50% off & more"}),
        ),
    ]
}

fn programs(url: &str, key: &str) -> Vec<Recipe> {
    let recipe = |name, command: String| Recipe { name, command, document: json!({"event": "your-event-name"}) };
    let get = format!("{url}/inbox?msggo-key={key}&event=your-event-name");
    let fields = format!("{{\"msggo-key\": \"{key}\", \"event\": \"your-event-name\"}}");
    let post = format!("fetch(\"{url}/inbox\", {{method: \"POST\", body: JSON.stringify({fields})}})");
    let array = format!("[\"msggo-key\" => \"{key}\", \"event\" => \"your-event-name\"]");
    let text = ".then(r => r.text()).then(console.log)";
    vec![
        recipe("Python, GET", format!("python3 -c 'import requests; print(requests.get(\"{url}/inbox\", params={fields}).text)'")),
        recipe("Python, POST", format!("python3 -c 'import requests; print(requests.post(\"{url}/inbox\", json={fields}).text)'")),
        recipe("JavaScript, GET", format!("node -e 'fetch(\"{get}\"){text}'")),
        recipe("JavaScript, POST", format!("node -e '{post}{text}'")),
        recipe("PHP, GET", format!("php -r 'echo file_get_contents(\"{get}\");'")),
        recipe(
            "PHP, POST with curl and an array",
            format!("php -r '$c = curl_init(\"{url}/inbox\"); curl_setopt($c, CURLOPT_POSTFIELDS, {array}); curl_exec($c);'"),
        ),
        recipe("A browser's address bar", get),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::samples::EVENT_TYPES;

    #[test]
    fn every_recipe_holds_the_address_and_the_key_and_sends_an_event_that_has_a_type() {
        let all = recipes("http://127.0.0.1:1", "phk_K");
        assert_eq!(all.len(), 19);
        for recipe in &all {
            assert!(recipe.command.contains("http://127.0.0.1:1/inbox") && recipe.command.contains("phk_K"), "{}", recipe.command);
            let event = recipe.document["event"].as_str().expect("every document names its event");
            assert!(EVENT_TYPES.contains(&event), "{event} has no event type in the demo");
        }
    }
}
