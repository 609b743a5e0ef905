//! Sending a message by hand: e-mail or SMS, for real or as a test, with the simulators' special recipients at hand.

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::messages::{self, HERE, Message};
use crate::api::{Failure, segment};
use crate::form::{Draft, Form};
use crate::query::link;
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Head, Page, Tone, errors, submit, tick};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/messages/new", get(compose).post(send)).route("/messages/incoming", get(incoming).post(receive))
}

const CHANNELS: [Choice<'static>; 2] = [Choice::new("email", "E-mail"), Choice::new("sms", "SMS")];

/// What the simulators do with special recipients: `docs/sms.md` and `docs/messages.md` say the same.
const NUMBERS: [(&str, &str); 10] = [
    ("+9990000001", "refused for good, as an invalid number"),
    ("+9990000002", "sent, then failed"),
    ("+9990000003", "refused for now twice, then delivered"),
    ("+9990000004", "sent, delivered a little later"),
    ("+9990000005", "sent, then expired"),
    ("+9990000006", "delivered, replies YES"),
    ("+9990000007", "delivered, replies STOP"),
    ("+9990000008", "sent, and never heard of again"),
    ("+9990000009", "sent, then rejected"),
    ("+9990000010", "delivered, replies START"),
];
const ADDRESSES: [(&str, &str); 4] = [
    ("anybody@example.com", "delivered"),
    ("fail@example.com", "refused for good"),
    ("defer@example.com", "refused for now once, then delivered"),
    ("complain@example.com", "delivered, and called spam"),
];

async fn compose(seat: Seat) -> Answer {
    let text = |name: &str| seat.query.text(name);
    let mut draft = Draft::new().set("channel", if text("channel") == "sms" { "sms" } else { "email" });
    for name in ["from", "to", "subject", "text"] {
        draft = draft.set(name, text(name));
    }
    let like = model(&seat, seat.query.given("like")).await?;
    if let Some(message) = &like {
        draft = copy(draft.set("like", &message.id), message);
    }
    Ok(page(&seat, StatusCode::OK, &draft, like.as_ref()))
}

/// The message that a form is a copy of, if it is one and the message is still kept.
async fn model(seat: &Seat, id: Option<&str>) -> Result<Option<Message>, Failure> {
    match id {
        Some(id) => seat.api.find(&format!("/messages/{}", segment(id))).await,
        None => Ok(None),
    }
}

/// The form with everything of a message that it has fields for. Who was not named to others stays so.
fn copy(draft: Draft, message: &Message) -> Draft {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let draft = draft
        .set("channel", &message.channel)
        .set("from", &message.from)
        .set("subject", text(&message.subject))
        .set("text", text(&message.text))
        .set("html", text(&message.html))
        .set("tags", message.tags.join(", "))
        .set("test", if message.test { "true" } else { "" });
    let Some(email) = &message.email else { return draft.set("to", message.to.join("\n")) };
    let draft = draft.set("reply_to", text(&email.reply_to));
    if email.individual && message.to.len() > 1 {
        return draft.set("to", "");
    }
    draft.set("to", email.to.join("\n")).set("cc", email.cc.join("\n")).set("bcc", email.bcc.join("\n"))
}

/// What a copy of a message lacks, because the form has no field for it.
fn lacking(message: &Message) -> Vec<String> {
    let mut lacking = Vec::new();
    let mut add = |is_there: bool, what: &str| {
        if is_there {
            lacking.push(what.to_owned())
        }
    };
    if let Some(email) = &message.email {
        let names = |all: Vec<&str>| all.join(", ");
        let (headers, files) = (&email.headers, &email.attachments);
        let is_to_many = email.individual && message.to.len() > 1;
        add(is_to_many, "its recipients: each of them saw no address but its own, and a copy would name all of them to each other");
        add(email.individual, "what was filled in for each recipient");
        add(email.composed, "its content: the client composed the whole mail");
        add(email.amp_html.is_some(), "its AMP part");
        add(!headers.is_empty(), &format!("its further headers: {}", names(headers.iter().map(|header| header.name.as_str()).collect())));
        add(!files.is_empty(), &format!("its files: {}", names(files.iter().map(|file| file.filename.as_str()).collect())));
        let is_watched = email.track.opens || email.track.clicks || email.track.unsubscribe;
        add(is_watched, "its own choice of what is watched: the settings of the domain count");
    }
    add(!message.metadata.is_empty(), "its metadata");
    add(message.callback_url.is_some(), "the address for its events");
    lacking
}

fn page(seat: &Seat, status: StatusCode, draft: &Draft, like: Option<&Message>) -> Response {
    let lacking = like.map(lacking).unwrap_or_default();
    let form = html! {
        form.form method="post" action="/console/messages/new" {
            (ui::csrf(&seat.csrf)) (errors(draft))
            @if let Some(message) = like { input type="hidden" name="like" value=(message.id); }
            @if !lacking.is_empty() {
                (ui::notice(Tone::Warn, html! {
                    "This copy of a message does not have everything of it. It lacks:"
                    ul { @for what in &lacking { li { (what) } } }
                }))
            }
            (Field::select(draft, "channel", "Channel", &CHANNELS).shows("channel"))
            (Field::text(draft, "from", "From").hint(html! {
                span data-when-channel="email" { "An address, with a name if you like: Ann <ann@example.com>." }
                span data-when-channel="sms" { " A number such as +15551230001, a short code, or a name of at most 11 characters." }
            }).required())
            (Field::area(draft, "to", "To", 3).hint("One on a line.").required())
            div.stack data-when-channel="email" {
                (ui::fold(!draft.text("cc").is_empty() || !draft.text("bcc").is_empty() || !draft.text("reply_to").is_empty(), html! { "Copies and answers" }, html! {
                    (Field::area(draft, "cc", "Cc", 2).optional())
                    (Field::area(draft, "bcc", "Bcc", 2).optional())
                    (Field::text(draft, "reply_to", "Answers go to").optional())
                }))
                (Field::text(draft, "subject", "Subject"))
            }
            (Field::area(draft, "text", "Text", 7))
            div.stack data-when-channel="email" { (Field::code(draft, "html", "HTML", 6).optional()) }
            (ui::fold(!draft.text("tags").is_empty() || !draft.text("deliver_at").is_empty(), html! { "Later, labels" }, html! {
                (Field::time(draft, "deliver_at", "Not before").optional())
                (Field::text(draft, "tags", "Tags").hint("Labels, with commas between them.").optional())
            }))
            (tick(draft, "test", "Only a test", "It goes through everything and is never really sent: mail is taken as delivered, SMS goes to the simulator."))
            div.actions { (submit("Send it")) a.button.quiet href=(HERE) { "Cancel" } }
        }
    };
    let content = html! {
        (ui::section("The message", form))
        (ui::section("Try out what can happen", simulator()))
    };
    let page = Page::new("Send a message", HERE).under(&[("Messages", HERE)]).narrow().status(status);
    page.show(seat, content)
}

fn simulator() -> Markup {
    let heads = [Head::new("Recipient"), Head::new("What happens")];
    let row = |channel: &str, from: &str, to: &str, what: &str| {
        html! {
            tr {
                td { a.main-link href=(link("/console/messages/new", [("channel", channel), ("from", from), ("to", to), ("subject", "Trying it out"), ("text", "Hello")])) { code { (to) } } }
                td { (what) }
            }
        }
    };
    html! {
        p { "While the server has no mail relay, e-mail goes to a simulator; so do text messages that are tests, and all of them while there is no carrier. Nothing leaves the server then, and these recipients show what can happen:" }
        (ui::fold(false, html! { "E-mail" }, ui::table("", "Simulated addresses", &heads, html! { @for (to, what) in ADDRESSES { (row("email", "Ann <ann@example.com>", to, what)) } })))
        (ui::fold(false, html! { "SMS" }, ui::table("", "Simulated numbers", &heads, html! { @for (to, what) in NUMBERS { (row("sms", "+15551230001", to, what)) } })))
        p { a href="/console/messages/incoming" { "Simulate a message from a handset" } }
    }
}

/// A field of several addresses, one on a line.
fn addresses(form: &Form, name: &str) -> Value {
    form.lines(name).into()
}

fn document(form: &Form) -> Value {
    let is_sms = form.text("channel") == "sms";
    let mut document = json!({
        "channel": if is_sms { "sms" } else { "email" },
        "from": form.text("from"),
        "to": addresses(form, "to"),
        "test": form.is_ticked("test"),
    });
    let texts: &[&str] = if is_sms { &["text"] } else { &["text", "html"] };
    for name in texts {
        if !form.raw(name).trim().is_empty() {
            document[*name] = form.raw(name).replace("\r\n", "\n").into();
        }
    }
    if !is_sms {
        document["subject"] = form.text("subject").into();
        for name in ["cc", "bcc"] {
            document[name] = addresses(form, name);
        }
        if let Some(address) = form.given("reply_to") {
            document["reply_to"] = address.into();
        }
    }
    if let Some(at) = form.moment("deliver_at") {
        document["deliver_at"] = at.into();
    }
    if let Some(tags) = form.given("tags") {
        document["tags"] = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    }
    document
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
}

async fn send(Post { seat, form }: Post) -> Answer {
    let failure = match seat.api.post::<Accepted>("/messages", &document(&form)).await {
        Ok(accepted) => return Ok(go(&Flash::Queued.to(&messages::address(&accepted.id)))),
        Err(failure) => failure,
    };
    let like = model(&seat, form.given("like")).await?;
    Ok(page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure), like.as_ref()))
}

