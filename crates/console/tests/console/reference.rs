//! The API reference and its form.

use serde_json::Value;

use crate::rig::Rig;

#[tokio::test]
async fn every_operation_has_a_page_and_can_be_found() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let list = browser.get("/console/reference").await.expect(200);
    list.has("createKey").has("Event types").is_inert();
    let document = rig.api("GET", "/openapi.json", Value::Null).await;
    let mut count = 0;
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("operations").values() {
            let id = operation["operationId"].as_str().expect("an id");
            list.has(&format!("/console/reference/{id}\""));
            browser.get(&format!("/console/reference/{id}")).await.expect(200).has("Try it out").has("curl ").is_inert();
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
    browser.get("/console/reference?search=RESEND").await.expect(200).has("resendDelivery").lacks("createKey").is_inert();
    browser.get("/console/reference?search=%22%3E%3Cscript%3E").await.expect(200).has("Nothing found").is_inert();
    browser.get("/console/reference/nothing").await.expect(404).is_inert();
}

#[tokio::test]
async fn operations_are_tried_out_as_the_person() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let body = "{\"type\": \"order.paid\", \"data\": {\"n\": \"</pre><script>alert(1)</script>\"}}";
    let page = browser.post("/console/reference/publishEvents", &[("body", body)]).await.expect(200);
    page.has("202").has("id=\"answer\"").has("evt_").is_inert();
    let id = rig.api("GET", "/events?type=order.paid", Value::Null).await["items"][0]["id"].as_str().expect("an event").to_owned();
    let page = browser.post("/console/reference/readEvent", &[("path.id", &id)]).await.expect(200);
    page.has("Answer").has("&lt;script&gt;alert(1)").has(&format!("/posthaste/v1/events/{id}")).is_inert();
    // What is refused is an answer too; what cannot be sent is said at its field.
    browser.post("/console/reference/readEvent", &[("path.id", "../keys")]).await.expect(200).has("404").is_inert();
    browser.post("/console/reference/readEvent", &[("path.id", "")]).await.expect(422).has("cannot be empty").is_inert();
    let bin = rig.api("POST", "/bins", serde_json::json!({})).await["id"].as_str().expect("a bin").to_owned();
    browser.post("/console/reference/deleteBin", &[("path.id", &bin)]).await.expect(422).has("Tick the box").is_inert();
    rig.api("GET", &format!("/bins/{bin}"), Value::Null).await;
    browser.post("/console/reference/deleteBin", &[("path.id", &bin), ("really", "true")]).await.expect(200).has("204").is_inert();
    assert_eq!(rig.api("GET", "/bins", Value::Null).await["items"], serde_json::json!([]));
    // A member may try what its role may do.
    let mut member = rig.member().await;
    member.post("/console/reference/listKeys", &[]).await.expect(200).has("403").has("scope_missing").is_inert();
}
