//! `posthaste target`: lists, makes, tests, pauses, resumes and deletes targets.

use serde_json::{Value, json};

use super::{all_items, say_json, text};
use crate::client::{Client, ClientError, Remote, encode};
use crate::failure::Failure;
use crate::term::{Style, harmless, paint, say, table};

/// Lists, makes, tests, pauses, resumes and deletes targets.
#[derive(Debug, clap::Args)]
pub struct Targets {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists all targets with their state.
    List,
    /// Makes a target: `posthaste target create orders --url https://example.com/hook --events 'order.*'`.
    Create {
        /// Its name.
        name: String,
        /// Where a webhook goes.
        #[arg(long, required_unless_present = "settings")]
        url: Option<String>,
        /// The kind of target: webhook, slack, discord, email.
        #[arg(long, default_value = "webhook")]
        channel: String,
        /// Settings of the channel as JSON, beside or instead of --url.
        #[arg(long, value_name = "JSON")]
        settings: Option<String>,
        /// Also subscribe it to these events (a name or a wildcard such as `order.*`). May be repeated.
        #[arg(long = "events", value_name = "PATTERN")]
        events: Vec<String>,
    },
    /// Holds its deliveries; nothing is lost.
    Pause(One),
    /// Lets its deliveries flow again, gently.
    Resume(One),
    /// Sends a sample and shows exactly what came back. Exits with 1 when it was not taken.
    Test(One),
    /// Deletes it; what waits for it is cancelled.
    Delete {
        #[command(flatten)]
        one: One,
        /// Also delete the subscriptions that send to it.
        #[arg(long)]
        subscriptions: bool,
    },
}

#[derive(Debug, clap::Args)]
struct One {
    /// Its id, as `target list` shows it.
    id: String,
}

impl Targets {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Create { name, url, channel, settings, events } => {
                let body = json!({"name": name, "channel": channel, "settings": merged(url, settings.as_deref())?});
                create(&client, &body, &events, json).await
            }
            Action::Pause(One { id }) => change(&client, &id, "pause", "paused", json).await,
            Action::Resume(One { id }) => change(&client, &id, "resume", "resumed", json).await,
            Action::Test(One { id }) => test(&client, &id, json).await,
            Action::Delete { one: One { id }, subscriptions } => delete(&client, &id, subscriptions, json).await,
        }
    }
}

fn merged(url: Option<String>, settings: Option<&str>) -> Result<Value, Failure> {
    let mut merged: serde_json::Map<String, Value> = match settings {
        None => serde_json::Map::new(),
        Some(text) => serde_json::from_str(text).map_err(|e| Failure::refused(format!("--settings is not a JSON object: {e}")))?,
    };
    if let Some(url) = url {
        merged.insert("url".into(), url.into());
    }
    Ok(merged.into())
}

async fn create(client: &Client, body: &Value, events: &[String], json: bool) -> Result<(), Failure> {
    let made = client.post("/targets", body).await?;
    let id = text(&made, "/id");
    let subscription = match events {
        [] => None,
        events => match client.post("/subscriptions", &json!({"event_types": events, "target_id": id})).await {
            Ok(made) => Some(made),
            Err(failure) => {
                // Both or none: the person will mend the command and run it again.
                client.delete(&format!("/targets/{id}")).await?;
                return Err(failure.into());
            }
        },
    };
    if json {
        say_json(&json!({"target": made, "subscription": subscription}));
        return Ok(());
    }
    say(format!("{} {id}", paint(Style::Good, "made")));
    match subscription {
        Some(subscription) => say(format!("{} {} to {}", paint(Style::Good, "subscribed"), text(&subscription, "/id"), events.join(", "))),
        None => say("It gets nothing yet: subscribe it to events with POST /posthaste/v1/subscriptions, or use --events."),
    }
    say(format!("try it: posthaste target test {id}"));
    Ok(())
}

async fn change(client: &Client, id: &str, action: &str, done: &str, json: bool) -> Result<(), Failure> {
    let target = client.post_bytes(&format!("/targets/{}/{action}", encode(id)), bytes::Bytes::new()).await?;
    if json {
        say_json(&target)
    } else {
        say(format!("{} {}", paint(Style::Good, done), text(&target, "/name")))
    }
    Ok(())
}

async fn delete(client: &Client, id: &str, subscriptions: bool, json: bool) -> Result<(), Failure> {
    let mut deleted = Vec::new();
    if subscriptions {
        for subscription in all_items(client, "/subscriptions").await?.iter().filter(|s| text(s, "/target_id") == id) {
            client.delete(&format!("/subscriptions/{}", encode(text(subscription, "/id")))).await?;
            deleted.push(text(subscription, "/id").to_owned());
        }
    }
    client.delete(&format!("/targets/{}", encode(id))).await.map_err(|error| match &error {
        ClientError::Problem { code: Some(code), message, .. } if code == "in_use" => Failure::Refused {
            message: message.clone(),
            hint: Some(format!("with its subscriptions: posthaste target delete {id} --subscriptions")),
        },
        _ => error.into(),
    })?;
    deleted.push(id.to_owned());
    if json {
        say_json(&json!({"deleted": deleted}));
    } else {
        deleted.iter().for_each(|id| say(format!("{} {id}", paint(Style::Good, "deleted"))));
    }
    Ok(())
}

async fn test(client: &Client, id: &str, json: bool) -> Result<(), Failure> {
    let report = client.post_bytes(&format!("/targets/{}/test", encode(id)), bytes::Bytes::new()).await?;
    let delivered = report.get("delivered").and_then(Value::as_bool).unwrap_or(false);
    if json {
        say_json(&report);
    } else {
        let block = |name: &str| {
            for line in text(&report, &format!("/attempt/{name}")).lines() {
                say(format!("  {}", harmless(line)));
            }
        };
        say(paint(Style::Bold, "request"));
        block("request");
        if let Some(status) = report.pointer("/attempt/status").and_then(Value::as_u64) {
            say(format!("{}\n  {status}", paint(Style::Bold, "response")));
            block("response");
            block("response_body");
        }
        if delivered {
            say(paint(Style::Good, "delivered"));
        }
    }
    if delivered {
        return Ok(());
    }
    let (code, message) = (text(&report, "/attempt/error"), text(&report, "/attempt/message"));
    let parts: Vec<&str> = [code, message].into_iter().filter(|part| !part.is_empty()).collect();
    let hint = (code == "address_blocked").then(|| {
        "private, loopback and link-local addresses are refused unless the server is started with --allow-network, e.g. 127.0.0.1/32"
            .to_owned()
    });
    Err(Failure::Refused { message: format!("the sample was not taken: {}", parts.join(": ")), hint })
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let targets = all_items(client, "/targets").await?;
    if json {
        say_json(&json!({"items": targets}));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            let state = Some(text(target, "/health/state")).filter(|s| !s.is_empty()).unwrap_or(text(target, "/status"));
            let reason = Some(text(target, "/health/reason")).filter(|s| !s.is_empty()).unwrap_or(text(target, "/status_reason"));
            let where_to = ["/settings/url", "/settings/to", "/settings/channel"].iter().map(|p| text(target, p)).find(|t| !t.is_empty());
            let where_to = where_to.unwrap_or_default();
            [text(target, "/id"), text(target, "/name"), text(target, "/channel"), state, where_to, reason].map(str::to_owned).to_vec()
        })
        .collect();
    table(&["id", "name", "channel", "state", "to", "reason"], &rows);
    Ok(())
}
