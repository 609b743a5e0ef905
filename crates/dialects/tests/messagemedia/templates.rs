//! What templates make of events: section 6, on the wire.

use serde_json::{Map, Value, json};

use crate::rig::{Receiver, Rig, opt_out, reply, report};

/// The documented template of delivery reports.
const DR: &str = r##"{  "delivery_report_id": "$drId",  "source_number": "$sourceAddress",  "date_received": "$receivedTimestamp",  "status": "$status",  "delay": "0",  "submitted_date": "$submittedTimestamp",  "message_id": "$messageId",  "original_text": "$esc.json($!mtContent)",  "vendor_account_id": {    "vendor_id": "$vendorId",    "account_id": "$accountId"  },  "error_code": "$statusCode",  "metadata": {    #foreach($key in $metadata.keySet())    "$key": "$esc.json($metadata.get($key))"#if( $velocityHasNext ),#end    #end  }}"##;
/// The documented template of replies.
const MO: &str = r##"{  "account_id": "$accountId",  "reply_id": "$replyId",  "destination_number": "$destinationAddress",  "source_number": "$sourceAddress",  "date_received": "$receivedTimestamp",  "message_id": "$messageId",  #if ($attachments)  "attachments": [   #foreach ($entry in $attachments)    {      "content_type": "$entry.contentType",      "content": "$entry.base64",      "original_name": "$entry.originalName"    }#if( $foreach.hasNext ),#end    #end  ],  #else  "content": "$esc.json($moContent)",  #end  "metadata": {    #foreach ($entry in $metadata.entrySet())    "$entry.key": "$entry.value"#if( $foreach.hasNext ),#end    #end  }}"##;

/// What a webhook with this template sends for an event, its body as it came.
async fn sent(template: &str, type_name: &str, payload: Value) -> String {
    sent_as("JSON", Some(template), type_name, payload).await.1
}

/// Content type and body.
async fn sent_as(encoding: &str, template: Option<&str>, type_name: &str, payload: Value) -> (String, String) {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let all = [
        "RECEIVED_SMS",
        "OPT_OUT_SMS",
        "RECEIVED_MMS",
        "ENROUTE_DR",
        "SUBMITTED_DR",
        "DELIVERED_DR",
        "EXPIRED_DR",
        "REJECTED_DR",
        "FAILED_DR",
    ];
    rig.hook(&receiver, &all, json!({ "template": template, "encoding": encoding })).await;
    rig.publish(type_name, payload).await;
    let received = receiver.first().await;
    rig.finish().await;
    (received.header("content-type").to_owned(), received.text().to_owned())
}

/// A template that names variables, one a line, and the values that it is to give.
async fn check_variables(type_name: &str, payload: Value, expected: &[(&str, &str)]) {
    let template: String = expected.iter().map(|(name, _)| format!("{name}\u{1}")).collect();
    let text = sent(&template, type_name, payload).await;
    let values: Vec<&str> = text.split_terminator('\u{1}').collect();
    for ((name, expected), value) in expected.iter().zip(&values) {
        assert_eq!(value, expected, "{name} of {type_name}");
    }
    assert_eq!(values.len(), expected.len());
}

// MESSAGEMEDIA-68, MESSAGEMEDIA-69, MESSAGEMEDIA-73, MESSAGEMEDIA-74, MESSAGEMEDIA-75, MESSAGEMEDIA-76
#[tokio::test]
async fn variables_of_a_delivery_report() {
    let expected = [
        ("$format", "SMS"),
        ("$type", "SMS"),
        ("$mtId", "877c19ef-fa2e-4cec-827a-e1df9b5509f7"),
        ("$messageId", "877c19ef-fa2e-4cec-827a-e1df9b5509f7"),
        ("$vendorId", "MessageMedia"),
        ("$submittedTimestamp", "2016-12-07T08:43:00.850Z"),
        ("$receivedTimestamp", "2016-12-07T08:44:00.850Z"),
        ("$status", "delivered"),
        ("$statusCode", "220"),
        ("$metadata.get('key')", "name"),
        ("$metadata.key", "name"),
        ("$metadata.keySet()", "[key, second]"),
        ("$sourceAddress", "+61491570156"),
        ("$mtContent", "Hi Derp"),
        ("$messageContent", "Hi Derp"),
        ("$retryCount", "0"),
        // What does not apply is undefined.
        ("$destinationAddress", "$destinationAddress"),
        ("$moId", "$moId"),
        ("$moContent", "$moContent"),
        ("$notificationId", "$notificationId"),
        ("$billingUnits", "$billingUnits"),
        ("$attachments", "$attachments"),
        ("$!replyId", ""),
        // MESSAGEMEDIA-79, MESSAGEMEDIA-80, MESSAGEMEDIA-81
        ("$undef", "$undef"),
        ("$!undef", ""),
        ("${mtId}x", "877c19ef-fa2e-4cec-827a-e1df9b5509f7x"),
        (r"\$mtId", "$mtId"),
        // MESSAGEMEDIA-84
        ("#if($statusCode == \"220\")yes#else no#end", "yes"),
        ("#if($status == \"failed\")yes#{else}no#end", "no"),
    ];
    check_variables("message.delivered", report(), &expected).await;
}

