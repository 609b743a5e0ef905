//! Creating webhooks.

use serde_json::{Map, Value, json};

use crate::receiver::{Receiver, reply};
use crate::rig::{BASE, Rig, is_uuid, webhook, with};

// MOMENTUM-1, MOMENTUM-2, MOMENTUM-3, MOMENTUM-4, MOMENTUM-6, MOMENTUM-7, MOMENTUM-8, MOMENTUM-9
#[tokio::test]
async fn a_webhook_is_created_after_one_test() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let answer = rig.post(with(webhook(&receiver, &["bounce"]), "auth_token", json!("5ebe2294"))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let results = answer.results();
    let id = results["id"].as_str().unwrap();
    assert!(is_uuid(id), "{id}");
    let href = format!("http://momentum.example:8080/api/v1/webhooks/{id}");
    assert_eq!(results["links"], json!([{ "href": href, "rel": "urn.msys.webhooks.webhook", "method": ["GET", "PUT"] }]));
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/hook"));
    assert_eq!(&seen[0].body[..], br#"[{"msys":{}}]"#);
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    assert_eq!(seen[0].header("x-messagesystems-webhook-token"), Some("5ebe2294"));
    assert!(is_uuid(seen[0].batch_id()));
}

// MOMENTUM-5, MOMENTUM-22
#[tokio::test]
async fn a_trailing_slash_and_unknown_parameters_mean_nothing() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let answer = rig.call("POST", "/?nothing=1", Some(webhook(&receiver, &["bounce"]))).await;
    let id = answer.results()["id"].as_str().unwrap().to_owned();
    assert_eq!(rig.get("/?nothing=1&x").await.as_array().unwrap().len(), 1);
    assert_eq!(rig.get(&format!("/{id}/?colour=red")).await["id"], id);
}

// MOMENTUM-4
#[tokio::test]
async fn links_follow_the_scheme_of_a_trusted_proxy_alone() {
    let settings =
        posthaste_dialects::momentum::MomentumSettings { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Default::default() };
    let (rig, receiver) = (Rig::with(settings).await, Receiver::start().await);
    for (from, expected) in [("10.1.1.1:80", "https://hooks.example/api"), ("203.0.113.9:80", "http://hooks.example/api")] {
        let headers = [
            ("authorization", rig.token.as_str()),
            ("content-type", "application/json; charset=utf-8"),
            ("host", "hooks.example"),
            ("x-forwarded-proto", "https, http"),
        ];
        let answer = rig.send(from, "POST", BASE, &headers, webhook(&receiver, &["open"]).to_string()).await;
        let href = answer.results()["links"][0]["href"].clone();
        assert!(href.as_str().unwrap().starts_with(expected), "{href}");
    }
}

// MOMENTUM-10, MOMENTUM-11, MOMENTUM-14, MOMENTUM-15
#[tokio::test]
async fn a_target_has_to_answer_exactly_200() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    for status in [500, 201, 204, 301, 404, 410] {
        receiver.answer(move |_| (status, vec![("x-why", "because".into())], if status == 204 { "" } else { "no" }.into()));
        let error = rig.post(webhook(&receiver, &["bounce"])).await.error(400);
        assert_eq!((&error["code"], &error["message"]), (&json!(400), &json!("POST to webhook target URL failed")));
        assert_eq!((&error["response"]["status"], &error["response"]["headers"]["x-why"]), (&json!(status), &json!("because")));
        assert_eq!(error["response"]["body"], if status == 204 { "" } else { "no" });
    }
    assert_eq!(rig.get("").await, json!([]));
    assert_eq!(receiver.seen().len(), 6, "redirects are not followed");
}

// MOMENTUM-12
#[tokio::test]
async fn a_refused_connection_is_told() {
    let rig = Rig::start().await;
    let error = rig.post(json!({ "name": "n", "target": "http://127.0.0.1:9/", "events": ["bounce"] })).await.error(400);
    assert_eq!(error["message"], "POST to webhook target URL failed");
    assert!(error.get("response").is_none() && error["description"].is_string(), "{error}");
    assert_eq!(rig.get("").await, json!([]));
}

// MOMENTUM-13: the six seconds are a setting; that they are the default is in the tests of the format.
#[tokio::test]
async fn a_silent_target_fails_the_test() {
    let rig = Rig::impatient().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/", listener.local_addr().unwrap());
    let error = rig.post(json!({ "name": "n", "target": target, "events": ["bounce"] })).await.error(400);
    assert!(error.get("response").is_none(), "{error}");
    assert!(error["description"].as_str().unwrap().contains("no answer"), "{error}");
    assert_eq!(rig.get("").await, json!([]));
}

