//! Members: persons with roles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Actor;
use crate::resource::{Kind, Resource, Scope};

/// Number of the workspace that members are kept under: they belong to the installation, and no workspace has this number.
pub const INSTALLATION: i64 = 0;

/// What a member may do in a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, keys, members and settings included.
    Administrator,
    /// Sees everything but keys and members, publishes, and changes event types, targets, templates and subscriptions.
    Member,
}

impl Role {
    /// The scopes that a key would need for the same.
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Administrator => &[Scope::Admin],
            Self::Member => &[Scope::Publish, Scope::Read, Scope::Manage],
        }
    }

    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Member => "member",
        }
    }
}

/// The second factor of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totp {
    /// The shared secret in base 32, as RFC 4648 writes it.
    pub secret: String,
    /// The last time step that was used; only later ones are taken.
    pub last_step: i64,
    /// Lower-case hex SHA-256 of the recovery codes that are left; each works once.
    pub recovery: Vec<String>,
}

/// A link that was sent to a member to choose a password with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordLink {
    /// Lower-case hex SHA-256 of its token.
    pub token_hash: String,
    /// When it stops working.
    pub expires_ms: i64,
}

/// A person who may sign in. Belongs to the installation and has a role in each workspace that it may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// How it is called.
    pub name: String,
    /// Address, unique without regard to case.
    pub email: String,
    /// Argon2id hash in PHC form; none until the member has chosen a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The second factor, if it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Totp>,
    /// The link that waits to be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<PasswordLink>,
    /// By the id of the workspace.
    pub roles: BTreeMap<String, Role>,
    /// Switched off: cannot sign in, and has no sessions.
    #[serde(default)]
    pub disabled: bool,
}

impl Member {
    /// The role in a workspace.
    pub fn role(&self, workspace_id: &str) -> Option<Role> {
        self.roles.get(workspace_id).copied()
    }

    /// Whether it can sign in and rules a workspace: what must be left of, wherever one is.
    pub fn administers(&self, workspace_id: &str) -> bool {
        !self.disabled && self.role(workspace_id) == Some(Role::Administrator)
    }

    /// The member with this id as who did something.
    pub fn actor(&self, id: &str) -> Actor {
        Actor::Member { id: id.to_owned(), name: self.name.clone() }
    }
}

impl Resource for Member {
    const KIND: Kind = Kind::Member;

    fn secret_pointers(&self) -> Vec<String> {
        let password = self.password.iter().map(|_| "/password".to_owned());
        let link = self.link.iter().map(|_| "/link/token_hash".to_owned());
        password.chain(link).chain(self.totp.iter().flat_map(|_| ["/totp/secret".to_owned(), "/totp/recovery".to_owned()])).collect()
    }
}

/// The form in which addresses are compared.
pub fn fold_email(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Why a text cannot be a member's address.
pub fn check_email(email: &str) -> Result<(), &'static str> {
    let Some((local, domain)) = email.rsplit_once('@') else { return Err("must be an e-mail address") };
    let fits = email.len() <= 254 && !local.is_empty() && domain.contains('.') | (domain == "localhost");
    let clean = !email.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"' | ','));
    if fits && clean && !domain.starts_with('.') && !domain.ends_with('.') { Ok(()) } else { Err("must be an e-mail address") }
}

/// Fewest characters of a password.
pub const MIN_PASSWORD: usize = 10;
/// Most bytes of a password: hashing reads all of them.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Why a text cannot be the password of the member with this address and name. Length is what counts; there are no rules about kinds of
/// characters.
pub fn check_password(password: &str, email: &str, name: &str) -> Result<(), &'static str> {
    let folded = password.to_lowercase();
    let mut characters = folded.chars();
    let first = characters.next();
    if password.chars().count() < MIN_PASSWORD {
        return Err("must have at least 10 characters");
    }
    if password.len() > MAX_PASSWORD_BYTES {
        return Err("must be at most 1024 bytes");
    }
    if characters.all(|c| Some(c) == first) {
        return Err("must not be one character over and over");
    }
    let local = email.split('@').next().unwrap_or_default().to_lowercase();
    if folded == email.to_lowercase() || folded == name.to_lowercase() || folded == local {
        return Err("must not be the name or the address");
    }
    if COMMON.contains(&folded.as_str()) {
        return Err("is one of the first that anybody would try");
    }
    Ok(())
}

/// Long enough, and still the first guesses.
const COMMON: &[&str] = &[
    "1234567890",
    "0123456789",
    "12345678910",
    "123456789a",
    "1q2w3e4r5t",
    "1qaz2wsx3edc",
    "abcdefghij",
    "administrator",
    "changemenow",
    "iloveyou12",
    "letmein123",
    "password01",
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "posthaste1",
    "posthaste123",
    "qwerty1234",
    "qwerty12345",
    "qwertyuiop",
    "welcome123",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_do_everything_but_rule() {
        assert_eq!(Role::Administrator.scopes(), [Scope::Admin]);
        assert!(!Role::Member.scopes().contains(&Scope::Admin));
    }

    #[test]
    fn addresses_are_looked_at() {
        for good in ["ann@example.com", "Ann.B+c@mail.example.co", "root@localhost", "ä@ö.example"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        for bad in
            ["", "ann", "@example.com", "ann@", "ann@example", "a nn@example.com", "ann@example.com.", "\"a\"@x.example", "a@x.example\n"]
        {
            assert!(check_email(bad).is_err(), "{bad}");
        }
        assert_eq!(fold_email(" Ann@Example.COM "), "ann@example.com");
    }

    #[test]
    fn weak_passwords_are_refused() {
        let check = |password: &str| check_password(password, "annabelle.b@example.com", "Annabelle Bee");
        assert_eq!(check("correct horse"), Ok(()));
        assert_eq!(check("ünïcödé pässwörd"), Ok(()));
        for bad in ["", "short", "nine char", "aaaaaaaaaaaaa", "Password123", "Annabelle Bee", "annabelle.B", "annabelle.b@example.com"] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"ab".repeat(600)).is_err());
    }

    #[test]
    fn a_disabled_administrator_does_not_count() {
        let roles = [("wsp_1".to_owned(), Role::Administrator)].into();
        let mut member =
            Member { name: "Ann".into(), email: "ann@x.example".into(), password: None, totp: None, link: None, roles, disabled: false };
        assert!(member.administers("wsp_1") && !member.administers("wsp_2"));
        member.disabled = true;
        assert!(!member.administers("wsp_1"));
    }
}