// MESSAGEMEDIA-70
#[tokio::test]
async fn report_ids_are_uuids() {
    let text = sent("$drId $reportId $accountId", "message.delivered", report()).await;
    let ids: Vec<&str> = text.split(' ').collect();
    assert_eq!(ids[0], ids[1]);
    assert!(ids[0].len() == 36 && ids[0].split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{text}");
    assert!(ids[2].starts_with("wsp_"), "{text}");
    let mut given = report();
    given["report_id"] = json!("01e1fa0a-6e27-4945-9cdb-18644b4de043");
    assert_eq!(sent("$drId", "message.delivered", given).await, "01e1fa0a-6e27-4945-9cdb-18644b4de043");
}

// MESSAGEMEDIA-71, MESSAGEMEDIA-72, MESSAGEMEDIA-73
#[tokio::test]
async fn variables_of_a_reply() {
    let expected = [
        ("$type", "SMS"),
        ("$moId", "a175e797-2b54-468b-9850-41a3eab32f74"),
        ("$replyId", "a175e797-2b54-468b-9850-41a3eab32f74"),
        ("$mtId", "877c19ef-fa2e-4cec-827a-e1df9b5509f7"),
        ("$moContent", "Hello \"Derpina\"\\\nnext"),
        ("$replyContent", "Hello \"Derpina\"\\\nnext"),
        ("$mtContent", "Hi Derp"),
        ("$messageContent", "Hi Derp"),
        ("$sourceAddress", "+61491570156"),
        ("$destinationAddress", "+61491593156"),
        ("$receivedTimestamp", "2016-12-07T08:43:00.850Z"),
        ("$metadata.get('key')", "name"),
        ("$status", "$status"),
        ("$statusCode", "$statusCode"),
        ("$drId", "$drId"),
        ("$vendorId", "$vendorId"),
        ("$attachments", "$attachments"),
    ];
    check_variables("message.received", reply(), &expected).await;
    let mut mms = reply();
    mms["channel"] = json!("mms");
    check_variables("message.received", mms, &[("$format", "MMS"), ("$type", "MMS")]).await;
    let mut mail = report();
    mail["channel"] = json!("email");
    check_variables("message.delivered", mail, &[("$format", "EMAIL"), ("$status", "delivered"), ("$statusCode", "220")]).await;
}

// MESSAGEMEDIA-77, MESSAGEMEDIA-78
#[tokio::test]
async fn variables_of_an_opt_out() {
    let expected = [
        ("$replyId", "$replyId"),
        ("$moId", "$moId"),
        ("$moContent", "STOP"),
        ("$sourceAddress", "+61491570156"),
        ("$destinationAddress", "+61491593156"),
        ("$mtId", "m-1"),
        ("$mtContent", "$mtContent"),
        ("$submittedTimestamp", "$submittedTimestamp"),
        ("$metadata.size()", "0"),
    ];
    check_variables("message.unsubscribed", opt_out(), &expected).await;
    let id = sent("$notificationId", "message.unsubscribed", opt_out()).await;
    assert!(id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12]), "{id}");
}

// MESSAGEMEDIA-74: without a time of its own an event happened when it came in.
#[tokio::test]
async fn times_are_utc_with_milliseconds() {
    let payload = json!({ "channel": "sms", "message_id": "m", "recipient": "+1" });
    let text = sent("$submittedTimestamp $receivedTimestamp", "message.sent", payload).await;
    for time in text.split(' ') {
        assert!(time.starts_with("2026-11-21T12:") && time.len() == 24 && time.ends_with('Z'), "{text}");
    }
}

