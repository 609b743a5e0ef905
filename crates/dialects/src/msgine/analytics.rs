//! Numbers about messages (MsGine 4.3), counted from the events of a period.
//!
//! What is counted: each recipient once per event, by the day (in UTC) that the event was stored; costs by the day of sending, in the
//! currency of generation 2 only, since amounts of different currencies have no sum. An e-mail counts as sent when it is
//! delivered: the relay tells both at once. There is no push, so its numbers are zero.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use posthaste_domain::message::{self, MessageChannel, MessageData, Outgoing};
use posthaste_store::{EventFilter, Order, Range};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answer::{Refusal, json_answer};
use super::format::seconds;
use super::input::Generation;
use super::messages::unreadable;
use super::money::Money;
use super::query::{self, DAY_MS};
use super::routes::{Caller, Shared};
use super::view;

/// Events of one type that one request counts at most.
const MOST_EVENTS: usize = 200_000;
/// Events that are read at once.
const STEP: usize = 1000;
/// Days of an overview that names none.
const DEFAULT_DAYS: i64 = 30;

/// What happened to messages of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sent: u64,
    delivered: u64,
    failed: u64,
    cost: Money,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            cost: self.cost.plus(other.cost),
        }
    }

    fn view(self) -> CountsView {
        CountsView { sent: self.sent, delivered: self.delivered, failed: self.failed, cost: self.cost.json() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Channels {
    sms: Counts,
    email: Counts,
}

impl Channels {
    fn of(&mut self, channel: MessageChannel) -> &mut Counts {
        match channel {
            MessageChannel::Sms => &mut self.sms,
            MessageChannel::Email => &mut self.email,
        }
    }

    fn view(self) -> ChannelsView {
        ChannelsView { sms: self.sms.view(), email: self.email.view(), push: Counts::default().view() }
    }
}

#[derive(Serialize)]
struct CountsView {
    sent: u64,
    delivered: u64,
    failed: u64,
    cost: Box<RawValue>,
}

#[derive(Serialize)]
struct ChannelsView {
    sms: CountsView,
    email: CountsView,
    push: CountsView,
}

#[derive(Serialize)]
struct Overview {
    period: Period,
    totals: Totals,
    channels: ChannelsView,
}

#[derive(Serialize)]
struct Period {
    from: String,
    to: String,
}

#[derive(Serialize)]
struct Totals {
    #[serde(flatten)]
    counts: CountsView,
    currency: String,
}

#[derive(Serialize)]
struct Daily {
    days: u64,
    data: Vec<Day>,
}

#[derive(Serialize)]
struct Day {
    date: String,
    #[serde(flatten)]
    channels: ChannelsView,
}

/// `2026-04-06`
fn date(ms: i64) -> String {
    seconds(ms).chars().take(10).collect()
}

impl Shared {
    /// `GET /developers/analytics/overview`
    pub(super) async fn overview(&self, caller: &Caller, query: &str) -> Result<Response, Refusal> {
        let now_ms = self.engine.now_ms();
        let to_ms = query::day_ms(query, "to")?.unwrap_or(now_ms - now_ms.rem_euclid(DAY_MS));
        let from_ms = query::day_ms(query, "from")?.unwrap_or(to_ms - (DEFAULT_DAYS - 1) * DAY_MS);
        if from_ms > to_ms {
            return Err(Refusal::field("from", "from must not be later than to"));
        }
        let currency = self.currency(caller, Generation::Two);
        let days = self.days(caller, from_ms, to_ms + DAY_MS, &currency).await?;
        let all =
            days.values().fold(Channels::default(), |all, day| Channels { sms: all.sms.plus(day.sms), email: all.email.plus(day.email) });
        let overview = Overview {
            period: Period { from: date(from_ms), to: date(to_ms) },
            totals: Totals { counts: all.sms.plus(all.email).view(), currency },
            channels: all.view(),
        };
        Ok(json_answer(StatusCode::OK, &overview))
    }

    /// `GET /developers/analytics/daily`
    pub(super) async fn daily(&self, caller: &Caller, query: &str) -> Result<Response, Refusal> {
        let days = query::number(query, "days", 1, 90)?.unwrap_or(30);
        let now_ms = self.engine.now_ms();
        let today_ms = now_ms - now_ms.rem_euclid(DAY_MS);
        let first_ms = today_ms - (i64::try_from(days).unwrap_or(1) - 1) * DAY_MS;
        let currency = self.currency(caller, Generation::Two);
        let mut counted = self.days(caller, first_ms, today_ms + DAY_MS, &currency).await?;
        let starts = (first_ms..=today_ms).step_by(usize::try_from(DAY_MS).expect("a day is a small number"));
        let data = starts.map(|day_ms| Day { date: date(day_ms), channels: counted.remove(&day_ms).unwrap_or_default().view() }).collect();
        Ok(json_answer(StatusCode::OK, &Daily { days, data }))
    }

    /// What happened on each day of a period, by the start of the day.
    async fn days(&self, caller: &Caller, from_ms: i64, to_ms: i64, currency: &str) -> Result<BTreeMap<i64, Channels>, Refusal> {
        let mut days: BTreeMap<i64, Channels> = BTreeMap::new();
        let types = [message::OUTGOING_SMS, message::OUTGOING_EMAIL, message::SENT, message::DELIVERED, message::FAILED];
        for type_name in types {
            let mut after = None;
            let mut seen = 0;
            loop {
                let range = Range { order: Order::Asc, after, limit: STEP, from_ms: Some(from_ms), to_ms: Some(to_ms) };
                let filter = EventFilter { type_name: Some(Some(type_name.to_owned())), ..EventFilter::default() };
                let events = self.engine.history().events(caller.workspace(), filter, range).await.map_err(|error| unreadable(&error))?;
                let Some(last) = events.last() else { break };
                after = Some(last.sequence.0);
                seen += events.len();
                if seen > MOST_EVENTS {
                    return Err(Refusal::request("The period holds too many messages; ask for a shorter one"));
                }
                for event in &events {
                    let day = days.entry(event.received_ms - event.received_ms.rem_euclid(DAY_MS)).or_default();
                    count(day, type_name, &event.payload, currency);
                }
            }
        }
        Ok(days)
    }
}

/// Adds one event to the numbers of its day.
fn count(day: &mut Channels, type_name: &str, payload: &[u8], currency: &str) {
    if type_name == message::OUTGOING_SMS || type_name == message::OUTGOING_EMAIL {
        if let Ok(outgoing) = serde_json::from_slice::<Outgoing>(payload)
            && view::currency(&outgoing) == Some(currency)
        {
            let counts = day.of(outgoing.channel);
            counts.cost = counts.cost.plus(view::cost(&outgoing));
        }
        return;
    }
    let Some(data) = MessageData::parse(payload) else { return };
    let channel = match data.text("channel").as_deref() {
        Some("email") => MessageChannel::Email,
        Some("sms") => MessageChannel::Sms,
        _ => return,
    };
    let counts = day.of(channel);
    match type_name {
        message::SENT => counts.sent += 1,
        message::DELIVERED => {
            counts.delivered += 1;
            counts.sent += u64::from(channel == MessageChannel::Email);
        }
        _ => counts.failed += 1,
    }
}
