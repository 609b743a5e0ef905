//! Hashing of passwords: argon2id, off the threads that answer requests, and only so many at once, since each takes memory and time on purpose.

use std::sync::Arc;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PeopleError;

/// 19 MiB, two passes, one lane: what OWASP advises at least for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Hashes at once: 76 MiB at most.
const AT_ONCE: usize = 4;
/// Those that may wait besides; more are refused.
const WAITING: usize = 32;

/// A hash of nothing that anybody knows: it is compared with when there is no member, so that this takes as long.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$cG9zdGhhc3RlLWR1bW15$iJ6ESGh7PJM2Y2TxEjI0bC1mMbEJZsgEkFx0RFvtCkI";

/// Hashes and compares passwords.
#[derive(Clone)]
pub(super) struct Passwords {
    at_once: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)), queue: Arc::new(Semaphore::new(AT_ONCE + WAITING)) }
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("the numbers are within argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl Passwords {
    async fn permit(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), PeopleError> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| PeopleError::Busy)?;
        let turn = Arc::clone(&self.at_once).acquire_owned().await.map_err(|_| PeopleError::Busy)?;
        Ok((place, turn))
    }

    /// The hash of a password, in PHC form.
    pub(super) async fn hash(&self, password: &str) -> Result<String, PeopleError> {
        let permit = self.permit().await?;
        let password = password.to_owned();
        let hashed = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).expect("16 bytes are a salt");
            argon2().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
        });
        match hashed.await {
            Ok(Ok(hash)) => Ok(hash),
            Ok(Err(error)) => {
                tracing::error!(%error, "a password could not be hashed");
                Err(PeopleError::Busy)
            }
            Err(_) => Err(PeopleError::Busy),
        }
    }

    /// Whether a password is the one of a hash; with no hash it takes as long and is not.
    pub(super) async fn verify(&self, password: &str, hash: Option<String>) -> Result<bool, PeopleError> {
        let permit = self.permit().await?;
        let password = password.to_owned();
        let verified = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| DUMMY.to_owned());
            let fits = PasswordHash::new(&hash).is_ok_and(|hash| argon2().verify_password(password.as_bytes(), &hash).is_ok());
            known && fits
        });
        verified.await.map_err(|_| PeopleError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_are_recognised_and_salted() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse").await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse").await.expect("hashed"));
        assert!(passwords.verify("correct horse", Some(hash.clone())).await.expect("compared"));
        assert!(!passwords.verify("correct horsf", Some(hash)).await.expect("compared"));
        assert!(!passwords.verify("correct horse", None).await.expect("compared"));
    }

    #[test]
    fn the_dummy_costs_as_much_as_a_real_hash() {
        let dummy = PasswordHash::new(DUMMY).expect("it is well formed");
        let cost = |params: &Params| (params.m_cost(), params.t_cost(), params.p_cost());
        assert_eq!(cost(&Params::try_from(&dummy).expect("it has parameters")), cost(argon2().params()));
        assert_eq!((dummy.algorithm, dummy.version), (Algorithm::Argon2id.ident(), Some(Version::V0x13.into())));
        assert_eq!(dummy.hash.expect("a hash").len(), 32);
    }
}
