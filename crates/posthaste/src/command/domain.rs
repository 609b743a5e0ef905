//! `posthaste domain`: lists, makes and deletes the domains that mail is sent from.

use serde_json::{Value, json};

use super::{all_items, say_json, text};
use crate::client::{Client, Remote, encode};
use crate::failure::Failure;
use crate::term::{Style, paint, say, table};

/// Lists, makes and deletes the domains that mail is sent from.
#[derive(Debug, clap::Args)]
pub struct Domains {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists all domains.
    List,
    /// Makes a domain: `posthaste domain create mail.example.com`.
    Create {
        /// Its name.
        name: String,
        /// Watch who opens mails.
        #[arg(long)]
        track_opens: bool,
        /// Watch who follows links.
        #[arg(long)]
        track_clicks: bool,
        /// Offer a link to unsubscribe in every mail.
        #[arg(long)]
        track_unsubscribe: bool,
        /// Selector of the key that signs its mails (DKIM).
        #[arg(long, value_name = "SELECTOR", requires = "dkim_key")]
        dkim_selector: Option<String>,
        /// File with the private key, PEM.
        #[arg(long, value_name = "FILE", requires = "dkim_selector")]
        dkim_key: Option<std::path::PathBuf>,
    },
    /// Deletes a domain: nothing can be sent from it any more.
    Delete {
        /// Its name, or its id as `domain list` shows it.
        domain: String,
    },
}

impl Domains {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Create { name, track_opens, track_clicks, track_unsubscribe, dkim_selector, dkim_key } => {
                let mut body = json!({
                    "name": name, "track": {"opens": track_opens, "clicks": track_clicks, "unsubscribe": track_unsubscribe}
                });
                if let (Some(selector), Some(file)) = (dkim_selector, dkim_key) {
                    let key = std::fs::read_to_string(&file)
                        .map_err(|error| Failure::refused(format!("cannot read {}: {error}", file.display())))?;
                    body["dkim"] = json!({"selector": selector, "private_key": key});
                }
                let made = client.post("/domains", &body).await?;
                if json {
                    say_json(&made);
                } else {
                    say(format!("{} {} {}", paint(Style::Good, "made"), text(&made, "/id"), text(&made, "/name")));
                }
                Ok(())
            }
            Action::Delete { domain } => {
                let all = all_items(&client, "/domains").await?;
                let id = all
                    .iter()
                    .find(|known| text(known, "/name").eq_ignore_ascii_case(&domain))
                    .map_or(&*domain, |known| text(known, "/id"));
                client.delete(&format!("/domains/{}", encode(id))).await?;
                if json {
                    say_json(&json!({"deleted": id}));
                } else {
                    say(format!("{} {domain}", paint(Style::Good, "deleted")));
                }
                Ok(())
            }
        }
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let domains = all_items(client, "/domains").await?;
    if json {
        say_json(&json!({"items": domains}));
        return Ok(());
    }
    let watched = |domain: &Value| {
        let is_on = |name: &&str| domain.pointer(&format!("/track/{name}")).and_then(Value::as_bool).unwrap_or(false);
        ["opens", "clicks", "unsubscribe"].into_iter().filter(is_on).collect::<Vec<_>>().join(" ")
    };
    let row = |domain: &Value| {
        vec![text(domain, "/id").to_owned(), text(domain, "/name").to_owned(), watched(domain), text(domain, "/dkim/selector").to_owned()]
    };
    let rows: Vec<Vec<String>> = domains.iter().map(row).collect();
    table(&["id", "name", "watched", "dkim"], &rows);
    Ok(())
}
