//! What the demo sends, waits for and prints.

use std::time::Duration;

use posthaste_domain::clock::{Clock, parse_rfc3339};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::receiver::Arrival;
use super::recipes;
use super::samples::{self, Sample, Stage};
use crate::client::{Client, encode};
use crate::clock::SystemClock;
use crate::command::follow::Follower;
use crate::command::{say_json, tail, text};
use crate::failure::Failure;
use crate::signals::Stop;
use crate::sse::ShownEvent;
use crate::term::{Style, cut, paint, say};

/// How long everything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two looks into the bin.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Pause between two samples, so that a person can follow.
const SAMPLE_PAUSE: Duration = Duration::from_millis(150);

/// One performance.
pub struct Show {
    /// A client of the server, with the sample workspace's key.
    pub client: Client,
    /// Address of the server.
    pub url: String,
    /// Address of the console, if it is served.
    pub console_url: Option<String>,
    /// Where the first member of the console makes itself, while there is none.
    pub setup_url: Option<String>,
    /// The sample workspace's key.
    pub token: String,
    /// Where the webhook receiver takes webhooks.
    pub receiver_url: String,
    /// The secret that they are signed with.
    pub secret: String,
    /// Time.
    pub clock: SystemClock,
    /// End when everything has arrived.
    pub once: bool,
    /// One JSON document instead of lines for people.
    pub json: bool,
}

/// What has come so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    received: usize,
    wrong_signatures: usize,
    in_bin: usize,
    by_template: usize,
}

/// A request that the bin caught.
struct Caught {
    line: String,
    is_rendered: bool,
}

