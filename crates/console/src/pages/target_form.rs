//! The form of a target: what its channel needs first, policy folded away; and which events it gets, when it is new.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::subscriptions::{self, Groups};
use super::targets::{self, CHANNELS};
use crate::api::{Failure, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Page, errors, fold, submit};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/targets/new", get(new).post(create)).route("/targets/{id}/edit", get(edit).post(save))
}

const METHODS: [Choice<'static>; 5] = [
    Choice::new("POST", "POST"),
    Choice::new("PUT", "PUT"),
    Choice::new("PATCH", "PATCH"),
    Choice::new("DELETE", "DELETE"),
    Choice::new("GET", "GET"),
];
const AUTH: [Choice<'static>; 4] = [
    Choice::new("", "None"),
    Choice::new("bearer", "Bearer token"),
    Choice::new("basic", "Basic"),
    Choice::new("oauth2", "OAuth 2 client credentials"),
];
const TLS: [Choice<'static>; 5] = [
    Choice::new("", "As the server has it"),
    Choice::new("required", "Required"),
    Choice::new("opportunistic", "If offered"),
    Choice::new("wrapper", "From the first byte"),
    Choice::new("none", "None"),
];
const RETRIES: [Choice<'static>; 3] =
    [Choice::new("", "As the format has it"), Choice::new("delays", "These waits"), Choice::new("exponential", "Growing waits")];
const ORDERS: [Choice<'static>; 3] =
    [Choice::new("", "As the format has it"), Choice::new("none", "Any order"), Choice::new("fifo", "In order, one at a time")];

/// Parts of a policy that are texts.
const TEXTS: [&str; 6] = ["timeout", "connect_timeout", "retry_after_max", "order", "batch.wait", "rate.per"];
/// Parts of a policy that are numbers where they can be read as one.
const NUMBERS: [&str; 5] = ["jitter", "concurrency", "batch.events", "batch.bytes", "rate.limit"];

/// What a field holds as JSON: a number if it is one.
fn number(text: &str) -> Value {
    let whole = text.parse::<u64>().ok().map(Number::from);
    whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64)).map_or_else(|| Value::from(text), Value::Number)
}

/// Words with commas, spaces or line breaks between.
fn words(text: &str) -> Vec<&str> {
    text.split([',', ' ', '\n', '\r', '\t']).filter(|word| !word.is_empty()).collect()
}

/// Puts a value at a path with dots, or takes it away; objects that become empty go too.
fn put(object: &mut Map<String, Value>, path: &str, value: Option<Value>) {
    let Some((head, rest)) = path.split_once('.') else {
        match value {
            Some(value) => drop(object.insert(path.to_owned(), value)),
            None => drop(object.remove(path)),
        }
        return;
    };
    let inner = object.entry(head).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    let Value::Object(fields) = inner else { return };
    put(fields, rest, value);
    if fields.is_empty() {
        object.remove(head);
    }
}

/// Lines `name: value` (or `name=value`) as an object, if there are any.
fn pairs(form: &Form, name: &str, between: char) -> Option<Value> {
    Some(form.named_lines(name, between)).filter(|lines| !lines.is_empty()).map(Value::Object)
}

