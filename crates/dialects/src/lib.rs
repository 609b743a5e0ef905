//! Dialects: one folder per vendor, and all that is known of a vendor is in its folder.
//!
//! A dialect is a way to say the one life of an event: routes that take it in or show it ([`router`]), and wire formats that send it
//! out ([`formats`]). Adding a vendor is one folder and one line in each of these two functions.

pub mod accounts;
pub mod auth;
mod body;
pub mod client;
mod json;
pub mod mailgun;
pub mod messagemedia;
pub mod momentum;
pub mod msggo;
pub mod msgine;
pub mod standard;

#[cfg(test)]
mod fixture;

use axum::Router;
use posthaste_engine::{Engine, Formats};

use accounts::Accounts;

/// Settings of all dialects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DialectSettings {
    /// Mailgun: webhooks, events, sending.
    pub mailgun: mailgun::MailgunSettings,
    /// MessageMedia: webhooks about text messages, with templates.
    pub messagemedia: messagemedia::MessageMediaSettings,
    /// Momentum: webhooks that get batches of email events.
    pub momentum: momentum::MomentumSettings,
    /// MsGine: SMS and their webhooks.
    pub msgine: msgine::MsgineSettings,
    /// The MsgGO inbox.
    pub msggo: msggo::MsggoSettings,
}

/// Every wire format that a subscription can name.
pub fn formats(settings: &DialectSettings) -> Formats {
    let mut formats = Formats::default().with(standard::StandardFormat).with(standard::RawFormat).with(msggo::MsggoFormat);
    if settings.messagemedia.enabled {
        formats = formats.with(messagemedia::MessageMediaFormat::new(&settings.messagemedia));
    }
    if settings.momentum.enabled {
        formats = formats.with(momentum::MomentumFormat::new(&settings.momentum));
    }
    if settings.msgine.enabled {
        formats = formats.with(msgine::MsgineFormat::new(&settings.msgine));
    }
    if settings.mailgun.enabled {
        formats = formats.with(mailgun::MailgunFormat::new(&settings.mailgun));
    }
    formats
}

/// How workspaces' settings in the dialects are read and written.
pub fn accounts(settings: &DialectSettings) -> Accounts {
    Accounts::default()
        .with(mailgun::MailgunAccounts(settings.mailgun.clone()))
        .with(messagemedia::MessageMediaAccounts(settings.messagemedia.clone()))
        .with(msgine::MsgineAccounts(settings.msgine.clone()))
}

/// The routes of every dialect.
pub fn router(engine: Engine, settings: DialectSettings) -> Router {
    Router::new()
        .merge(mailgun::router(mailgun::MailgunState::new(engine.clone(), settings.mailgun)))
        .merge(messagemedia::router(messagemedia::MessageMediaState::new(engine.clone(), settings.messagemedia)))
        .merge(momentum::router(momentum::MomentumState::new(engine.clone(), settings.momentum)))
        .merge(msgine::router(msgine::MsgineState::new(engine.clone(), settings.msgine)))
        .merge(msggo::router(msggo::MsggoState::new(engine, settings.msggo)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_format_is_found_by_its_name() {
        let formats = super::formats(&super::DialectSettings::default());
        for name in ["standard", "raw", "msggo", "momentum", "msgine", "mailgun", "messagemedia"] {
            assert_eq!(formats.get(name).map(|format| format.name()), Some(name));
        }
        assert_eq!(formats.names().count(), 7);
    }
}
