//! People: who may sign in to an installation, how they prove who they are, and who did what.
//!
//! Pure rules only. Hashing passwords costs time on purpose and belongs to the shell; so do clocks and random numbers.

mod actor;
pub mod audit;
mod member;
mod session;
mod throttle;
pub mod totp;

pub use actor::Actor;
pub use member::{
    INSTALLATION, MAX_PASSWORD_BYTES, MIN_PASSWORD, Member, PasswordLink, Role, Totp, check_email, check_password, fold_email,
};
pub use session::{Lifetimes, MAX_SESSIONS, MAX_USER_AGENT, Session, TOUCH_EVERY_MS};
pub use throttle::Throttle;
