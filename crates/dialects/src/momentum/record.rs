//! One event as a record: `{"msys":{"<class>":{…}}}`, written straight from the payload's bytes.
//!
//! A field that the event's data has under the vendor's own name passes through; what is not there is derived from the message data
//! where it can be. No document is built: a record costs one walk over the payload and one over the key's fields.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::OnceLock;

use posthaste_domain::event::Event;
use posthaste_domain::message::{MessageData, is_message_type};
use serde_json::value::RawValue;

use super::events::{EVENTS, EventKey, place_of};
use super::fields::{self, FIELDS, Kind};
use super::reason;

/// How the fields of a key are filled when the event's data has none of the vendor's.
struct Plan {
    event: &'static EventKey,
    /// Place in [`FIELDS`] and where the value comes from otherwise.
    fields: Vec<(usize, Derived)>,
}

/// Where a field comes from if the data does not have it under its own name.
#[derive(Clone, Copy)]
enum Derived {
    Nowhere,
    Type,
    Timestamp,
    CustomerId,
    EventId,
    RecipientLower,
    Recipient,
    Metadata,
    Tags,
    ErrorCode,
    Reason { masked: bool },
    BounceClass,
    DeliveryMethod,
    ReceptionMethod,
    Complaint,
    Sender,
    EnvelopeSender,
    Size,
    Retries,
    RoutingDomain,
    ClientAddress,
    ClientField(&'static str),
    Place,
    Url,
    SmsSource,
    SmsDestination,
    SmsText,
    SmsSegments,
    SmsIds,
}

impl Derived {
    fn of(event: &EventKey, field: &str) -> Self {
        match field {
            "type" => Self::Type,
            "timestamp" => Self::Timestamp,
            "customer_id" => Self::CustomerId,
            "event_id" => Self::EventId,
            "rcpt_to" => Self::RecipientLower,
            "raw_rcpt_to" => Self::Recipient,
            "rcpt_meta" => Self::Metadata,
            "rcpt_tags" => Self::Tags,
            "error_code" => Self::ErrorCode,
            "reason" => Self::Reason { masked: true },
            "raw_reason" => Self::Reason { masked: false },
            "bounce_class" => Self::BounceClass,
            "delv_method" => Self::DeliveryMethod,
            "recv_method" => Self::ReceptionMethod,
            "fbtype" => Self::Complaint,
            "friendly_from" => Self::Sender,
            "msg_from" | "mailfrom" => Self::EnvelopeSender,
            "msg_size" => Self::Size,
            "num_retries" => Self::Retries,
            "routing_domain" => Self::RoutingDomain,
            // Of other events this is the remote server, which the message data does not name.
            "ip_address" if event.class == "track_event" => Self::ClientAddress,
            "user_agent" => Self::ClientField("user_agent"),
            "accept_language" => Self::ClientField("accept_language"),
            "geo_ip" => Self::Place,
            "target_link_url" => Self::Url,
            "sms_src" => Self::SmsSource,
            "sms_dst" => Self::SmsDestination,
            "sms_text" => Self::SmsText,
            "sms_segments" => Self::SmsSegments,
            "sms_remoteids" => Self::SmsIds,
            _ => Self::Nowhere,
        }
    }
}

/// The plans of all keys, in the order of [`EVENTS`].
fn plans() -> &'static [Plan] {
    static PLANS: OnceLock<Vec<Plan>> = OnceLock::new();
    PLANS.get_or_init(|| {
        let known = |name| fields::index(name).expect("every field of an event is in the table: a test says so");
        let plan = |event: &'static EventKey| Plan {
            event,
            fields: event.field_names().map(|name| (known(name), Derived::of(event, name))).collect(),
        };
        EVENTS.iter().map(plan).collect()
    })
}

/// The data of one event, each field in its place.
#[derive(Default)]
struct Data<'a> {
    /// By place in [`FIELDS`]; a boxed slice would cost an allocation for each event.
    vendor: Slots<'a>,
    attempt: Option<&'a RawValue>,
    carrier_id: Option<&'a RawValue>,
    channel: Option<&'a RawValue>,
    client: Option<&'a RawValue>,
    description: Option<&'a RawValue>,
    error_code: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    occurred_at: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
    recipient: Option<&'a RawValue>,
    segments: Option<&'a RawValue>,
    sender: Option<&'a RawValue>,
    size: Option<&'a RawValue>,
    status_code: Option<&'a RawValue>,
    tags: Option<&'a RawValue>,
    text: Option<&'a RawValue>,
    transport: Option<&'a RawValue>,
    url: Option<&'a RawValue>,
}