impl Tally {
    /// What is missing of `samples`, in words; `None` when everything is there.
    fn missing(&self, samples: &[Sample]) -> Option<String> {
        let rendered = samples.iter().filter(|sample| sample.has_template).count();
        let wanted = [
            ("events accepted", self.accepted, samples.len()),
            ("webhooks received", self.received, samples.len()),
            ("requests in the bin", self.in_bin, samples.len() + rendered),
        ];
        let short = wanted.iter().filter(|(_, is, must)| is < must);
        let mut missing: Vec<String> = short.map(|(what, is, must)| format!("{is} of {must} {what}")).collect();
        if self.wrong_signatures > 0 {
            missing.push(format!("webhooks with a wrong signature: {}", self.wrong_signatures));
        }
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

impl Show {
    /// Plays it. Without `once` it goes on until `stop`.
    pub async fn run(&self, mut arrivals: mpsc::Receiver<Arrival>, stop: &mut Stop) -> Result<(), Failure> {
        self.tell(format!("Posthaste demo: a server at {}, with a sample workspace.\n", paint(Style::Bold, &self.url)));
        let samples = samples::samples(&self.token);
        let stage = samples::set_up(&self.client, &self.receiver_url, &self.secret).await?;
        self.tell(format!(
            "Sending {} sample events in different ways; each goes to a webhook receiver and a request bin.\n",
            samples.len()
        ));
        let mut follower = Follower::open(&self.client, &[]).await?;
        let mut sending = std::pin::pin!(self.send(&samples));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut patience = std::pin::pin!(tokio::time::sleep(PATIENCE));
        let (mut tally, mut is_sent, mut is_concluded, mut seen) = (Tally::default(), false, false, 0);
        // A webhook often overtakes the stream that tells of its event. People are shown the event first.
        let mut held = Vec::new();
        loop {
            tokio::select! {
                sent = &mut sending, if !is_sent => { sent?; is_sent = true; }
                message = follower.next() => {
                    self.accepted(&message?.data);
                    tally.accepted += 1;
                }
                Some(arrival) = arrivals.recv() => {
                    held.push(self.received(&arrival));
                    tally.received += 1;
                    tally.wrong_signatures += usize::from(arrival.verdict.is_err());
                }
                _ = look.tick() => {
                    let fresh = self.look_into_bin(&stage.bin_id, &mut seen).await?;
                    tally.in_bin += fresh.len();
                    tally.by_template += fresh.iter().filter(|caught| caught.is_rendered).count();
                    held.extend(fresh.into_iter().map(|caught| caught.line));
                }
                () = &mut patience, if !is_concluded => {
                    let missing = tally.missing(&samples).unwrap_or_default();
                    return Err(Failure::refused(format!("not everything arrived within {} s: {missing}", PATIENCE.as_secs())));
                }
                () = stop.requested() => return Ok(()),
            }
            if tally.accepted >= tally.received.max(tally.in_bin - tally.by_template) {
                held.drain(..).for_each(|line| self.tell(line));
            }
            if is_sent && !is_concluded && tally.missing(&samples).is_none() {
                is_concluded = true;
                self.conclude(&stage, &tally).await?;
                if self.once {
                    return Ok(());
                }
            }
        }
    }

    /// A line for people; with `--json` there are none.
    fn tell(&self, line: impl AsRef<str>) {
        if !self.json {
            say(line);
        }
    }

    async fn send(&self, samples: &[Sample]) -> Result<(), Failure> {
        for sample in samples {
            tokio::time::sleep(SAMPLE_PAUSE).await;
            let (status, body) = self.client.exchange(sample.request(&self.client)?).await?;
            if !status.is_success() {
                let body = cut(&String::from_utf8_lossy(&body), 200);
                return Err(Failure::refused(format!("the sample \"{}\" was answered with {status}: {body}", sample.way)));
            }
        }
        Ok(())
    }

    fn accepted(&self, data: &[u8]) {
        if let Ok(event) = serde_json::from_slice::<ShownEvent<'_>>(data) {
            self.tell(format!("{}  {}", paint(Style::Bold, "event    "), tail::line(&event)));
        }
    }

    fn received(&self, arrival: &Arrival) -> String {
        let name = text(&arrival.body, "/type");
        let after = parse_rfc3339(text(&arrival.body, "/timestamp")).map(|at| self.clock.now_ms() - at);
        let after = after.map(|ms| format!(", {ms} ms after the event")).unwrap_or_default();
        let verdict = match &arrival.verdict {
            Ok(()) => "signature verified".to_owned(),
            Err(error) => paint(Style::Bad, error.to_string()),
        };
        delivered(name, &format!("webhook receiver: {verdict}{after}"))
    }

    /// A line for everything that the bin caught since the last look.
    async fn look_into_bin(&self, bin_id: &str, seen: &mut u64) -> Result<Vec<Caught>, Failure> {
        let page = self.client.get(&format!("/bins/{}/requests", encode(bin_id))).await?;
        let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let number = |item: &Value| item.get("number").and_then(Value::as_u64).unwrap_or(0);
        let fresh: Vec<&Value> = items.iter().rev().filter(|item| number(item) > *seen).collect();
        *seen = fresh.iter().map(|item| number(item)).chain([*seen]).max().unwrap_or_default();
        let line = |item: &&Value| {
            let body = text(item, "/body");
            let envelope: Value = serde_json::from_str(body).unwrap_or_default();
            match envelope.get("type").and_then(Value::as_str) {
                Some(name) => Caught { line: delivered(name, &format!("request bin: {} bytes of JSON", body.len())), is_rendered: false },
                None => Caught { line: delivered("(by a template)", &format!("request bin: {}", cut(body, 60))), is_rendered: true },
            }
        };
        Ok(fresh.iter().map(line).collect())
    }

    async fn conclude(&self, stage: &Stage, tally: &Tally) -> Result<(), Failure> {
        let recipes = recipes::recipes(&self.url, &self.token);
        if self.json {
            say_json(&json!({
                "url": self.url, "console_url": self.console_url, "setup_url": self.setup_url, "key": self.token, "bin_url": stage.bin_url, "look_url": stage.look_url, "receiver_url": self.receiver_url,
                "accepted": tally.accepted, "received": tally.received, "in_bin": tally.in_bin, "recipes": recipes,
            }));
            return Ok(());
        }
        let preview = samples::preview(&self.client).await?;
        say(format!("\n{}", paint(Style::Good, "Everything arrived.")));
        say(format!("\n{}\n", paint(Style::Bold, "The same template, as Slack would show \"order-received\":")));
        for line in text(&preview, "/slack").lines() {
            say(format!("  {}", cut(line, 110)));
        }
        say(format!("\n{}\n\n  {}", paint(Style::Bold, "Your key:"), self.token));
        say(format!("\n{}", paint(Style::Bold, "Send an event yourself, in any of these ways (T1 to T20 of what MsgGO clients send):")));
        for recipe in &recipes {
            say(format!("\n{}\n{}", paint(Style::Dim, format!("# {:3}  {}", recipe.way, recipe.name)), recipe.command));
        }
        let address = &self.url;
        say(format!("\n{}\n", paint(Style::Bold, "Where to look:")));
        // With a directory that was used before, there may be members already.
        if let Some(console_url) = self.setup_url.as_ref().or(self.console_url.as_ref()) {
            say(format!("  the console          {console_url}"));
        }
        say(format!("  what the bin caught  {}", stage.look_url));
        say(format!("  all events           curl {address}/posthaste/v1/events -H 'Authorization: Bearer {}'", self.token));
        say(format!("  the native API       {address}/posthaste/v1/openapi.json"));
        say("  the documentation    README.md and docs/");
        if !self.once {
            say(format!("\n{}\n", paint(Style::Dim, "What you send shows up below. Ctrl-C ends the demo.")));
        }
        Ok(())
    }
}

fn delivered(name: &str, what: &str) -> String {
    format!("{}  {:12}  {:24}  {what}", paint(Style::Good, "delivered"), "", cut(name, 40))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_says_what_is_missing() {
        let samples = samples::samples("phk_x");
        let rendered = samples.iter().filter(|sample| sample.has_template).count();
        assert_eq!(rendered, 1);
        let mut tally = Tally {
            accepted: samples.len(),
            received: samples.len(),
            wrong_signatures: 0,
            in_bin: samples.len() + rendered,
            by_template: rendered,
        };
        assert_eq!(tally.missing(&samples), None);
        tally.in_bin -= 1;
        tally.wrong_signatures = 1;
        assert_eq!(tally.missing(&samples).as_deref(), Some("5 of 6 requests in the bin, webhooks with a wrong signature: 1"));
    }
}
