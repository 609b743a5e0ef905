//! `posthaste tail`: shows events as they come.

use serde_json::value::RawValue;

use super::follow::Follower;
use crate::client::{Client, Remote};
use crate::failure::Failure;
use crate::signals::Stop;
use crate::sse::ShownEvent;
use crate::term::{Style, cut, harmless, paint, say};

/// Shows events as they come, until Ctrl-C.
///
/// With --json each event is one line, its data byte for byte as received (line breaks between JSON tokens become spaces).
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// Only these event types; wildcards such as `order.*` are fine. May be repeated.
    #[arg(long = "type", value_name = "PATTERN")]
    types: Vec<String>,
    /// Begin with so many events that came before.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    last: u8,
    /// Stop after so many events.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(serde::Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

impl Tail {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        let mut stop = Stop::listen()?;
        // The stream is opened before the look back, so that nothing falls between the two; what both show is told apart by sequence.
        let mut follower = Follower::open(&client, &self.types).await?;
        let mut shown_up_to = 0;
        let mut left = self.count.unwrap_or(u64::MAX);
        for text in self.look_back(&client).await? {
            shown_up_to = show(&text, json).unwrap_or(shown_up_to);
            left = left.saturating_sub(1);
        }
        if !json && left > 0 {
            eprintln!("{}", paint(Style::Dim, "waiting for events; Ctrl-C ends"));
        }
        while left > 0 {
            let message = tokio::select! {
                message = follower.next() => message?,
                () = stop.requested() => return Ok(()),
            };
            let text = String::from_utf8_lossy(&message.data);
            if sequence(&text).is_some_and(|sequence| sequence > shown_up_to) {
                show(&text, json);
                left -= 1;
            }
        }
        Ok(())
    }

    /// The last events that were there before, the oldest first.
    async fn look_back(&self, client: &Client) -> Result<Vec<String>, Failure> {
        if self.last == 0 {
            return Ok(Vec::new());
        }
        let patterns: Vec<_> = self.types.iter().map(|text| posthaste_domain::matching::TypePattern::parse(text)).collect();
        let wanted = |text: &str| {
            let Ok(event) = serde_json::from_str::<ShownEvent<'_>>(text) else { return false };
            let name = event.type_name.as_deref().unwrap_or_default();
            patterns.is_empty() || patterns.iter().flatten().any(|pattern| pattern.matches(name))
        };
        let text = client.get_text(&format!("/events?limit={}", self.last)).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(|error| client.unexpected(error.to_string()))?;
        Ok(page.items.iter().rev().map(|item| item.get().to_owned()).filter(|text| wanted(text)).collect())
    }
}

fn sequence(text: &str) -> Option<i64> {
    serde_json::from_str::<ShownEvent<'_>>(text).ok().map(|event| event.sequence)
}

/// Shows one event; answers its sequence.
fn show(text: &str, json: bool) -> Option<i64> {
    if json {
        say(text.replace(['\n', '\r'], " "));
        return sequence(text);
    }
    let Ok(event) = serde_json::from_str::<ShownEvent<'_>>(text) else {
        say(harmless(text));
        return None;
    };
    say(line(&event));
    Some(event.sequence)
}

/// An event as one line for people.
pub fn line(event: &ShownEvent<'_>) -> String {
    let time = event.received_at.get(11..23).unwrap_or(event.received_at);
    let name = match event.type_name.as_deref() {
        Some(name) => paint(Style::Bold, format!("{:24}", cut(name, 40))),
        None => paint(Style::Wait, format!("{:24}", "(no event type matched)")),
    };
    let via = format!("{:6}", cut(&event.source.via, 12));
    format!("{}  {name}  {}  {}", paint(Style::Dim, time), paint(Style::Dim, via), cut(event.data.get(), 100))
}
