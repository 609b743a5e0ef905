//! Ways in: the first set-up, a password, a second factor.

use posthaste_domain::id;
use posthaste_domain::people::{Member, Role, Session, check_password, fold_email, totp};
use posthaste_domain::resource::Workspace;
use posthaste_engine::Entry;

use super::{HeaderValue, NewSession, People, PeopleError, SignedIn, Visitor, cookie, csrf_of, hash, random_token};

/// Who sets an installation up.
#[derive(Clone, Debug, Default)]
pub struct FirstMember {
    /// New name of the first workspace; empty leaves it.
    pub organisation: String,
    /// Name of the administrator.
    pub name: String,
    /// Its address.
    pub email: String,
    /// Its password.
    pub password: String,
}

/// How far a log-in came.
#[derive(Debug)]
pub enum Login {
    /// Signed in.
    Done(Box<NewSession>),
    /// The password was right, and the member has a second factor: [`People::login_code`] takes this ticket and a code, within ten minutes.
    CodeNeeded {
        /// Belongs into the form for the code.
        ticket: String,
    },
}

impl People {
    /// A new link for the first member, in place of the one before: the token of `/console/setup?token=…`. None when there is a member.
    pub fn new_setup_token(&self) -> Option<String> {
        if self.has_members() {
            return None;
        }
        let token = random_token();
        *self.inner.setup.lock() = Some(hash(&token));
        Some(token)
    }

    /// Whether this is the token of the set-up link, and there is no member yet.
    pub fn is_setup_token(&self, token: &str) -> bool {
        !self.has_members() && self.inner.setup.lock().as_deref() == Some(hash(token).as_str())
    }

    /// Makes the first member, an administrator of every workspace that there is, and signs it in. The link works no more.
    ///
    /// # Errors
    /// [`PeopleError::Link`] for another token or when there is a member; a field at fault is named.
    pub async fn set_up(&self, token: &str, first: FirstMember, visitor: &Visitor) -> Result<NewSession, PeopleError> {
        if !self.is_setup_token(token) {
            return Err(PeopleError::Link);
        }
        let FirstMember { organisation, name, email, password } = first;
        check_password(&password, email.trim(), name.trim()).map_err(|reason| PeopleError::invalid("password", reason))?;
        if organisation.chars().count() > 255 || organisation.chars().any(char::is_control) {
            return Err(PeopleError::invalid("organisation", "must be at most 255 characters without control characters"));
        }
        let password = self.inner.passwords.hash(&password).await?;
        let rooms = self.engine().workspaces().into_iter().filter_map(|number| self.engine().by_number::<Workspace>(number));
        let roles = rooms.map(|workspace| (workspace.id.clone(), Role::Administrator)).collect();
        let doc = Member { name, email, password: Some(password), totp: None, link: None, roles, disabled: false };
        let member = self.engine().create_first_member(organisation.trim().to_owned(), doc).await?;
        *self.inner.setup.lock() = None;
        tracing::info!(member = member.id, "the installation was set up");
        self.begin(&member.id, visitor).await
    }

    /// Signs a member in by password.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`], whatever of the two is wrong; [`PeopleError::Throttled`] after several failures.
    pub async fn login(&self, email: &str, password: &str, visitor: &Visitor) -> Result<Login, PeopleError> {
        let folded = fold_email(email);
        self.throttle(&folded, visitor)?;
        let member = self.engine().member_by_email(&folded).filter(|member| !member.doc.disabled);
        let known = member.as_ref().and_then(|member| member.doc.password.clone());
        // A password that is too long to be one is not worth hashing; it is as wrong as any.
        let fits = self.inner.passwords.verify(password.get(..1024).unwrap_or(password), known).await? && password.len() <= 1024;
        let Some(member) = member.filter(|_| fits) else {
            tracing::warn!(ip = ?visitor.ip, "a sign-in was refused");
            return Err(PeopleError::Wrong);
        };
        if member.doc.totp.is_none() {
            self.inner.throttle.lock().succeeded(&folded, visitor.ip);
        }
        self.first_factor_shown(&member, visitor).await
    }

