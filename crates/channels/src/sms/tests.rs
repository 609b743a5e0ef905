use posthaste_domain::template::Rendered;
use serde_json::json;

use super::*;

fn channel(carrier: Value, from: Option<&str>) -> Result<Made, SettingsError> {
    let defaults = SmsDefaults { carrier, from: from.map(str::to_owned), ..SmsDefaults::default() };
    let inbox = crate::carrier::NewsPort::default().inbox();
    SmsChannel::make(&defaults, &Outlet::new(AddressGuard::default()), Arc::default(), inbox)
}

#[test]
fn settings_are_a_number_and_perhaps_a_sender() {
    let channel = channel(json!("simulator"), None).expect("the default").channel;
    assert!(channel.check(&json!({"to": "+15551230001", "from": "Shop"})).is_ok());
    assert!(channel.check(&json!({"to": "+15551230001", "from": null})).is_ok());
    let reason = |settings: Value| channel.check(&settings).expect_err("must be refused").to_string();
    assert_eq!(reason(json!({})), "settings.to: is required");
    assert_eq!(reason(json!({"to": "5551230001"})), "settings.to: must be a number in E.164, such as +15551230001");
    assert!(reason(json!({"to": "+15551230001", "from": "much too long a name"})).starts_with("settings.from: must be a number"));
    assert_eq!(reason(json!({"to": "+15551230001", "form": "x"})), "settings.form: unknown field; did you mean `from`?");
    assert!(channel.takes(ContentKind::Message) && channel.takes(ContentKind::Sms) && !channel.takes(ContentKind::Wire));
}

#[test]
fn carriers_are_words_urls_or_tables() {
    assert!(channel(json!("smpp://u:p@centre.example"), Some("12345")).is_ok());
    let refused = |carrier: Value| channel(carrier, None).err().expect("must be refused").to_string();
    assert!(
        refused(json!("twilio")).starts_with("sms.carrier: is not a valid URL")
            || refused(json!("twilio")).starts_with("sms.carrier: must be")
    );
    assert!(refused(json!(1)).starts_with("sms.carrier: must be"));
    assert!(refused(json!({"method": "POST"})).starts_with("sms.carrier.url: is required"));
    assert!(channel(json!("simulator"), Some("not a sender at all")).err().is_some_and(|error| error.field == "sms.from"));
}

#[tokio::test]
async fn messages_for_nobody_are_refused_before_the_carrier() {
    let made = channel(json!("simulator"), None).expect("the default");
    let try_one = async |content: Content| {
        let settings = json!({"to": "+15551230001"});
        let time = Duration::from_secs(1);
        let dispatch =
            Dispatch { delivery_id: "dlv_1", settings: &settings, settings_key: (0, 0), content, connect_timeout: time, timeout: time };
        match made.channel.send(dispatch).await.outcome {
            Outcome::Failed(error) => error.code,
            _ => "taken",
        }
    };
    let sms = |from: &str, to: &str| {
        Content::Sms(Box::new(Sms { message_id: "m".into(), from: from.into(), to: to.into(), text: "x".into(), test: false }))
    };
    assert_eq!(try_one(sms("", "+15551230001")).await, "taken");
    assert_eq!(try_one(sms("", "5551230001")).await, "sms_rejected");
    assert_eq!(try_one(sms("no sender at all", "+15551230001")).await, "sms_rejected");
    assert_eq!(try_one(Content::Message(Rendered { title: "t".into(), text: "x".into(), html: None })).await, "taken");
    let wire = Content::Wire { url: None, body: Bytes::new(), headers: Vec::new(), query: None };
    assert_eq!(try_one(wire).await, "content_unsupported");
}