async fn incoming(seat: Seat) -> Response {
    let draft = Draft::new().set("sender", "+9990000006").set("recipient", "+15551230001").set("text", "Yes please");
    incoming_page(&seat, StatusCode::OK, &draft)
}

fn incoming_page(seat: &Seat, status: StatusCode, draft: &Draft) -> Response {
    let form = html! {
        (ui::notice(Tone::Info, html! { "Nothing is sent. An event " code { "message.received" } " is stored, and goes to everybody who subscribed to it, for real." }))
        form.form method="post" action="/console/messages/incoming" {
            (ui::csrf(&seat.csrf)) (errors(draft))
            (Field::text(draft, "sender", "From (the handset)").mono().required().focus())
            (Field::text(draft, "recipient", "To (your number)").mono().required())
            (Field::area(draft, "text", "Text", 4).required())
            div.actions { (submit("Let it arrive")) a.button.quiet href=(HERE) { "Cancel" } }
        }
    };
    let page = Page::new("A message from a handset", HERE).under(&[("Messages", HERE)]).narrow().status(status);
    page.show(seat, ui::section("Incoming message", form))
}

async fn receive(Post { seat, form }: Post) -> Response {
    let data = json!({
        "channel": "sms",
        "message_id": "simulated",
        "sender": form.text("sender"),
        "recipient": form.text("recipient"),
        "text": form.raw("text"),
    });
    match super::inbox::publish(&seat, "message.received", &data.to_string(), None).await {
        Ok(event) => go(&Flash::Sent.to(&format!("/console/inbox/{}", segment(&event.id)))),
        Err(failure) => incoming_page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &Draft::from(form).refused(&failure)),
    }
}
