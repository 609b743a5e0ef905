//! How a command ends badly: a message, what to do about it, and an exit code.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::config::load::ConfigError;
use crate::node::StartError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was done, and the answer is no: a refused request, a failed delivery, a broken sample.
    #[error("{message}")]
    Refused {
        /// What happened.
        message: String,
        /// What to do, if that is known.
        hint: Option<String>,
    },
    /// The server cannot start as it was told to.
    #[error("{message}")]
    Start {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server that a client command speaks to did not help.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Reading or writing here failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Stopped by hand.
    #[error("interrupted")]
    Interrupted,
}

/// Exit codes, as `posthaste --help` lists them.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 refused or failed; 2 wrong usage, wrong configuration, or the server cannot start (data directory \
     in use, port busy); 3 server not reachable; 4 key missing or not allowed; 130 stopped by Ctrl-C.";

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start { message: chain(&error), hint: error.hint() }
    }
}

/// An error and its causes, those left out that the text before repeats.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let part = current.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = current.source();
    }
    text
}

impl Failure {
    /// A refusal without advice.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: None }
    }

    /// A failed system call, with what it was for.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused { .. } | Self::Io { .. } => 1,
            Self::Start { .. } | Self::Config(_) => 2,
            Self::Client(error) => error.exit_code(),
            Self::Interrupted => 130,
        })
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { hint, .. } | Self::Start { hint, .. } => hint.clone(),
            Self::Config(_) => Some("`posthaste check --example` prints every setting with its default".into()),
            Self::Client(error) => error.hint(),
            Self::Io { .. } | Self::Interrupted => None,
        }
    }
}
