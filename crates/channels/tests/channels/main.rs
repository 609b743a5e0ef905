//! The channels against real receivers on loopback and, where time matters, against receivers in memory under paused time.

mod discord;
mod email;
mod guard;
mod limits;
mod mail;
mod memory;
mod oauth2;
mod pool;
mod receiver;
mod slack;
mod sms_centre;
mod sms_gateway;
mod sms_simulator;
mod sms_smpp;
mod smtp_server;
mod tls;
mod webhook;

use std::time::Duration;

use posthaste_channels::address::AddressGuard;
use posthaste_channels::{ChannelOptions, Channels, Content, Dispatch, Outcome, Report, SendError};
use posthaste_domain::template::Rendered;
use serde_json::Value;

/// Long enough never to matter where a test is about something else.
const AMPLE: Duration = Duration::from_secs(20);

fn loopback_guard() -> AddressGuard {
    AddressGuard::new(["127.0.0.0/8", "::1/128"].map(|net| net.parse().expect("network")).to_vec())
}

/// The standard channels, allowed to reach loopback.
fn loopback_channels() -> Channels {
    Channels::standard(&ChannelOptions { guard: loopback_guard(), ..Default::default() }).expect("options")
}

fn message(text: &str) -> Content {
    Content::Message(Rendered { title: "A title".to_owned(), text: text.to_owned(), html: None })
}

/// One try with all the time in the world.
async fn try_once(channels: &Channels, channel: &str, settings: &Value, content: Content) -> Report {
    try_within(channels, channel, settings, content, AMPLE, AMPLE).await
}

async fn try_within(
    channels: &Channels,
    channel: &str,
    settings: &Value,
    content: Content,
    connect_timeout: Duration,
    timeout: Duration,
) -> Report {
    let channel = channels.get(channel).expect("a standard channel");
    let dispatch = Dispatch { delivery_id: "dlv_test", settings, settings_key: (1, 1), content, connect_timeout, timeout };
    channel.send(dispatch).await
}

fn failure(report: &Report) -> &SendError {
    match &report.outcome {
        Outcome::Failed(error) => error,
        other => panic!("expected a failure, got {other:?} with status {:?}", report.status),
    }
}

#[test]
fn the_standard_channels_are_five() {
    let names: Vec<_> = loopback_channels().names().collect();
    assert_eq!(names, ["discord", "email", "slack", "sms", "webhook"]);
    let options = ChannelOptions { user_agent: Some("a\nb".to_owned()), ..Default::default() };
    let error = Channels::standard(&options).err().expect("must be refused");
    assert_eq!(error.field, "user_agent");
}
