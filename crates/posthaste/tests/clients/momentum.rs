//! The official Node.js client of Momentum's webhooks API, unmodified.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::server::{KEY, Server};
use crate::tools::run;

// MOMENTUM-118, MOMENTUM-119, and the table of section 10.1: what the client sends.
#[tokio::test(flavor = "multi_thread")]
async fn the_node_client_makes_its_nine_calls() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    let variables = [("POSTHASTE_URL", server.url.as_str()), ("POSTHASTE_KEY", KEY), ("TARGET_URL", receiver.url.as_str())];
    let lines = run("momentum/sparkpost.mjs", &variables, "");
    let cases: HashMap<&str, &Value> = lines.iter().map(|line| (line["case"].as_str().unwrap(), line)).collect();
    let results = |case: &str| {
        assert!(cases[case].get("error").is_none(), "{}", cases[case]);
        &cases[case]["result"]["results"]
    };
    let id = results("create")["id"].as_str().unwrap();
    assert_eq!(results("create")["links"][0]["rel"], "urn.msys.webhooks.webhook");
    assert_eq!(results("list")[0]["name"], "Test");
    assert_eq!(results("list in a time zone")[0]["auth_token"], "5ebe2294");
    assert_eq!((&results("get")["id"], &results("get")["events"]), (&json!(id), &json!(["delivery", "bounce"])));
    assert_eq!(results("update")["links"][0]["rel"], "urn.msys.webhooks.validate");
    assert_eq!(
        (&results("validate")["msg"], &results("validate")["response"]["status"]),
        (&json!("Test POST to endpoint succeeded"), &json!(200))
    );
    assert_eq!(results("batch status"), &json!([]));
    assert!(results("documentation")["message_event"]["events"]["bounce"]["event"]["campaign_id"]["sampleValue"].is_string());
    assert_eq!(results("samples")[0]["msys"]["message_event"]["type"], "bounce");
    assert_eq!(cases["delete"]["result"], "");

    let webhook = json!({ "name": "Test", "target": receiver.url, "auth_token": "5ebe2294", "events": ["delivery", "bounce"] });
    for (case, line, body) in [
        ("create", "POST /api/v1/webhooks".to_owned(), webhook),
        ("list", "GET /api/v1/webhooks".to_owned(), Value::Null),
        ("list in a time zone", "GET /api/v1/webhooks?timezone=America%2FNew_York".to_owned(), Value::Null),
        ("get", format!("GET /api/v1/webhooks/{id}?timezone=America%2FNew_York"), Value::Null),
        ("update", format!("PUT /api/v1/webhooks/{id}"), json!({ "name": "Renamed" })),
        ("validate", format!("POST /api/v1/webhooks/{id}/validate"), json!({ "message": { "msys": {} } })),
        ("batch status", format!("GET /api/v1/webhooks/{id}/batch-status?limit=1000"), Value::Null),
        ("documentation", "GET /api/v1/webhooks/events/documentation".to_owned(), Value::Null),
        ("samples", "GET /api/v1/webhooks/events/samples?events=bounce%2Cdelivery".to_owned(), Value::Null),
        ("delete", format!("DELETE /api/v1/webhooks/{id}"), Value::Null),
    ] {
        let sent = &cases[case]["sent"];
        assert_eq!((sent["line"].as_str(), &sent["body"]), (Some(line.as_str()), &body), "{case}");
        assert_eq!((sent["authorization"].as_str(), sent["agent"].as_str()), (Some(KEY), Some("node-sparkpost/2.1.4")), "{case}");
        assert_eq!(sent["content_type"], "application/json", "{case}");
        let accept = if case == "delete" { Value::Null } else { json!("application/json") };
        assert_eq!(sent["accept"], accept, "{case}");
    }

    for (case, status, message, error) in [
        ("get what is gone", 404, "Not Found", json!({ "message": "resource not found", "code": "1600" })),
        (
            "create without a name",
            422,
            "Unprocessable Entity",
            json!({ "message": "required field is missing", "description": "field 'name' is required", "code": "1400" }),
        ),
        ("list with a wrong key", 401, "Unauthorized", json!({ "message": "Unauthorized." })),
        (
            "list in no time zone",
            400,
            "Bad Request",
            json!({ "message": "invalid params", "description": "parameter 'timezone' names no time zone: 'Nowhere'", "code": "1200" }),
        ),
    ] {
        let expected = json!({ "name": "SparkPostError", "message": message, "statusCode": status, "errors": [error] });
        assert_eq!(cases[case]["error"], expected, "{case}");
    }
    let refused = &cases["create without an answer"]["error"];
    assert_eq!((&refused["statusCode"], &refused["errors"][0]["code"]), (&json!(400), &json!(400)));
    assert_eq!(refused["errors"][0]["message"], "POST to webhook target URL failed");
    // The client itself refuses to ask.
    assert!(cases["validate without a message"]["sent"].is_null());
}
