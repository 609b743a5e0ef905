//! `posthaste member`: lists, invites and removes the people who may sign in to the console.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{all_items, say_json, text};
use crate::client::{Client, Remote, encode};
use crate::failure::Failure;
use crate::term::{Style, paint, say, table};

/// Lists, invites and removes the people who may sign in to the console.
#[derive(Debug, clap::Args)]
pub struct Members {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    remote: Remote,
}

/// What a member may do in the workspace.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Everything, keys, members and settings included.
    Administrator,
    /// Everything but keys, members and the audit log.
    Member,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists all members of the workspace.
    List,
    /// Invites somebody, and prints the link with which the person chooses a password.
    Add {
        /// How the person is called.
        name: String,
        /// Its e-mail address.
        email: String,
        /// What it may do.
        #[arg(long, value_enum, default_value_t = Role::Member)]
        role: Role,
    },
    /// Prints a new link with which a member chooses a password: for a lost password or invitation.
    #[command(visible_alias = "reset-password")]
    Link {
        /// Its id or e-mail address.
        member: String,
    },
    /// Removes a member from the workspace.
    Remove {
        /// Its id or e-mail address.
        member: String,
    },
    /// Prints a new link with which the first member makes itself, while there is none.
    SetupLink,
}

impl Members {
    /// Runs it.
    pub async fn run(self, json: bool) -> Result<(), Failure> {
        let client = Client::new(&self.remote)?;
        match self.action {
            Action::List => list(&client, json).await,
            Action::Add { name, email, role } => {
                let role = role.to_possible_value().map(|value| value.get_name().to_owned());
                let made = client.post("/members", &json!({"name": name, "email": email, "role": role})).await?;
                if !json {
                    say(format!("{} {}", paint(Style::Good, "added"), text(&made, "/id")));
                }
                match made.get("url").and_then(Value::as_str) {
                    Some(_) => show_link(&made, json, "It chooses a password here, within three days; the link works once:"),
                    None if json => say_json(&made),
                    None => say("The person was a member of another workspace already, and signs in as before."),
                }
                Ok(())
            }
            Action::Link { member } => {
                let id = find(&client, member).await?;
                let made = client.post_bytes(&format!("/members/{}/link", encode(&id)), bytes::Bytes::new()).await?;
                show_link(&made, json, "It chooses a password here, within three days; the link works once:");
                Ok(())
            }
            Action::Remove { member } => {
                let id = find(&client, member).await?;
                client.delete(&format!("/members/{}", encode(&id))).await?;
                if json {
                    say_json(&json!({"removed": id}));
                } else {
                    say(format!("{} {id}", paint(Style::Good, "removed")));
                }
                Ok(())
            }
            Action::SetupLink => {
                let made = client.post_bytes("/members/setup-link", bytes::Bytes::new()).await?;
                show_link(&made, json, "The first member makes itself here, an administrator; the link works once:");
                Ok(())
            }
        }
    }
}

/// Prints a link, which is never shown again.
fn show_link(made: &Value, json: bool, what: &str) {
    if json {
        say_json(made);
    } else {
        say(format!("\n{what}\n\n  {}\n", paint(Style::Bold, text(made, "/url"))));
    }
}

/// The id of a member that is named by id or address.
async fn find(client: &Client, member: String) -> Result<String, Failure> {
    if !member.contains('@') {
        return Ok(member);
    }
    let members = all_items(client, &format!("/members?search={}", encode(&member))).await?;
    let found = members.iter().find(|known| text(known, "/email").to_lowercase() == member.to_lowercase());
    found.map(|known| text(known, "/id").to_owned()).ok_or_else(|| Failure::refused(format!("there is no member {member}")))
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let members = all_items(client, "/members").await?;
    if json {
        say_json(&json!({"items": members}));
        return Ok(());
    }
    let is = |member: &Value, name: &str| member.get(name).and_then(Value::as_bool).unwrap_or(false);
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|member| {
            let state = match (is(member, "disabled"), is(member, "has_password")) {
                (true, _) => "disabled",
                (false, false) => "invited",
                (false, true) => "active",
            };
            let column = |pointer: &str| text(member, pointer).to_owned();
            vec![column("/id"), column("/role"), state.to_owned(), column("/email"), column("/name")]
        })
        .collect();
    table(&["id", "role", "state", "email", "name"], &rows);
    Ok(())
}
