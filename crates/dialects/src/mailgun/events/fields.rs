//! Fields that the Events API filters by, and where their values come from (section 10.3 of the documents).

use serde::{Deserialize, Serialize};

use super::super::event::Facts;

/// A filter field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Field {
    Event,
    List,
    Attachment,
    From,
    MessageId,
    Subject,
    To,
    Size,
    Recipient,
    Recipients,
    Tags,
    Severity,
}

impl Field {
    const ALL: [Self; 12] = [
        Self::Event,
        Self::List,
        Self::Attachment,
        Self::From,
        Self::MessageId,
        Self::Subject,
        Self::To,
        Self::Size,
        Self::Recipient,
        Self::Recipients,
        Self::Tags,
        Self::Severity,
    ];

    /// By the name of its parameter.
    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Name of its parameter.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::List => "list",
            Self::Attachment => "attachment",
            Self::From => "from",
            Self::MessageId => "message-id",
            Self::Subject => "subject",
            Self::To => "to",
            Self::Size => "size",
            Self::Recipient => "recipient",
            Self::Recipients => "recipients",
            Self::Tags => "tags",
            Self::Severity => "severity",
        }
    }

    /// Its values in an event.
    pub(super) fn values(self, facts: &Facts<'_>) -> Vec<String> {
        match self {
            Self::Event => vec![facts.kind.word().to_owned()],
            Self::List => facts.list().into_iter().collect(),
            Self::Attachment => facts.attachment_names(),
            Self::From | Self::MessageId | Self::Subject | Self::To => {
                facts.header(self.name()).map(|text| text.into_owned()).into_iter().collect()
            }
            Self::Size => vec![facts.size().to_string()],
            Self::Recipient => facts.recipient().map(|text| text.into_owned()).into_iter().collect(),
            Self::Recipients => facts.recipients(),
            Self::Tags => facts.tags(),
            Self::Severity => facts.kind.severity().map(str::to_owned).into_iter().collect(),
        }
    }
}
