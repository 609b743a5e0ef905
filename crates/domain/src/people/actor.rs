//! Who did something.

use serde::{Deserialize, Serialize};

/// Who changed the configuration, as the audit log keeps it: the words of that moment, because a key or a member may go later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum Actor {
    /// The server itself: it disabled a target that is gone, say, or carried out what its operator asked for at the command line.
    #[default]
    Server,
    /// A program with a key.
    Key {
        /// Id of the key.
        id: String,
        /// Its description at that time.
        description: String,
    },
    /// A person who signed in.
    Member {
        /// Id of the member.
        id: String,
        /// The name at that time.
        name: String,
    },
}

impl Actor {
    /// Id of the key or member; nothing for the server.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Server => None,
            Self::Key { id, .. } | Self::Member { id, .. } => Some(id),
        }
    }

    /// `server`, `key` or `member`: stable, used on disk and in the API.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Key { .. } => "key",
            Self::Member { .. } => "member",
        }
    }

    /// The description of the key or the name of the member; empty for the server.
    pub fn label(&self) -> &str {
        match self {
            Self::Server => "",
            Self::Key { description, .. } => description,
            Self::Member { name, .. } => name,
        }
    }

    /// From the parts that a row holds.
    pub fn from_parts(kind: &str, id: Option<String>, label: String) -> Option<Self> {
        match (kind, id) {
            ("server", _) => Some(Self::Server),
            ("key", Some(id)) => Some(Self::Key { id, description: label }),
            ("member", Some(id)) => Some(Self::Member { id, name: label }),
            _ => None,
        }
    }
}