struct Slots<'a>([Option<&'a RawValue>; fields::COUNT]);

impl Default for Slots<'_> {
    fn default() -> Self {
        Self([None; fields::COUNT])
    }
}

impl<'a> Data<'a> {
    fn of(payload: &'a MessageData<'a>, is_message: bool) -> Self {
        let mut data = Self::default();
        for (name, raw) in payload.fields() {
            if raw.get() == "null" {
                continue;
            }
            if is_message {
                data.note(name, raw);
            }
            if let Some(place) = fields::index(name) {
                data.vendor.0[place] = Some(raw);
            }
        }
        data
    }

    /// A field of the message data.
    fn note(&mut self, name: &str, raw: &'a RawValue) {
        let place = match name {
            "attempt" => &mut self.attempt,
            "carrier_id" => &mut self.carrier_id,
            "channel" => &mut self.channel,
            "client" => &mut self.client,
            "description" => &mut self.description,
            "error_code" => &mut self.error_code,
            "metadata" => &mut self.metadata,
            "occurred_at" => &mut self.occurred_at,
            "reason" => &mut self.reason,
            "recipient" => &mut self.recipient,
            "segments" => &mut self.segments,
            "sender" => &mut self.sender,
            "size" => &mut self.size,
            "status_code" => &mut self.status_code,
            "tags" => &mut self.tags,
            "text" => &mut self.text,
            "transport" => &mut self.transport,
            "url" => &mut self.url,
            _ => return,
        };
        *place = Some(raw);
    }

    fn is_sms(&self) -> bool {
        self.channel.is_some_and(|channel| matches!(channel.get(), "\"sms\"" | "\"mms\""))
    }

    fn is_email(&self) -> bool {
        self.channel.is_some_and(|channel| channel.get() == "\"email\"")
    }
}

/// Place in [`EVENTS`] of the key that tells this event; `None` if it is not for Momentum.
fn place_in(type_name: &str, data: &Data<'_>) -> Option<usize> {
    let reason = data.reason.and_then(text);
    place_of(type_name, reason.as_deref(), data.client.is_some_and(|client| client.get() != "{}") || data.url.is_some())
}

/// Appends an event as a record; `false`, and nothing is written, if it is not for Momentum.
pub fn write(out: &mut Vec<u8>, event: &Event) -> bool {
    let Some(type_name) = event.type_name.as_deref() else { return false };
    let is_message = is_message_type(type_name);
    let payload = MessageData::parse(&event.payload);
    let data = payload.as_ref().map(|payload| Data::of(payload, is_message)).unwrap_or_default();
    let Some(place) = place_in(type_name, &data) else { return false };
    let plan = &plans()[place];
    out.extend_from_slice(b"{\"msys\":{\"");
    out.extend_from_slice(plan.event.class.as_bytes());
    out.extend_from_slice(b"\":{");
    let mut writer = Writer { out, is_first: true };
    for &(place, derived) in &plan.fields {
        let field = &FIELDS[place];
        let given = data.vendor.0[place].filter(|_| !overrides(derived, is_message));
        let written = given.is_some_and(|raw| writer.value(field, raw));
        if !written {
            derive(&mut writer, field, derived, &data, event, plan.event.key);
        }
    }
    out.extend_from_slice(b"}}}");
    true
}

/// Fields that are never taken from the data as they are.
fn overrides(derived: Derived, is_message: bool) -> bool {
    match derived {
        Derived::Type => true,
        // Names that the message data uses for something of its own.
        Derived::ErrorCode | Derived::Reason { masked: true } => is_message,
        _ => false,
    }
}