    /// Signs a member in that has no second factor; else makes the ticket for the code.
    pub(super) async fn first_factor_shown(&self, member: &Entry<Member>, visitor: &Visitor) -> Result<Login, PeopleError> {
        if member.doc.totp.is_none() {
            return Ok(Login::Done(Box::new(self.begin(&member.id, visitor).await?)));
        }
        let ticket = random_token();
        self.inner.pending.lock().put(hash(&ticket), member.id.clone(), self.engine().now_ms());
        Ok(Login::CodeNeeded { ticket })
    }

    /// The second step of a log-in: a code of the authenticator, or a recovery code, which works once.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`] for a wrong code; [`PeopleError::Link`] when the log-in has to begin again.
    pub async fn login_code(&self, ticket: &str, code: &str, visitor: &Visitor) -> Result<NewSession, PeopleError> {
        let ticket = hash(ticket);
        let now_ms = self.engine().now_ms();
        let id = self.inner.pending.lock().attempt(&ticket, now_ms).ok_or(PeopleError::Link)?;
        let member = self.engine().member(&id).filter(|member| !member.doc.disabled).ok_or(PeopleError::Link)?;
        let folded = fold_email(&member.doc.email);
        self.throttle(&folded, visitor)?;
        self.use_code(&id, code).await?;
        self.inner.pending.lock().remove(&ticket);
        self.inner.throttle.lock().succeeded(&folded, visitor.ip);
        self.begin(&id, visitor).await
    }

    /// Takes a code of a member's second factor, durably, so that it never works again.
    async fn use_code(&self, id: &str, code: &str) -> Result<(), PeopleError> {
        let recovery = hash(&totp::fold_recovery(code));
        loop {
            let member = self.engine().member(id).ok_or(PeopleError::Link)?;
            let used = member.doc.totp.as_ref().and_then(|totp| totp.used(code, &recovery, self.engine().now_ms()));
            let Some(totp) = used else { return Err(PeopleError::Wrong) };
            // Only over what was looked at: of two requests with one code, one is refused.
            let doc = Member { totp: Some(totp), ..member.doc.clone() };
            let by = self.engine().by(member.doc.actor(id));
            match by.replace_member(&member, doc).await {
                Ok(_) => return Ok(()),
                Err(posthaste_engine::ResourceError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn throttle(&self, folded: &str, visitor: &Visitor) -> Result<(), PeopleError> {
        let left_ms = self.inner.throttle.lock().attempt(folded, visitor.ip, self.engine().now_ms());
        left_ms.map_err(|ms| PeopleError::Throttled { seconds: u32::try_from(ms.div_euclid(1000) + 1).unwrap_or(u32::MAX) })
    }

    /// Begins a session of a member.
    pub(super) async fn begin(&self, id: &str, visitor: &Visitor) -> Result<NewSession, PeopleError> {
        let member = self.engine().member(id).ok_or(PeopleError::Wrong)?;
        let (token, now_ms) = (random_token(), self.engine().now_ms());
        let session = Session {
            id: id::resource_id("ses", now_ms, rand::random()),
            token_hash: hash(&token),
            member: id.to_owned(),
            user_agent: visitor.user_agent.clone(),
            ip: visitor.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            created_ms: now_ms,
            seen_ms: now_ms,
        };
        let session = self.engine().begin_session(session).await?;
        let seconds = self.engine().settings().sessions.absolute.as_secs();
        let cookie = cookie::write(&token, seconds, self.is_secure());
        Ok(NewSession { signed_in: SignedIn { member, session, csrf: csrf_of(&token) }, cookie })
    }

    /// Ends the session; answers the `Set-Cookie` that takes the cookie away.
    pub async fn logout(&self, who: &SignedIn) -> Result<HeaderValue, PeopleError> {
        let id = who.session.id.clone();
        self.engine_by(who).end_sessions(&who.member, false, move |session| session.id == id).await?;
        Ok(self.no_cookie())
    }

    /// The `Set-Cookie` that takes the cookie away, whatever becomes of the session.
    pub fn no_cookie(&self) -> HeaderValue {
        cookie::write("", 0, self.is_secure())
    }
}
