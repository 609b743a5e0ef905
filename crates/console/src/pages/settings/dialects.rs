//! What the workspace chose in each dialect. The API knows which fields there are and what they may be; this knows how to ask for them.

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::sample;
use super::{HERE, Items, tabs};
use crate::api::{Api, Failure, segment};
use crate::form::{Draft, Form};
use crate::session::{Post, Seat};
use crate::ui::{self, Choice, Field, Flash, Page, errors, submit, tick};
use crate::{Answer, Console, go};

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/settings/dialects", get(list))
        .route("/settings/dialects/{dialect}", get(show).post(change))
        .route("/settings/dialects/{dialect}/secret", post(new_secret))
}

#[derive(Deserialize)]
struct Name {
    dialect: String,
}

#[derive(Deserialize)]
struct Account {
    dialect: String,
    settings: Value,
    version: i64,
}

/// A dialect as people know it: its name, what is chosen in it, and the secret it signs with.
struct Face {
    title: &'static str,
    about: &'static str,
    secret: Option<&'static str>,
}

fn face(dialect: &str) -> Face {
    match dialect {
        "msgine" => {
            Face { title: "MsGine", about: "Sender, tier, prices, and the secret that signs webhooks.", secret: Some("webhook_secret") }
        }
        "mailgun" => Face { title: "Mailgun", about: "The key that signs webhooks.", secret: Some("signing_key") },
        "messagemedia" => Face { title: "MessageMedia", about: "Features of the account, and the ids that callbacks carry.", secret: None },
        _ => Face { title: "", about: "", secret: None },
    }
}

fn title<'a>(dialect: &'a str, face: &Face) -> &'a str {
    if face.title.is_empty() { dialect } else { face.title }
}

const TIERS: [Choice<'static>; 4] = [
    Choice::new("free", "Free: 60 a minute, 10 a second"),
    Choice::new("starter", "Starter: 100 a minute, 20 a second"),
    Choice::new("professional", "Professional: 500 a minute, 50 a second"),
    Choice::new("enterprise", "Enterprise: limits of its own"),
];

async fn list(seat: Seat) -> Answer {
    let dialects: Items<Name> = seat.api.get("/accounts").await?;
    let content = html! {
        (tabs(&seat, "Dialects"))
        @if dialects.items.is_empty() {
            section.panel-box { (ui::empty("settings", "Nothing to choose", "No dialect that this server speaks keeps settings of a workspace.", html! {})) }
        }
        div.columns {
            @for Name { dialect } in &dialects.items {
                @let face = face(dialect);
                (ui::section(title(dialect, &face), html! {
                    p { (face.about) }
                    div.row { a.button href=(address(dialect)) { "Open" } }
                }))
            }
        }
        p.small.muted { "Momentum, MsgGO and Standard Webhooks keep nothing for a workspace." @if seat.is_operator() { " What holds for the whole server is under Server." } }
    };
    Ok(Page::new("Settings", HERE)
        .lede(html! { "The vendors' APIs that this server speaks, and what this workspace chose in each." })
        .show(&seat, content))
}

fn address(dialect: &str) -> String {
    format!("{HERE}/dialects/{}", segment(dialect))
}

fn path(dialect: &str) -> String {
    format!("/accounts/{}", segment(dialect))
}

async fn show(seat: Seat, Path(dialect): Path<String>) -> Answer {
    let account: Account = seat.api.get(&path(&dialect)).await?;
    let draft = Draft::of(&account.settings).set("version", account.version.to_string());
    Ok(page(&seat, StatusCode::OK, &account, &draft))
}

fn page(seat: &Seat, status: StatusCode, account: &Account, draft: &Draft) -> Response {
    let face = face(&account.dialect);
    let action = address(&account.dialect);
    let content = html! {
        @if let Some(name) = face.secret { (ui::section("Signing secret", secret(seat, &action, account.settings[name].as_str()))) }
        @if account.dialect != "mailgun" {
            (ui::section("Chosen here", html! {
                form.form method="post" action=(action) {
                    (ui::csrf(&seat.csrf)) (errors(draft))
                    input type="hidden" name="version" value=(draft.text("version"));
                    (fields(&account.dialect, draft))
                    div.actions { (submit("Save")) a.button.quiet href="/console/settings/dialects" { "Cancel" } }
                }
            }))
        }
        @if let Some(keys) = account.settings["keys"].as_array() { (ui::section("Signature keys", signature_keys(keys))) }
    };
    let title = title(&account.dialect, &face);
    let page = Page::new(title, HERE).under(&[("Settings", HERE), ("Dialects", "/console/settings/dialects")]).narrow().status(status);
    page.lede(html! { (face.about) }).show(seat, content)
}

fn secret(seat: &Seat, action: &str, secret: Option<&str>) -> Markup {
    let about = "Receivers that check signatures refuse webhooks until they know the new secret.";
    html! {
        @match secret { Some(secret) => (ui::secret("secret", secret)), None => p.muted { "There is none yet." } }
        (ui::fold(false, html! { "Make a new one" }, html! {
            p { (about) }
            (ui::button(&seat.csrf, &format!("{action}/secret"), "danger", "again", "Make a new secret"))
        }))
    }
}