// MESSAGEMEDIA-75
#[tokio::test]
async fn status_and_code_fit_the_event() {
    for (type_name, reason, code, expected) in [
        ("message.accepted", None, None, "enroute 101"),
        ("message.deferred", None, Some(102), "enroute 102"),
        ("message.sent", None, None, "submitted 200"),
        ("message.delivered", None, Some(221), "delivered 221"),
        ("message.failed", Some("bounce"), None, "failed 400"),
        ("message.failed", Some("rejected"), None, "rejected 402"),
        ("message.failed", Some("expired"), None, "expired 320"),
        ("message.failed", Some("suppress-unsubscribe"), None, "rejected 302"),
        ("message.failed", None, Some(301), "rejected 301"),
    ] {
        let mut payload = report();
        payload["reason"] = json!(reason);
        payload["status_code"] = json!(code);
        assert_eq!(sent("$status $statusCode", type_name, payload).await, expected, "{type_name}");
    }
}

// MESSAGEMEDIA-82, MESSAGEMEDIA-83
#[tokio::test]
async fn reply_text_escaped_and_raw() {
    let text = sent(r#"{"escaped":"$esc.json($replyContent)"}|$replyContent"#, "message.received", reply()).await;
    let (escaped, raw) = text.split_once('|').unwrap();
    let original = reply()["text"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(escaped).unwrap(), json!({ "escaped": original }));
    assert_eq!(raw, original);
}

fn with_metadata(mut payload: Value, metadata: Value) -> Value {
    payload["metadata"] = metadata;
    payload
}

// MESSAGEMEDIA-86, MESSAGEMEDIA-88
#[tokio::test]
async fn the_documented_report_template() {
    for metadata in [json!({}), json!({ "key": "a\"b\\c" }), json!({ "one": "1", "two": "zwei\n" })] {
        let text = sent(DR, "message.delivered", with_metadata(report(), metadata.clone())).await;
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(body["metadata"], metadata);
        assert_eq!(
            [&body["status"], &body["error_code"], &body["original_text"], &body["source_number"], &body["submitted_date"]],
            [&json!("delivered"), &json!("220"), &json!("Hi Derp"), &json!("+61491570156"), &json!("2016-12-07T08:43:00.850Z")]
        );
        assert_eq!(body["vendor_account_id"]["vendor_id"], "MessageMedia");
    }
    // Without a text the quiet reference inside the tool leaves nothing.
    let mut textless = report();
    textless["text"] = Value::Null;
    let body: Value = serde_json::from_str(&sent(DR, "message.delivered", textless).await).unwrap();
    assert_eq!(body["original_text"], "");
}

// MESSAGEMEDIA-85, MESSAGEMEDIA-87
#[tokio::test]
async fn the_documented_reply_template() {
    let mut mms = with_metadata(reply(), json!({ "key": "name", "other": "x" }));
    mms["channel"] = json!("mms");
    let without: Value = serde_json::from_str(&sent(MO, "message.received", mms.clone()).await).unwrap();
    assert_eq!((&without["content"], without.get("attachments")), (&mms["text"], None));
    assert_eq!(without["metadata"], json!({ "key": "name", "other": "x" }));
    mms["attachments"] = json!([
        { "content_type": "image/png", "content": "aGk=", "filename": "file.png" },
        { "content_type": "image/gif", "content": "aG8=", "filename": "other.gif" },
    ]);
    let with: Value = serde_json::from_str(&sent(MO, "message.received", mms).await).unwrap();
    let expected = json!([
        { "content_type": "image/png", "content": "aGk=", "original_name": "file.png" },
        { "content_type": "image/gif", "content": "aG8=", "original_name": "other.gif" },
    ]);
    assert_eq!((&with["attachments"], with.get("content")), (&expected, None));
    assert_eq!(with["reply_id"], "a175e797-2b54-468b-9850-41a3eab32f74");
}

// MESSAGEMEDIA-64, MESSAGEMEDIA-65, MESSAGEMEDIA-66, MESSAGEMEDIA-67
#[tokio::test]
async fn encodings() {
    let json = r#"{"id":"$mtId","status":"$statusCode"}"#;
    let id = "877c19ef-fa2e-4cec-827a-e1df9b5509f7";
    for (encoding, template, content_type, body) in [
        ("JSON", json, "application/json", format!(r#"{{"id":"{id}","status":"220"}}"#)),
        ("XML", "<r><id>$mtId</id></r>", "application/xml", format!("<r><id>{id}</id></r>")),
        ("FORM_ENCODED", json, "application/x-www-form-urlencoded", format!("id={id}&status=220")),
        (
            "FORM_ENCODED",
            "id=$mtId&from=$esc.url($sourceAddress)",
            "application/x-www-form-urlencoded",
            format!("id={id}&from=%2B61491570156"),
        ),
        // Nobody looks whether it is what it says.
        ("JSON", "not JSON: $status", "application/json", "not JSON: delivered".to_owned()),
    ] {
        let sent = sent_as(encoding, Some(template), "message.delivered", report()).await;
        assert_eq!(sent, (content_type.to_owned(), body), "{encoding} {template}");
    }
}

fn members(body: &Value) -> Vec<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

// The documented default payloads of section 6.5.
#[tokio::test]
async fn without_a_template_the_default_payload_is_sent() {
    let body: Value = serde_json::from_str(&sent_as("JSON", None, "message.failed", report()).await.1).unwrap();
    let expected = [
        "delivery_report_id",
        "source_number",
        "date_received",
        "status",
        "delay",
        "submitted_date",
        "message_id",
        "original_text",
        "vendor_account_id",
        "error_code",
        "metadata",
    ];
    assert_eq!(members(&body), expected);
    assert_eq!((&body["delay"], &body["error_code"], &body["metadata"]["key"]), (&json!("0"), &json!("400"), &json!("name")));

    let body: Value = serde_json::from_str(&sent_as("JSON", None, "message.received", reply()).await.1).unwrap();
    let expected = ["account_id", "reply_id", "destination_number", "source_number", "date_received", "message_id", "content", "metadata"];
    assert_eq!(members(&body), expected);

    let body: Value = serde_json::from_str(&sent_as("JSON", None, "message.unsubscribed", opt_out()).await.1).unwrap();
    let expected =
        ["notification_id", "account_id", "destination_number", "source_number", "date_received", "message_id", "content", "metadata"];
    assert_eq!(members(&body), expected);
    assert_eq!((&body["source_number"], &body["metadata"]), (&json!("+61491570156"), &json!({})));

    let mut mms = reply();
    mms["channel"] = json!("mms");
    mms["attachments"] = json!([{ "content_type": "image/png", "content": "aGk=", "filename": "a.png" }]);
    let body: Value = serde_json::from_str(&sent_as("JSON", None, "message.received", mms).await.1).unwrap();
    assert_eq!(body["attachments"], json!([{ "content_type": "image/png", "content": "aGk=", "original_name": "a.png" }]));
    assert!(body.get("content").is_none());

    let (_, form) = sent_as("FORM_ENCODED", None, "message.failed", report()).await;
    let pairs: Map<String, Value> =
        form_urlencoded::parse(form.as_bytes()).map(|(name, value)| (name.into_owned(), Value::from(&*value))).collect();
    assert_eq!((&pairs["status"], &pairs["metadata"]), (&json!("failed"), &json!(r#"{"key":"name","second":"va\"l/1"}"#)));
    let (_, xml) = sent_as("XML", None, "message.failed", report()).await;
    assert!(xml.contains("<webhook><delivery_report_id>") && xml.contains("<key>name</key><second>va&quot;l/1</second>"), "{xml}");
}

// MESSAGEMEDIA-90, MESSAGEMEDIA-91
#[tokio::test]
async fn urls_hold_variables_and_get_holds_no_body() {
    let rig = Rig::start().await;
    let receiver = Receiver::start().await;
    let url = format!("{}/in?id=$mtId&reply=$moContent&to=${{destinationAddress}}&none=$undef", receiver.url);
    rig.hook(&receiver, &["RECEIVED_SMS"], json!({ "url": url, "method": "GET", "template": "{\"id\":\"$mtId\"}" })).await;
    rig.publish("message.received", reply()).await;
    let received = receiver.first().await;
    assert_eq!((received.method.as_str(), received.text(), received.header("content-type")), ("GET", "", ""));
    let query = "id=877c19ef-fa2e-4cec-827a-e1df9b5509f7&reply=Hello%20%22Derpina%22%5C%0Anext&to=%2B61491593156&none=$undef";
    assert_eq!(received.uri.query(), Some(query));
    // A reply of the greatest length, percent-encoded.
    let mut long = reply();
    long["text"] = json!("é".repeat(5000));
    rig.publish("message.received", long).await;
    assert!(receiver.take(2).await[1].uri.query().unwrap().len() > 30_000);
    rig.finish().await;
}