fn derive(writer: &mut Writer<'_>, field: &fields::Field, derived: Derived, data: &Data<'_>, event: &Event, key: &str) {
    match derived {
        Derived::Nowhere => {}
        Derived::Type => writer.plain(field, |out| out.extend_from_slice(key.as_bytes())),
        Derived::Timestamp => {
            let seconds = data.occurred_at.and_then(text).and_then(|at| at.parse::<jiff::Timestamp>().ok());
            let seconds = seconds.map_or(event.received_ms.div_euclid(1000), jiff::Timestamp::as_second);
            writer.number(field, seconds);
        }
        Derived::CustomerId => writer.number(field, event.workspace),
        Derived::EventId => writer.plain(field, |out| out.extend_from_slice(event.id().as_bytes())),
        Derived::RecipientLower => writer.raw(field, data.recipient),
        Derived::Recipient => writer.raw(field, data.vendor.0[rcpt_to()].or(data.recipient)),
        Derived::Metadata => writer.raw(field, data.metadata.filter(|raw| raw.get().len() > 2)),
        Derived::Tags => writer.raw(field, data.tags.filter(|raw| raw.get() != "[]")),
        Derived::ErrorCode => writer.raw(field, data.status_code.or(data.error_code)),
        Derived::Reason { masked } => {
            let Some(raw) = data.description.or(data.reason) else { return };
            let Some(text) = text(raw).filter(|_| masked) else { return writer.raw(field, Some(raw)) };
            match reason::masked(&text) {
                Cow::Borrowed(_) => writer.raw(field, Some(raw)),
                Cow::Owned(masked) => writer.text(field, &masked),
            }
        }
        Derived::BounceClass if is_refusal(key) && (data.reason.is_some() || data.status_code.is_some()) => {
            let reason = data.reason.and_then(text).unwrap_or_default();
            let status = data.status_code.and_then(text).and_then(|status| status.trim().parse().ok());
            writer.number(field, reason::bounce_class(key, &reason, status));
        }
        Derived::BounceClass => {}
        Derived::DeliveryMethod if data.is_sms() => writer.text(field, "smpp"),
        Derived::DeliveryMethod if data.is_email() => writer.text(field, "esmtp"),
        Derived::DeliveryMethod => {}
        Derived::ReceptionMethod => match data.transport.map(RawValue::get) {
            Some("\"smtp\"") => writer.text(field, "esmtp"),
            Some("\"http\"") => writer.text(field, "rest"),
            _ => {}
        },
        Derived::Complaint => writer.text(field, "abuse"),
        Derived::Sender => writer.raw(field, data.sender.filter(|_| !data.is_sms())),
        Derived::EnvelopeSender => {
            let Some(raw) = data.sender.filter(|_| !data.is_sms()) else { return };
            match text(raw) {
                Some(sender) if sender.contains('<') => writer.text(field, bare_address(&sender)),
                _ => writer.raw(field, Some(raw)),
            }
        }
        Derived::Size => writer.raw(field, data.size.filter(|_| !data.is_sms())),
        Derived::Retries => {
            let attempt: Option<i64> = data.attempt.and_then(text).and_then(|number| number.parse().ok());
            if let Some(attempt) = attempt.filter(|attempt| *attempt > 0) {
                writer.number(field, attempt - 1);
            }
        }
        Derived::RoutingDomain => {
            let recipient = data.vendor.0[rcpt_to()].or(data.recipient).and_then(text);
            if let Some((_, domain)) = recipient.as_deref().and_then(|recipient| recipient.rsplit_once('@')) {
                writer.text(field, &lower(domain));
            }
        }
        Derived::ClientAddress => writer.client(field, data, "ip"),
        Derived::ClientField(name) => writer.client(field, data, name),
        Derived::Place => writer.place(field, data),
        Derived::Url => writer.raw(field, data.url),
        Derived::SmsSource => writer.raw(field, data.sender.filter(|_| data.is_sms())),
        Derived::SmsDestination => writer.raw(field, data.recipient.filter(|_| data.is_sms())),
        Derived::SmsText => writer.raw(field, data.text.filter(|_| data.is_sms())),
        Derived::SmsSegments => writer.raw(field, data.segments.filter(|_| data.is_sms())),
        Derived::SmsIds => writer.raw(field, data.carrier_id.filter(|_| data.is_sms())),
    }
}