fn signature_keys(keys: &[Value]) -> Markup {
    html! {
        @if keys.is_empty() {
            p.muted { "None. They are made by the API: " code { "POST /v1/iam/signature_keys" } "." }
        } @else {
            ul { @for key in keys {
                li { code { (key["key_id"].as_str().unwrap_or_default()) } ", " (key["digest"].as_str().unwrap_or_default())
                    @if key["enabled"] == true { " – signs callbacks" } }
            } }
        }
    }
}

fn fields(dialect: &str, draft: &Draft) -> Markup {
    match dialect {
        "msgine" => html! {
            (Field::text(draft, "sender_id", "Sender").hint("1 to 11 letters and digits. Empty: the server's default.").mono())
            (Field::select(draft, "tier", "Tier", &TIERS).shows("tier"))
            div.pair data-when-tier="enterprise" {
                (Field::input(draft, "per_minute", "Requests a minute", "number").optional())
                (Field::input(draft, "per_second", "Requests a second", "number").optional())
            }
            div.pair {
                (Field::text(draft, "generation_1.price", "Price of an SMS").hint("A decimal, such as 0.05.").mono())
                (Field::text(draft, "generation_1.currency", "Currency").hint("Three capital letters.").mono())
            }
            div.pair {
                (Field::text(draft, "generation_2.price", "Price of an SMS, second generation").mono())
                (Field::text(draft, "generation_2.currency", "Currency").mono())
            }
            (Field::input(draft, "owner_email", "E-mail of the owner", "email").hint("Is told when a webhook fails for good.").optional())
        },
        "messagemedia" => html! {
            (tick(draft, "signature_keys", "Signature keys", "Callbacks are signed with the keys of the account."))
            (tick(draft, "billing_units", "Billing units", "Callbacks say how many units a message took."))
            (Field::text(draft, "account_id", "Account id").hint("What callbacks carry. Empty: the id of the workspace.").optional().mono())
            (Field::text(draft, "vendor_id", "Vendor id").hint("Empty: the server's default.").optional().mono())
        },
        _ => html! { (Field::code(draft, "json", "Settings (JSON)", 12)) },
    }
}

/// A dialect's settings as the form has them. What is left out goes back to the server's default.
fn document(dialect: &str, form: &Form) -> Result<Value, Failure> {
    match dialect {
        "msgine" => {
            let mut names = vec![
                "sender_id",
                "tier",
                "owner_email",
                "generation_1.price",
                "generation_1.currency",
                "generation_2.price",
                "generation_2.currency",
            ];
            // The other tiers have limits that nobody chooses.
            if form.text("tier") == "enterprise" {
                names.extend(["per_minute", "per_second"]);
            }
            let mut document = form.object(&names);
            for name in ["per_minute", "per_second"] {
                if let Some(number) = document[name].as_str().and_then(|text| text.parse::<u64>().ok()) {
                    document[name] = number.into();
                }
            }
            Ok(document)
        }
        "messagemedia" => {
            let mut document = form.object(&["account_id", "vendor_id"]);
            for name in ["signature_keys", "billing_units"] {
                document[name] = form.is_ticked(name).into();
            }
            Ok(document)
        }
        _ => sample::read("json", form.raw("json")),
    }
}

async fn change(Path(dialect): Path<String>, Post { seat, form }: Post) -> Answer {
    let save = async {
        let mut wanted = json!({"settings": document(&dialect, &form)?});
        if let Some(version) = form.version() {
            wanted["version"] = version.into();
        }
        seat.api.put::<Account>(&path(&dialect), &wanted).await
    };
    match save.await {
        Ok(_) => Ok(go(&Flash::Saved.to(&address(&dialect)))),
        Err(failure) => {
            let account: Account = seat.api.get(&path(&dialect)).await?;
            Ok(page(&seat, StatusCode::UNPROCESSABLE_ENTITY, &account, &Draft::from(form).refused(&failure)))
        }
    }
}

/// Makes a new secret for a dialect that has one; everything else stays as it is, also what somebody else saves at the same time.
pub(in super::super) async fn renew_secret(api: &Api, dialect: &str) -> Result<(), Failure> {
    let account: Account = api.get(&path(dialect)).await?;
    let Some(name) = face(&account.dialect).secret else { return Ok(()) };
    let mut settings: Map<String, Value> = account.settings.as_object().cloned().unwrap_or_default();
    settings.insert(name.to_owned(), Value::Null);
    api.put::<Account>(&path(dialect), &json!({"settings": settings, "version": account.version})).await.map(drop)
}

async fn new_secret(Path(dialect): Path<String>, Post { seat, .. }: Post) -> Answer {
    renew_secret(&seat.api, &dialect).await?;
    Ok(go(&Flash::Rotated.to(&address(&dialect))))
}
