//! The requests of clients that are no longer published, as they were seen on the wire (section 9.2 and others of section 9).

use serde_json::{Value, json};

use crate::rig::{Rig, WEBHOOKS};

const CREATE: &str = r#"{"url":"http://webhook.com","method":"POST","encoding":"JSON","events":["RECEIVED_SMS"],"template":"{\"id\":\"$mtId\",\"status\":\"$statusCode\"}"}"#;

// MESSAGEMEDIA-118: createWebhook, retrieveWebhook(0, 0), retrieveWebhook(), updateWebhook, deleteWebhook.
#[tokio::test]
async fn the_node_webhooks_sdk() {
    let rig = Rig::start().await;
    let key = rig.key.basic();
    let (accept, json_type) = (("accept", "application/json"), ("content-type", "application/json; charset=utf-8"));
    let create_agent = ("user-agent", "messagesmedia-webhooks-sdk-1.0.0");
    let agent = ("user-agent", "messagesmedia-webhooks");
    let authorization = ("authorization", key.as_str());

    let headers = [authorization, create_agent, accept, json_type];
    let (status, _, created) = rig.send("POST", WEBHOOKS, &headers, CREATE.as_bytes()).await;
    assert_eq!(status, 201);
    let created: Value = serde_json::from_str(&created).unwrap();
    let id = created["id"].as_str().unwrap().to_owned();
    let list = json!({ "page": 0, "pageSize": 100, "pageData": [created] });
    for target in ["/v1/webhooks/messages/?page=0&pageSize=0", "/v1/webhooks/messages/?"] {
        let (status, _, body) = rig.send("GET", target, &[authorization, agent, accept], b"").await;
        assert_eq!((status.as_u16(), serde_json::from_str::<Value>(&body).unwrap()), (200, list.clone()), "{target}");
    }
    let update =
        br#"{"url":"https://myurl.com","method":"POST","encoding":"FORM_ENCODED","events":["ENROUTE_DR"],"template":"{\"id\":\"$mtId\"}"}"#;
    let headers = [authorization, agent, accept, json_type];
    let (status, _, body) = rig.send("PATCH", &format!("{WEBHOOKS}/{id}"), &headers, update).await;
    let mut expected = created;
    expected.as_object_mut().unwrap().extend(serde_json::from_slice::<Value>(update).unwrap().as_object().unwrap().clone());
    assert_eq!((status.as_u16(), serde_json::from_str::<Value>(&body).unwrap()), (200, expected));
    let (status, _, body) = rig.send("DELETE", &format!("{WEBHOOKS}/{id}"), &[authorization, agent, ("content-length", "0")], b"").await;
    assert_eq!((status.as_u16(), body.as_str()), (204, ""));
    // What it tells apart when something is wrong: a status and a JSON body.
    for (method, target, body, wanted) in [
        ("POST", WEBHOOKS.to_owned(), CREATE, 201),
        ("POST", WEBHOOKS.to_owned(), CREATE, 409),
        ("POST", WEBHOOKS.to_owned(), "{}", 400),
        ("PATCH", format!("{WEBHOOKS}/{id}"), "{}", 404),
        ("DELETE", format!("{WEBHOOKS}/{id}"), "", 404),
        ("GET", format!("{WEBHOOKS}/?page=%270%27&pageSize=%270%27"), "", 400),
    ] {
        let (status, _, answer) = rig.send(method, &target, &headers, body.as_bytes()).await;
        assert_eq!(status, wanted, "{method} {target}: {answer}");
        assert!(serde_json::from_str::<Value>(&answer).unwrap().is_object());
    }
}

// MESSAGEMEDIA-119, the wire of it: a model sends every field, `null` where nothing is set.
#[tokio::test]
async fn a_model_with_nulls_changes_one_field() {
    let rig = Rig::start().await;
    let mut webhook = rig.create(serde_json::from_str(CREATE).unwrap()).await;
    let target = format!("{WEBHOOKS}/{}", webhook["id"].as_str().unwrap());
    let update = json!({ "encoding": null, "events": null, "method": null, "template": "<id>$mtId</id>", "url": null });
    webhook["template"] = json!("<id>$mtId</id>");
    assert_eq!(rig.call("PATCH", &target, update).await, (200, webhook));
}

// A workflow automation: makes a webhook, looks whether it is still there, deletes it, takes 404 for gone.
#[tokio::test]
async fn a_workflow_automation() {
    let rig = Rig::start().await;
    let template = r##"{"id":"$!moId","text":"$esc.json($replyContent)","meta":{#foreach($key in $metadata.keySet())"$key":"$esc.json($metadata.get($key))"#if( $velocityHasNext ),#end#end}}"##;
    let body = json!({
        "url": "https://flow.example/webhook/1", "method": "POST", "encoding": "JSON", "headers": { "Source": "n8n" },
        "events": ["RECEIVED_SMS", "RECEIVED_MMS"], "template": template
    });
    let id = rig.create(body).await["id"].as_str().unwrap().to_owned();
    let target = format!("{WEBHOOKS}/{id}");
    assert_eq!(rig.call("GET", &target, Value::Null).await.0, 200);
    assert_eq!(rig.call("DELETE", &target, Value::Null).await.0, 204);
    assert_eq!(rig.call("GET", &target, Value::Null).await.0, 404);
    // A demo lists ten and deletes each.
    for n in 0..3 {
        rig.create(
            json!({ "url": format!("http://{n}.example/?r=$moContent"), "method": "GET", "encoding": "JSON", "events": ["RECEIVED_SMS"] }),
        )
        .await;
    }
    let page = rig.call("GET", &format!("{WEBHOOKS}?page=0&pageSize=10"), Value::Null).await.1;
    for webhook in page["pageData"].as_array().unwrap() {
        assert_eq!(rig.call("DELETE", &format!("{WEBHOOKS}/{}", webhook["id"].as_str().unwrap()), Value::Null).await.0, 204);
    }
    assert_eq!(rig.call("GET", WEBHOOKS, Value::Null).await.1["pageData"], json!([]));
}
