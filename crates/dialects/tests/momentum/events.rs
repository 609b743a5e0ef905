//! Documentation and samples.

use serde_json::{Value, json};

use crate::rig::{Answer, BASE, Rig};

async fn anonymous(rig: &Rig, path: &str) -> Answer {
    rig.send("203.0.113.9:1", "GET", &format!("{BASE}{path}"), &[], "").await
}

fn types(samples: &Value) -> Vec<&str> {
    let of =
        |record: &'_ Value| -> String { record["msys"].as_object().unwrap().values().next().unwrap()["type"].as_str().unwrap().to_owned() };
    samples.as_array().unwrap().iter().map(|record| &*Box::leak(of(record).into_boxed_str())).collect()
}

// MOMENTUM-100, MOMENTUM-101, MOMENTUM-102
#[tokio::test]
async fn the_documentation_lists_every_event_and_field_for_everybody() {
    let rig = Rig::start().await;
    let answer = anonymous(&rig, "/events/documentation").await;
    let results = answer.results();
    assert_eq!(rig.get("/events/documentation/").await, results, "with a key as well");
    let wrong = rig.send("203.0.113.9:1", "GET", &format!("{BASE}/events/documentation"), &[("authorization", "nobody")], "").await;
    assert_eq!(wrong.status, 200);
    let mut keys: Vec<String> = Vec::new();
    for (class, about) in results.as_object().unwrap() {
        assert!(about["display_name"].is_string() && about["description"].is_string(), "{class}");
        for (key, event) in about["events"].as_object().unwrap() {
            keys.push(key.clone());
            assert!(event["display_name"].is_string() && event["description"].is_string(), "{key}");
            let fields = event["event"].as_object().unwrap();
            assert!(fields.values().all(|field| field["description"].is_string() && !field["sampleValue"].is_null()), "{key}");
            assert_eq!(fields["type"]["sampleValue"], json!(key));
        }
    }
    keys.sort();
    assert_eq!(
        keys.join(" "),
        "ad_adjust ad_status bounce click delay delivery generation_failure generation_rejection injection link_unsubscribe \
         list_unsubscribe open out_of_band policy_rejection sms_status spam_complaint"
    );
    assert!(results["message_event"]["events"]["bounce"]["event"]["campaign_id"]["sampleValue"].is_string());
    assert_eq!(results["track_event"]["events"]["open"]["display_name"], "Open");
}

// MOMENTUM-103, MOMENTUM-104, MOMENTUM-105, MOMENTUM-106
#[tokio::test]
async fn samples_come_for_everybody_in_the_order_asked_for() {
    let rig = Rig::start().await;
    let all = anonymous(&rig, "/events/samples").await.results();
    assert_eq!(types(&all).len(), 16);
    for query in ["bounce%2Cdelivery", "bounce,delivery", "%20bounce%20,%20delivery"] {
        let two = anonymous(&rig, &format!("/events/samples?events={query}")).await;
        assert!(two.text.starts_with(r#"{"results":[{"msys":{"message_event":{"type":"bounce","#), "{}", two.text);
        assert_eq!(types(&two.results()), ["bounce", "delivery"]);
    }
    assert_eq!(rig.get("/events/samples?events=open").await[0]["msys"]["track_event"]["type"], "open");
    for unknown in ["nothing", "bounce,nothing", "bounce,"] {
        let error = anonymous(&rig, &format!("/events/samples?events={unknown}")).await.error(400);
        assert_eq!((&error["message"], &error["code"]), (&json!("invalid params"), &json!("1200")), "{unknown}");
    }
}
