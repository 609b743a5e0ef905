//! What a member changes of its own: sessions, password, name, second factor.

use std::sync::Arc;

use posthaste_domain::people::{Member, Session, Totp, check_password, fold_email, totp};
use posthaste_domain::resource::Workspace;
use posthaste_engine::ResourceError;

use super::{People, PeopleError, SignedIn, Visitor, hash};

/// A second factor that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotpEnrolment {
    /// The secret in base 32, to be typed.
    pub secret: String,
    /// The `otpauth:` address, for a QR code.
    pub uri: String,
}

impl People {
    /// The member's living sessions, the one that was seen last first.
    pub fn sessions(&self, who: &SignedIn) -> Vec<Arc<Session>> {
        let (lifetimes, now_ms) = (self.engine().settings().sessions, self.engine().now_ms());
        let mut all = self.engine().sessions_of(&who.member.id);
        all.retain(|session| session.is_alive(lifetimes, now_ms));
        all
    }

    /// Ends one of the member's sessions.
    pub async fn revoke(&self, who: &SignedIn, session_id: &str) -> Result<(), PeopleError> {
        let id = session_id.to_owned();
        match self.engine_by(who).end_sessions(&who.member, true, move |session| session.id == id).await? {
            0 => Err(ResourceError::NotFound.into()),
            _ => Ok(()),
        }
    }

    /// Ends all of the member's sessions but this one; answers how many.
    pub async fn revoke_others(&self, who: &SignedIn) -> Result<usize, PeopleError> {
        let own = who.session.id.clone();
        Ok(self.engine_by(who).end_sessions(&who.member, true, move |session| session.id != own).await?)
    }

    /// Gives the member a new name.
    pub async fn rename(&self, who: &SignedIn, name: &str) -> Result<(), PeopleError> {
        let name = name.to_owned();
        let change = move |old: &Member| Ok(Member { name: name.clone(), ..old.clone() });
        self.engine_by(who).change_member(&who.member.id, change).await?;
        Ok(())
    }

    /// Gives the member a new password and ends its other sessions.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`] if the old one is wrong; throttled as log-ins are.
    pub async fn change_password(&self, who: &SignedIn, old: &str, new: &str, visitor: &Visitor) -> Result<(), PeopleError> {
        self.check_own_password(who, old, visitor).await?;
        let doc = &who.member.doc;
        check_password(new, &doc.email, &doc.name).map_err(|reason| PeopleError::invalid("password", reason))?;
        let hashed = self.inner.passwords.hash(new).await?;
        let change = move |old: &Member| Ok(Member { password: Some(hashed.clone()), link: None, ..old.clone() });
        let by = self.engine_by(who);
        by.change_member(&who.member.id, change).await?;
        let own = who.session.id.clone();
        by.end_sessions(&who.member, true, move |session| session.id != own).await?;
        Ok(())
    }

    /// Whether this is the member's password; as slow and as limited as a log-in.
    async fn check_own_password(&self, who: &SignedIn, password: &str, visitor: &Visitor) -> Result<(), PeopleError> {
        let folded = fold_email(&who.member.doc.email);
        self.throttle(&folded, visitor)?;
        let known = self.engine().member(&who.member.id).and_then(|member| member.doc.password.clone());
        if !self.inner.passwords.verify(password, known).await? {
            return Err(PeopleError::Wrong);
        }
        self.inner.throttle.lock().succeeded(&folded, visitor.ip);
        Ok(())
    }

    /// Makes a secret for the second factor. It counts once [`Self::confirm_totp`] was given a code of it, within ten minutes. It takes the
    /// password: whoever finds a session open must not be able to lock its owner out.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`] if the password is wrong; [`PeopleError::HasSecondFactor`] when there is one, which is turned off first.
    pub async fn begin_totp(&self, who: &SignedIn, password: &str, visitor: &Visitor) -> Result<TotpEnrolment, PeopleError> {
        self.has_no_totp(who)?;
        self.check_own_password(who, password, visitor).await?;
        let secret = totp::to_base32(&rand::random::<[u8; totp::SECRET_BYTES]>());
        self.inner.pending.lock().put(who.session.id.clone(), secret.clone(), self.engine().now_ms());
        let workspace = self.engine().workspaces().first().and_then(|number| self.engine().by_number::<Workspace>(*number));
        let issuer = workspace.map_or_else(|| "Posthaste".to_owned(), |workspace| format!("Posthaste {}", workspace.doc.name));
        let uri = totp::uri(&secret, &issuer, &who.member.doc.email);
        Ok(TotpEnrolment { secret, uri })
    }

    fn has_no_totp(&self, who: &SignedIn) -> Result<(), PeopleError> {
        let has_one = self.engine().member(&who.member.id).is_some_and(|member| member.doc.totp.is_some());
        if has_one { Err(PeopleError::HasSecondFactor) } else { Ok(()) }
    }

    /// Turns the second factor on; answers the recovery codes, this once.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`] for a wrong code; [`PeopleError::Link`] when it has to begin again.
    pub async fn confirm_totp(&self, who: &SignedIn, code: &str) -> Result<Vec<String>, PeopleError> {
        self.has_no_totp(who)?;
        let now_ms = self.engine().now_ms();
        let secret = self.inner.pending.lock().attempt(&who.session.id, now_ms).ok_or(PeopleError::Link)?;
        let last_step = totp::verify(&secret, -1, code, now_ms).ok_or(PeopleError::Wrong)?;
        let codes: Vec<String> = (0..totp::RECOVERY_CODES).map(|_| totp::recovery_code(rand::random())).collect();
        let recovery = codes.iter().map(|code| hash(&totp::fold_recovery(code))).collect();
        let totp = Totp { secret, last_step, recovery };
        let change = move |old: &Member| Ok(Member { totp: Some(totp.clone()), ..old.clone() });
        self.engine_by(who).change_member(&who.member.id, change).await?;
        self.inner.pending.lock().remove(&who.session.id);
        Ok(codes)
    }

    /// Turns the second factor off.
    ///
    /// # Errors
    /// [`PeopleError::Wrong`] if the password is wrong.
    pub async fn remove_totp(&self, who: &SignedIn, password: &str, visitor: &Visitor) -> Result<(), PeopleError> {
        self.check_own_password(who, password, visitor).await?;
        let change = |old: &Member| Ok(Member { totp: None, ..old.clone() });
        self.engine_by(who).change_member(&who.member.id, change).await?;
        Ok(())
    }
}