fn settings(form: &Form, channel: &str, old: Map<String, Value>) -> Value {
    let mut settings = old;
    let text = |name: &str| form.given(name).map(Value::from);
    let mut take = |path: &str, value: Option<Value>| put(&mut settings, path, value);
    match channel {
        "webhook" => {
            take("url", text("settings.url"));
            take("method", text("settings.method").filter(|method| method != "POST"));
            take("headers", pairs(form, "settings.headers", ':'));
            take("http_version", form.is_ticked("settings.http_version").then(|| Value::from("1.1")));
            let kind = form.text("auth");
            // Kept of what was there: an access token that nobody typed.
            let is = |word: &str| kind == word;
            take("auth.bearer", text("settings.auth.bearer").filter(|_| is("bearer")));
            take("auth.basic.username", text("settings.auth.basic.username").filter(|_| is("basic")));
            take("auth.basic.password", text("settings.auth.basic.password").filter(|_| is("basic")));
            take("auth.oauth2.url", text("settings.auth.oauth2.url").filter(|_| is("oauth2")));
            take("auth.oauth2.body", pairs(form, "settings.auth.oauth2.body", '=').filter(|_| is("oauth2")));
            for other in ["bearer", "basic", "oauth2"].iter().filter(|other| !is(other)) {
                take(&format!("auth.{other}"), None);
            }
        }
        "slack" => ["webhook_url", "token", "channel", "api_url"].iter().for_each(|name| take(name, text(&format!("settings.{name}")))),
        "discord" => take("webhook_url", text("settings.webhook_url")),
        "email" => {
            let list = |name: &str| {
                let lines = form.lines(name);
                (!lines.is_empty()).then(|| Value::from(lines))
            };
            take("to", list("settings.to"));
            take("cc", list("settings.cc"));
            ["from", "reply_to", "smtp.url", "smtp.tls"].iter().for_each(|name| take(name, text(&format!("settings.{name}"))));
        }
        "sms" => ["to", "from"].iter().for_each(|name| take(name, text(&format!("settings.{name}")))),
        _ => {}
    }
    Value::Object(settings)
}

fn policy(form: &Form, old: Map<String, Value>) -> Option<Value> {
    let mut policy = old;
    for path in TEXTS {
        put(&mut policy, path, form.given(&format!("policy.{path}")).map(Value::from));
    }
    for path in NUMBERS {
        put(&mut policy, path, form.given(&format!("policy.{path}")).map(number));
    }
    for path in ["success", "stop"] {
        let given = form.given(&format!("policy.{path}"));
        put(&mut policy, path, given.map(|text| words(text).into_iter().map(number).collect()));
    }
    let retry = match form.text("retry") {
        "delays" => Some(json!({ "delays": words(form.text("policy.retry.delays")) })),
        "exponential" => {
            let mut exponential = Map::new();
            for name in ["first", "max", "window", "factor"] {
                let text = form.given(&format!("policy.retry.exponential.{name}"));
                put(&mut exponential, name, text.map(|text| if name == "factor" { number(text) } else { Value::from(text) }));
            }
            Some(json!({ "exponential": exponential }))
        }
        _ => None,
    };
    put(&mut policy, "retry", retry);
    (!policy.is_empty()).then_some(Value::Object(policy))
}

/// The target that a form describes. What the form has no field for stays as it was.
fn document(form: &Form, old: Option<&Value>) -> Value {
    let channel = form.text("channel");
    let kept = |name: &str| old.and_then(|old| old.get(name)).and_then(Value::as_object).cloned().unwrap_or_default();
    let is_same = old.is_some_and(|old| old["channel"] == channel);
    let before = if is_same { kept("settings") } else { Map::new() };
    json!({
        "name": form.text("name"),
        "channel": channel,
        "settings": settings(form, channel, before),
        "policy": policy(form, kept("policy")),
    })
}

