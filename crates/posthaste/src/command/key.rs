//! `posthaste key`: lists, makes and deletes keys.

use serde_json::json;

use super::{all_items, say_json, text};
use crate::client::{Client, Remote, encode};
use crate::failure::Failure;
use crate::term::{Style, paint, say, table};

/// Lists, makes and deletes the keys of a workspace.
#[derive(Debug, clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists all keys; tokens are never shown again.
    List,
    /// Makes a key and prints its token, this once.
    Create {
        /// For browsers: may only publish, within limits, from the domains given.
        #[arg(long, requires = "domains")]
        public: bool,
        /// A domain whose pages may use a public key; `*.example.com` covers subdomains. May be repeated.
        #[arg(long = "allow-domain", value_name = "DOMAIN", requires = "public")]
        domains: Vec<String>,
        /// What a private key may do: admin, publish, read, manage. May be repeated; admin otherwise.
        #[arg(long = "scope", value_name = "SCOPE", conflicts_with = "public")]
        scopes: Vec<String>,
        /// What the key is for.
        #[arg(default_value = "")]
        description: String,
    },
    /// Deletes a key: whoever uses it is refused from now on.
    Delete {
        /// Its id, as `key list` shows it.
        id: String,
    },
}

impl Keys {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Create { public, domains, scopes, description } => {
                let mut body = json!({"kind": if public { "public" } else { "private" }, "description": description});
                if public {
                    body["allowed_domains"] = json!(domains);
                } else if !scopes.is_empty() {
                    body["scopes"] = json!(scopes);
                }
                let made = client.post("/keys", &body).await?;
                if json {
                    say_json(&made);
                } else {
                    say(format!("{} {}", paint(Style::Good, "made"), text(&made, "/id")));
                    say(format!("\n  {}\n\nKeep it: it is not shown again.", paint(Style::Bold, text(&made, "/token"))));
                }
                Ok(())
            }
            Action::Delete { id } => {
                client.delete(&format!("/keys/{}", encode(&id))).await?;
                if json {
                    say_json(&json!({"deleted": id}))
                } else {
                    say(format!("{} {id}", paint(Style::Good, "deleted")))
                }
                Ok(())
            }
        }
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let keys = all_items(client, "/keys").await?;
    if json {
        say_json(&json!({"items": keys}));
        return Ok(());
    }
    let joined = |key: &serde_json::Value, name: &str| {
        let items = key.get(name).and_then(serde_json::Value::as_array).into_iter().flatten();
        items.filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(" ")
    };
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            let may = [joined(key, "scopes"), joined(key, "allowed_domains")].join(" ");
            let hint = format!("…{}", text(key, "/token_hint"));
            vec![text(key, "/id").into(), text(key, "/kind").into(), hint, may.trim().into(), text(key, "/description").into()]
        })
        .collect();
    table(&["id", "kind", "token", "may", "description"], &rows);
    Ok(())
}
