//! Links with which a member chooses a password: for who was invited, and for who forgot it.

use std::sync::Arc;

use posthaste_domain::people::{Member, PasswordLink, check_password};
use posthaste_domain::signature::constant_time_eq;
use posthaste_engine::{Engine, Entry};

use super::enter::Login;
use super::{People, PeopleError, Visitor, hash, random_token};

/// How long a link works.
const LIFE_MS: i64 = 3 * 86_400_000;

/// Path of the page that takes the token of a link.
pub const PASSWORD_PATH: &str = "/console/password?token=";
/// Path of the page that takes the token of the set-up link.
pub const SETUP_PATH: &str = "/console/setup?token=";

impl People {
    /// Gives a member a new link, in place of the one before; answers its token. `engine` is in the hands of who asks for it.
    pub async fn new_link(&self, engine: &Engine, id: &str) -> Result<String, PeopleError> {
        let (token, link) = self.invitation();
        engine.change_member(id, move |old| Ok(Member { link: Some(link.clone()), ..old.clone() })).await?;
        Ok(token)
    }

    /// A link for a member that is about to be made, and its token.
    pub(crate) fn invitation(&self) -> (String, PasswordLink) {
        let token = random_token();
        let link = PasswordLink { token_hash: hash(&token), expires_ms: self.engine().now_ms() + LIFE_MS };
        (token, link)
    }

    /// The member that a link is for, if it still works.
    pub fn link_member(&self, token: &str) -> Option<Arc<Entry<Member>>> {
        let (hash, now_ms) = (hash(token), self.engine().now_ms());
        let fits = |member: &Arc<Entry<Member>>| {
            let link = member.doc.link.as_ref().filter(|link| link.expires_ms > now_ms);
            link.is_some_and(|link| constant_time_eq(link.token_hash.as_bytes(), hash.as_bytes())) && !member.doc.disabled
        };
        self.engine().people().into_iter().find(fits)
    }

    /// Gives the member of a link this password and signs it in, once it has shown its second factor if it has one: who can read a mailbox
    /// or chat is not yet who holds the phone. The link works no more, and all its sessions end.
    ///
    /// # Errors
    /// [`PeopleError::Link`] when the link does not work; a password that cannot be used is named.
    pub async fn use_link(&self, token: &str, password: &str, visitor: &Visitor) -> Result<Login, PeopleError> {
        let member = self.link_member(token).ok_or(PeopleError::Link)?;
        check_password(password, &member.doc.email, &member.doc.name).map_err(|reason| PeopleError::invalid("password", reason))?;
        let hashed = self.inner.passwords.hash(password).await?;
        let by = self.engine().by(member.doc.actor(&member.id));
        // Only over what was looked at: of two requests with one link, one is refused.
        let doc = Member { password: Some(hashed), link: None, ..member.doc.clone() };
        by.replace_member(&member, doc).await.map_err(|error| match error {
            posthaste_engine::ResourceError::Conflict { .. } => PeopleError::Link,
            error => error.into(),
        })?;
        by.end_sessions(&member, true, |_| true).await?;
        self.first_factor_shown(&member, visitor).await
    }
}