/// The form of a target that is there.
fn draft_of(target: &Value) -> Draft {
    let mut draft = Draft::of(&json!({
        "name": target["name"], "channel": target["channel"], "settings": target["settings"], "policy": target["policy"], "version": target["version"],
    }));
    let lines = |value: &Value, between: &str| {
        let line = |(name, value): (&String, &Value)| {
            format!("{name}{between}{}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        value.as_object().map(|fields| fields.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap_or_default()
    };
    let list = |value: &Value, between: &str| {
        let item = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        value.as_array().map(|items| items.iter().map(item).collect::<Vec<_>>().join(between))
    };
    let (settings, policy) = (&target["settings"], &target["policy"]);
    draft = draft.set("settings.headers", lines(&settings["headers"], ": "));
    draft = draft.set("settings.auth.oauth2.body", lines(&settings["auth"]["oauth2"]["body"], "="));
    for (name, value, between) in [
        ("settings.to", &settings["to"], "\n"),
        ("settings.cc", &settings["cc"], "\n"),
        ("policy.success", &policy["success"], " "),
        ("policy.stop", &policy["stop"], " "),
        ("policy.retry.delays", &policy["retry"]["delays"], " "),
    ] {
        if let Some(text) = list(value, between) {
            draft = draft.set(name, text);
        }
    }
    let first = |value: &Value| value.as_object().and_then(|fields| fields.keys().next().cloned()).unwrap_or_default();
    draft.set("auth", first(&settings["auth"])).set("retry", first(&policy["retry"]))
}

fn webhook_fields(draft: &Draft) -> Markup {
    let has = |name: &str| !draft.text(name).is_empty() || draft.error(name).is_some();
    let is_open = has("settings.headers")
        || has("settings.auth")
        || has("settings.http_version")
        || !draft.text("auth").is_empty()
        || has("settings.method");
    html! {
        div.form data-when-channel="webhook" {
            (Field::input(draft, "settings.url", "URL", "text").placeholder("https://example.com/hooks").mono().hint("Gets an HTTP request for each delivery, signed by the Standard Webhooks rules unless a subscription names another format."))
            (fold(is_open, html! { "Method, headers, authentication" }, html! {
                (Field::select(draft, "settings.method", "Method", &METHODS))
                (Field::area(draft, "settings.headers", "Headers of your own", 3).mono().optional().hint("One on a line, as Name: value. Stars stand for a stored secret; leave them to keep it."))
                (Field::select(draft, "auth", "Authentication", &AUTH).shows("auth"))
                div.form data-when-auth="bearer" { (Field::text(draft, "settings.auth.bearer", "Token").mono()) }
                div.pair data-when-auth="basic" {
                    (Field::text(draft, "settings.auth.basic.username", "User name").autocomplete("off"))
                    (Field::text(draft, "settings.auth.basic.password", "Password of the receiver").mono())
                }
                div.form data-when-auth="oauth2" {
                    (Field::text(draft, "settings.auth.oauth2.url", "Token URL").mono())
                    (Field::area(draft, "settings.auth.oauth2.body", "Form to post there", 4).mono().hint("One field on a line, as name=value: grant_type=client_credentials, client_id=…, client_secret=…"))
                }
                (ui::tick(draft, "settings.http_version", "HTTP/1.1 only", "For receivers that cannot speak HTTP/2 well."))
            }))
        }
    }
}

fn channel_fields(draft: &Draft) -> Markup {
    html! {
        (webhook_fields(draft))
        div.form data-when-channel="slack discord" {
            (Field::text(draft, "settings.webhook_url", "Incoming webhook URL").mono().hint("From the settings of the Slack or Discord channel. It is a secret: it is stored encrypted and shown as stars."))
        }
        div.form data-when-channel="slack" {
            (fold(!draft.text("settings.token").is_empty() || draft.error("settings.token").is_some() || draft.error("settings.channel").is_some(), html! { "With a bot token instead" }, html! {
                (Field::text(draft, "settings.token", "Bot token").mono().hint("With the scope chat:write. Leave the webhook URL empty then."))
                (Field::text(draft, "settings.channel", "Slack channel").placeholder("#alerts"))
                (Field::text(draft, "settings.api_url", "Address of the Slack API").mono().optional())
            }))
        }
        div.form data-when-channel="email sms" {
            (Field::area(draft, "settings.to", "To", 2).hint("E-mail: addresses, one on a line. SMS: one number with its country code, such as +15551230001."))
            (Field::text(draft, "settings.from", "From").optional().hint("The server's own sender if empty."))
        }
        div.form data-when-channel="email" {
            (fold(["settings.cc", "settings.reply_to", "settings.smtp"].iter().any(|name| !draft.text(name).is_empty() || draft.error(name).is_some()), html! { "Copies, replies, mail relay" }, html! {
                (Field::area(draft, "settings.cc", "Copies to", 2).optional())
                (Field::text(draft, "settings.reply_to", "Reply to").optional())
                (Field::text(draft, "settings.smtp.url", "Relay of its own").mono().optional().placeholder("smtp://user:password@mail.example.com:587"))
                (Field::select(draft, "settings.smtp.tls", "Encryption to the relay", &TLS))
            }))
        }
    }
}

fn policy_fields(draft: &Draft, is_open: bool) -> Markup {
    let text = |name: &'static str, label: &'static str, placeholder: &'static str| {
        Field::text(draft, name, label).placeholder(placeholder).optional()
    };
    fold(
        is_open,
        html! { "Policy: time limits, retries, rate, batches, order" },
        html! {
            p.small.muted { "Empty fields are as each subscription's format has them. Times are a number and a unit: ms, s, m, h, d." }
            div.pair {
                (text("policy.timeout", "Time for an attempt", "15s"))
                (text("policy.connect_timeout", "Time to connect", "5s"))
            }
            (Field::select(draft, "retry", "Retries", &RETRIES).shows("retry"))
            div.form data-when-retry="delays" { (text("policy.retry.delays", "Waits before each further attempt", "5s 5m 30m 2h 5h").mono().hint("With spaces between. Empty: one attempt.")) }
            div.pair data-when-retry="exponential" {
                (text("policy.retry.exponential.first", "First wait", "30s"))
                (text("policy.retry.exponential.factor", "Grows by", "2"))
                (text("policy.retry.exponential.max", "Longest wait", "6h"))
                (text("policy.retry.exponential.window", "Give up after", "24h"))
            }
            div.pair {
                (text("policy.jitter", "Jitter", "0.1").hint("0 to 1, or full."))
                (text("policy.retry_after_max", "Longest Retry-After that is obeyed", "24h"))
            }
            div.pair {
                (text("policy.success", "Statuses that mean delivered", "2xx"))
                (text("policy.stop", "Statuses that end the tries", "410"))
            }
            div.pair {
                (text("policy.rate.limit", "At most so many requests", "50"))
                (text("policy.rate.per", "in any", "1s"))
                (text("policy.concurrency", "At once", "32"))
            }
            div.pair {
                (text("policy.batch.events", "Events in a batch", "100"))
                (text("policy.batch.bytes", "Bytes in a batch", "1MiB"))
                (text("policy.batch.wait", "Longest wait for company", "5s"))
            }
            (Field::select(draft, "policy.order", "Order", &ORDERS))
        },
    )
}

fn page(seat: &Seat, draft: &Draft, status: StatusCode, target: Option<(&str, &str)>, groups: Option<&Groups>) -> Response {
    let action = target.map_or_else(|| "/console/targets/new".to_owned(), |(id, _)| format!("{}/edit", targets::address(id)));
    let back = target.map_or_else(|| "/console/targets".to_owned(), |(id, _)| targets::address(id));
    let is_open = draft.error("policy").is_some() || draft.has_below("policy") || !draft.text("retry").is_empty();
    let content = html! {
        form.form method="post" action=(action) {
            (ui::csrf(&seat.csrf)) (errors(draft))
            input type="hidden" name="version" value=(draft.text("version"));
            (ui::section("Where to", html! {
                div.pair {
                    (Field::text(draft, "name", "Name").required().focus())
                    (Field::select(draft, "channel", "Channel", &CHANNELS).shows("channel"))
                }
                (channel_fields(draft))
            }))
            @if let Some(groups) = groups { (ui::section("Which events", groups.picker(draft, true))) }
            (policy_fields(draft, is_open))
            @if target.is_none() {
                (fold(draft.error("secret").is_some(), html! { "Signing secret of your own" }, html! {
                    (Field::text(draft, "secret", "Secret").mono().optional().hint("whsec_… or whsk_…; one is made if this is empty. For webhooks alone."))
                }))
            }
            div.actions { (submit(if target.is_some() { "Save" } else { "Create target" })) a.button.quiet href=(back) { "Cancel" } }
        }
    };
    match target {
        None => Page::new("New target", "/console/targets")
            .under(&[("Targets", "/console/targets")])
            .narrow()
            .status(status)
            .show(seat, content),
        Some((_, name)) => {
            let crumbs = [("Targets", "/console/targets"), (name, back.as_str())];
            Page::new("Edit target", "/console/targets").under(&crumbs).narrow().status(status).show(seat, content)
        }
    }
}

async fn new(seat: Seat) -> Answer {
    let groups = Groups::read(&seat.api).await?;
    let channel = seat.query.given("channel").unwrap_or("webhook");
    let draft = Draft::new().set("channel", channel).set("settings.url", seat.query.text("url")).set("events", "all");
    Ok(page(&seat, &draft, StatusCode::OK, None, Some(&groups)))
}

#[derive(Deserialize)]
struct MadeTarget {
    id: String,
}

async fn create(Post { seat, form }: Post) -> Answer {
    let groups = Groups::read(&seat.api).await?;
    match make(&seat, &form, &groups).await {
        Ok(id) => Ok(go(&Flash::Created.to(&targets::address(&id)))),
        Err(failure) => Ok(page(&seat, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY, None, Some(&groups))),
    }
}

/// Makes the target and what it subscribes to: both, or neither. Answers the id of the target.
async fn make(seat: &Seat, form: &Form, groups: &Groups) -> Result<String, Failure> {
    let mut wanted = document(form, None);
    if let Some(secret) = form.given("secret") {
        wanted["secret"] = secret.into();
    }
    let Some(types) = groups.chosen(form) else { return Ok(seat.api.post::<MadeTarget>("/targets", &wanted).await?.id) };
    subscriptions::with_target(&seat.api, types, wanted, None).await
}

async fn edit(seat: Seat, Path(id): Path<String>) -> Answer {
    let target: Value = seat.api.get(&format!("/targets/{}", segment(&id))).await?;
    let name = target["name"].as_str().unwrap_or_default();
    Ok(page(&seat, &draft_of(&target), StatusCode::OK, Some((&id, name)), None))
}

async fn save(Path(id): Path<String>, Post { seat, form }: Post) -> Answer {
    let path = format!("/targets/{}", segment(&id));
    let old: Value = seat.api.get(&path).await?;
    let mut wanted = document(&form, Some(&old));
    // What somebody else changed since the form was opened is not overwritten.
    if let Some(version) = form.version() {
        wanted["version"] = version.into();
    }
    match seat.api.put::<Value>(&path, &wanted).await {
        Ok(_) => Ok(go(&Flash::Saved.to(&targets::address(&id)))),
        Err(failure) => {
            let name = old["name"].as_str().unwrap_or_default();
            Ok(page(&seat, &Draft::from(form).refused(&failure), StatusCode::UNPROCESSABLE_ENTITY, Some((&id, name)), None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_comes_out_of_its_form_as_it_went_in() {
        let target = json!({
            "name": "n", "channel": "webhook", "version": 3,
            "settings": {
                "url": "https://a.example/", "method": "PUT", "headers": {"X-A": "1", "X-Key": "********"},
                "auth": {"oauth2": {"url": "https://t.example/", "body": {"client_id": "c"}, "access_token": "********"}},
            },
            "policy": {
                "timeout": "10s", "retry": {"delays": ["5s", "1m"]}, "success": ["2xx", 304], "batch": {"events": 7}, "jitter": 0.5,
                "rate": {"limit": 5, "per": "1s"},
            },
        });
        let draft = draft_of(&target);
        let pairs: Vec<(String, String)> = draft.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        let made = document(&Form::parse(body.as_bytes()), Some(&target));
        for part in ["name", "channel", "settings", "policy"] {
            assert_eq!(made[part], target[part], "{part}");
        }
        let bare = document(&Form::parse(b"name=n&channel=webhook&settings.url=http://b&settings.method=POST&auth=&retry="), Some(&target));
        assert_eq!((&bare["settings"], &bare["policy"]), (&json!({"url": "http://b"}), &Value::Null));
    }

    #[test]
    fn channels_take_what_is_theirs() {
        let form = Form::parse(b"channel=email&settings.to=a@b.example%0Ac@d.example&settings.url=x&settings.webhook_url=y");
        assert_eq!(document(&form, None)["settings"], json!({"to": ["a@b.example", "c@d.example"]}));
        let form = Form::parse(b"channel=sms&settings.to=%2B15551230001&settings.cc=x");
        assert_eq!(document(&form, None)["settings"], json!({"to": "+15551230001"}));
    }
}