// MOMENTUM-16, MOMENTUM-17, MOMENTUM-18, MOMENTUM-19, MOMENTUM-20, MOMENTUM-82, MOMENTUM-83
#[tokio::test]
async fn unusable_fields_are_refused_by_name_and_nothing_is_sent() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let good = webhook(&receiver, &["bounce"]);
    let without = |field: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        body
    };
    for field in ["name", "target", "events"] {
        let error = rig.post(without(field)).await.error(422);
        assert_eq!((&error["message"], &error["code"]), (&json!("required field is missing"), &json!("1400")));
        assert_eq!(error["description"], format!("field '{field}' is required"));
    }
    let six: Map<String, Value> = (0..6).map(|i| (format!("x-{i}"), json!("v"))).collect();
    let cases = [
        ("events", json!([])),
        ("events", json!(["bounce", "nothing"])),
        ("events", json!("bounce")),
        ("target", json!("ftp://a.example/")),
        ("target", json!("/hook")),
        ("target", json!("a.example/hook")),
        ("target", json!(7)),
        ("auth_token", json!("a\nb")),
        ("auth_token", json!("ü")),
        ("custom_headers", Value::Object(six)),
        ("custom_headers", json!({ "x-a": "v".repeat(2997) })),
        ("custom_headers", json!({ "x a": "v" })),
        ("custom_headers", json!({ "x-a": "a\r\nb: c" })),
        ("custom_headers", json!({ "host": "elsewhere" })),
        ("auth_type", json!("digest")),
        ("active", json!("yes")),
    ];
    for (field, value) in cases {
        let error = rig.post(with(good.clone(), field, value.clone())).await.error(422);
        assert_eq!((&error["message"], &error["code"]), (&json!("invalid data format/type"), &json!("1300")), "{field} {value}");
        let description = error["description"].as_str().unwrap();
        assert!(description.starts_with(&format!("field '{field}")), "{description}");
    }
    let basic = with(with(good.clone(), "auth_type", json!("basic")), "auth_credentials", json!({ "password": "p" }));
    assert_eq!(rig.post(basic).await.error(422)["description"], "field 'auth_credentials.username' is required");
    let colon = with(with(good.clone(), "auth_type", json!("basic")), "auth_credentials", json!({ "username": "a:b" }));
    assert_eq!(rig.post(colon).await.error(422)["code"], "1300");
    assert_eq!((receiver.seen().len(), rig.get("").await), (0, json!([])));
    let ample = with(good, "custom_headers", json!({ "x-a": "v".repeat(2996) }));
    assert_eq!(rig.post(ample).await.status, 200);
}

// MOMENTUM-21
#[tokio::test]
async fn unknown_fields_are_ignored() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    let body = with(with(webhook(&receiver, &["bounce"]), "colour", json!("red")), "id", json!("mine"));
    let id = rig.create(body).await;
    let shown = rig.get(&format!("/{id}")).await;
    assert!(is_uuid(&id) && shown.get("colour").is_none(), "{shown}");
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused() {
    let rig = Rig::start().await;
    let post = async |content_type: &str, body: &str| {
        let headers = [("authorization", rig.token.as_str()), ("content-type", content_type)];
        rig.send("203.0.113.9:1", "POST", BASE, &headers, body.to_owned()).await
    };
    for body in ["", "{", "[]", "7"] {
        let error = post("application/json", body).await.error(400);
        assert_eq!((&error["message"], &error["code"]), (&json!("invalid params"), &json!("1200")), "{body}");
    }
    assert_eq!(post("application/x-www-form-urlencoded", "name=a").await.error(415)["message"], "Unsupported Media Type");
    assert_eq!(post("application/json", &"x".repeat((1 << 20) + 1)).await.error(413)["code"], "1200");
}

// MOMENTUM-77, MOMENTUM-80
#[tokio::test]
async fn an_access_token_is_fetched_before_the_test() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    receiver.answer(|request| match request.path.as_str() {
        "/token" => (200, vec![], json!({ "access_token": "abc", "expires_in": 3600, "token_type": "bearer" }).to_string()),
        _ => reply(if request.header("authorization") == Some("Bearer abc") { 200 } else { 403 }),
    });
    let id = rig.create(oauth2(&receiver)).await;
    let seen = receiver.seen();
    let paths: Vec<&str> = seen.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/token", "/hook"]);
    assert_eq!(seen[0].header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(&seen[0].body[..], b"client_id=CLIENT123&client_secret=9sd%26&grant_type=client_credentials");
    let shown = rig.get(&format!("/{id}")).await;
    assert_eq!(shown["auth_type"], "oauth2");
    assert_eq!(shown["auth_credentials"], json!({ "access_token": "abc", "expires_in": 3600 }));
    assert_eq!(shown["auth_request_details"], oauth2(&receiver)["auth_request_details"]);
}

// MOMENTUM-78
#[tokio::test]
async fn a_failing_token_url_is_told() {
    let (rig, receiver) = (Rig::start().await, Receiver::start().await);
    receiver.answer(|_| (502, vec![("content-type", "text/html".into())], "<h1>no</h1>".into()));
    let error = rig.post(oauth2(&receiver)).await.error(400);
    assert_eq!((&error["code"], &error["message"]), (&json!(400), &json!("POST to webhook tokens URL failed")));
    let response = &error["response"];
    assert_eq!(
        (&response["status"], &response["headers"]["content-type"], &response["body"]),
        (&json!(502), &json!("text/html"), &json!("<h1>no</h1>"))
    );
    assert_eq!(receiver.seen().len(), 1, "the target is not tested without a token");
    receiver.answer(|_| (200, vec![], "{}".into()));
    assert_eq!(rig.post(oauth2(&receiver)).await.error(400)["message"], "POST to webhook tokens URL failed");
    for details in [json!({ "body": {} }), json!({ "url": receiver.url })] {
        assert_eq!(rig.post(with(oauth2(&receiver), "auth_request_details", details)).await.error(422)["code"], "1400");
    }
    assert_eq!(rig.get("").await, json!([]));
}

pub fn oauth2(receiver: &Receiver) -> Value {
    let body = json!({ "client_id": "CLIENT123", "client_secret": "9sd&", "grant_type": "client_credentials" });
    let details = json!({ "url": format!("{}/token", receiver.url), "body": body });
    with(with(webhook(receiver, &["bounce"]), "auth_type", json!("oauth2")), "auth_request_details", details)
}