fn rcpt_to() -> usize {
    static PLACE: OnceLock<usize> = OnceLock::new();
    *PLACE.get_or_init(|| fields::index("rcpt_to").expect("it is in the table"))
}

fn is_refusal(key: &str) -> bool {
    matches!(key, "bounce" | "delay" | "out_of_band" | "policy_rejection")
}

/// A scalar as text.
fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    let json = raw.get();
    match json.as_bytes().first()? {
        b'"' if json.contains('\\') => serde_json::from_str(json).ok().map(Cow::Owned),
        b'"' => Some(Cow::Borrowed(&json[1..json.len() - 1])),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii()) { text.to_lowercase().into() } else { text.into() }
}

/// `a@b` of `Name <a@b>`.
fn bare_address(sender: &str) -> &str {
    sender.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(sender, |(address, _)| address.trim())
}

/// Writes the fields of one record.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl Writer<'_> {
    fn name(&mut self, field: &fields::Field) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(field.name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A string of characters that need no escape.
    fn plain(&mut self, field: &fields::Field, write: impl FnOnce(&mut Vec<u8>)) {
        self.name(field);
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    fn number(&mut self, field: &fields::Field, number: i64) {
        // Writing to memory cannot fail.
        self.plain(field, |out| drop(write!(out, "{number}")));
    }

    fn text(&mut self, field: &fields::Field, text: &str) {
        self.name(field);
        serde_json::to_writer(&mut *self.out, text).expect("a string always serialises");
    }

    fn raw(&mut self, field: &fields::Field, raw: Option<&RawValue>) {
        if let Some(raw) = raw {
            self.value(field, raw);
        }
    }

    /// A value in the field's form; `false`, and nothing is written, if it has no such form.
    fn value(&mut self, field: &fields::Field, raw: &RawValue) -> bool {
        let json = raw.get();
        let first = json.as_bytes().first().copied().unwrap_or_default();
        let is_scalar = !matches!(first, b'{' | b'[' | b'n');
        match field.kind {
            Kind::Text | Kind::Lower if !is_scalar => false,
            Kind::Lower if json.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii() || byte == b'\\') => {
                text(raw).map(|text| self.text(field, &lower(&text))).is_some()
            }
            Kind::Text | Kind::Lower if first == b'"' => self.copy(field, json),
            Kind::Text | Kind::Lower => {
                self.plain(field, |out| out.extend_from_slice(json.as_bytes()));
                true
            }
            Kind::Integer => match text(raw).and_then(|text| text.trim().parse::<i64>().ok()) {
                Some(number) => {
                    self.name(field);
                    drop(write!(self.out, "{number}"));
                    true
                }
                None => false,
            },
            Kind::Object => first == b'{' && self.copy(field, json),
            Kind::Array if first == b'[' => self.copy(field, json),
            Kind::Array if is_scalar => {
                self.name(field);
                self.out.push(b'[');
                self.out.extend_from_slice(json.as_bytes());
                self.out.push(b']');
                true
            }
            Kind::Array => false,
        }
    }

    fn copy(&mut self, field: &fields::Field, json: &str) -> bool {
        self.name(field);
        self.out.extend_from_slice(json.as_bytes());
        true
    }

    /// A field of the recipient's client.
    fn client(&mut self, field: &fields::Field, data: &Data<'_>, name: &str) {
        let Some(client) = data.client.and_then(|client| MessageData::parse(client.get().as_bytes())) else { return };
        self.raw(field, client.raw(name));
    }

    /// The place of the recipient's client, if it says where it is.
    fn place(&mut self, field: &fields::Field, data: &Data<'_>) {
        let Some(client) = data.client.and_then(|client| MessageData::parse(client.get().as_bytes())) else { return };
        let known = ["country", "region", "city", "latitude", "longitude"].map(|name| (name, client.raw(name)));
        if known.iter().all(|(_, raw)| raw.is_none()) {
            return;
        }
        self.name(field);
        let mut separator = b'{';
        for (name, raw) in known.into_iter().filter_map(|(name, raw)| Some((name, raw?))) {
            self.out.push(separator);
            separator = b',';
            drop(write!(self.out, "\"{name}\":{}", raw.get()));
        }
        self.out.push(b'}');
    }
}
