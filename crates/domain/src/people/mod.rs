//! People: who may sign in to an installation, how they prove who they are, and who did what.
//!
//! Pure rules only. Hashing passwords costs time on purpose and belongs to the shell; so do clocks and random numbers.

mod actor;
mod member;

pub use actor::Actor;
pub use member::{
    INSTALLATION, MAX_PASSWORD_BYTES, MIN_PASSWORD, Member, PasswordLink, Role, Totp, check_email, check_password, fold_email,
};
