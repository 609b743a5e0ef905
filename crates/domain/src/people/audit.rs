//! The audit log: what was changed, by whom, and from what to what.
//!
//! An entry is made from the documents before and after a change. Invariants:
//! - The value of a secret never gets into an entry, not even as a hash; that it changed does.
//! - An entry is bounded: so many fields, so many characters of each value.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Actor;
use crate::resource::Kind;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Made.
    Create,
    /// Changed in any other way.
    Update,
    /// Deleted.
    Delete,
    /// A target was paused.
    Pause,
    /// A target was resumed.
    Resume,
    /// A target was switched off, or a member.
    Disable,
    /// A secret was exchanged for another.
    Rotate,
    /// A replay was started.
    Start,
    /// A replay was stopped.
    Cancel,
    /// A session was ended by somebody.
    Revoke,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Pause,
        Self::Resume,
        Self::Disable,
        Self::Rotate,
        Self::Start,
        Self::Cancel,
        Self::Revoke,
    ];

    /// Stable name, used on disk and in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Disable => "disable",
            Self::Rotate => "rotate",
            Self::Start => "start",
            Self::Cancel => "cancel",
            Self::Revoke => "revoke",
        }
    }

    /// From the stable name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// What an entry calls a session, which is no catalog document.
pub const SESSION: &str = "session";

/// Most fields of an entry.
pub const MAX_FIELDS: usize = 50;
/// Most characters of a value in an entry, as JSON.
pub const MAX_VALUE: usize = 200;
/// How deep objects are compared; what is deeper counts as one value.
const MAX_DEPTH: usize = 4;

/// One field that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its path, with dots.
    pub field: String,
    /// The value before as JSON, cut at [`MAX_VALUE`]; absent if there was none or if it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value after, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether the values are left out because they are secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at_ms: i64,
    /// Number of the workspace that it concerns; `None`: the workspace that the same change makes.
    pub workspace: Option<i64>,
    /// Who.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what: the name of a [`Kind`], or [`SESSION`].
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its name at that time.
    pub name: String,
    /// What changed.
    pub fields: Vec<FieldChange>,
}

/// A document and the pointers of its secrets.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// The document, secrets in place.
    pub doc: &'a Value,
    /// JSON pointers of its secrets.
    pub secrets: &'a [String],
}

/// Members of documents that are as good as a secret although the store keeps them in the open.
const HIDDEN: [&str; 5] = ["token_hash", "token", "password", "link", "totp"];

/// Whether a change is worth an entry. What the server notes for itself is not: the health of targets, the progress of replays, and bins
/// that strangers make and time takes away.
pub fn is_recorded(kind: Kind, actor: &Actor) -> bool {
    match kind {
        Kind::Health => false,
        Kind::Replay | Kind::Bin => *actor != Actor::Server,
        _ => true,
    }
}

/// What a change of a document amounts to.
pub fn action_of(kind: Kind, before: Option<&Value>, after: Option<&Value>, fields: &[FieldChange]) -> Action {
    let text = |doc: Option<&Value>, name: &str| doc.and_then(|doc| doc.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (before, after) {
        (None, _) if kind == Kind::Replay => Action::Start,
        (None, _) => Action::Create,
        (_, None) => Action::Delete,
        _ => {
            let (was, is) = (text(before, "status"), text(after, "status"));
            let disabled = |doc: Option<&Value>| doc.and_then(|doc| doc.get("disabled")).and_then(Value::as_bool).unwrap_or(false);
            match kind {
                Kind::Target if was != is && is == "paused" => Action::Pause,
                Kind::Target if was != is && is == "active" => Action::Resume,
                Kind::Target if was != is && is == "disabled" => Action::Disable,
                Kind::Member if disabled(after) && !disabled(before) => Action::Disable,
                Kind::Replay if text(after, "state") == "cancelled" => Action::Cancel,
                _ if !fields.is_empty() && fields.iter().all(|field| field.secret) => Action::Rotate,
                _ => Action::Update,
            }
        }
    }
}

/// Whether a change of a member is nothing but a log-in: a code of its second factor was used up. Log-ins are no changes of the configuration.
pub fn is_log_in(kind: Kind, before: Option<&Value>, after: Option<&Value>, fields: &[FieldChange]) -> bool {
    let secret = |doc: Option<&Value>| doc.and_then(|doc| doc.pointer("/totp/secret")).and_then(Value::as_str).map(str::to_owned);
    let is_of_totp = !fields.is_empty() && fields.iter().all(|field| field.field == "totp" || field.field.starts_with("totp."));
    kind == Kind::Member && is_of_totp && secret(before).is_some() && secret(before) == secret(after)
}

/// What people call a resource.
pub fn name_of(doc: &Value) -> String {
    let first = ["name", "description", "dialect", "event_type"].into_iter().find_map(|field| doc.get(field).and_then(Value::as_str));
    let types = || doc.pointer("/event_types/0").and_then(Value::as_str);
    first.filter(|text| !text.is_empty()).or_else(types).unwrap_or_default().chars().take(MAX_VALUE).collect()
}

/// The fields in which two versions differ.
pub fn changes(before: Option<Version<'_>>, after: Option<Version<'_>>) -> Vec<FieldChange> {
    let mut found = Vec::new();
    let secrets: Vec<&str> = before.iter().chain(after.iter()).flat_map(|version| version.secrets.iter()).map(String::as_str).collect();
    let doc = |version: Option<Version<'_>>| version.map(|version| version.doc.clone()).unwrap_or(Value::Null);
    // What is deleted is named, and nothing more: its document stays as a tombstone.
    if after.is_some() {
        compare(&mut String::new(), &doc(before), &doc(after), &secrets, 0, &mut found);
    }
    found
}

fn compare(path: &mut String, before: &Value, after: &Value, secrets: &[&str], depth: usize, found: &mut Vec<FieldChange>) {
    if before == after || found.len() >= MAX_FIELDS {
        return;
    }
    let empty = serde_json::Map::new();
    let object = |value: &'_ Value| value.is_object() || value.is_null();
    let is_open = depth == 0 || !is_secret(path, secrets) || secrets.iter().any(|secret| secret.starts_with(&format!("{path}/")));
    if depth < MAX_DEPTH && object(before) && object(after) && is_open && (before.is_object() || after.is_object()) {
        let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
        let mut names: Vec<&String> = old.keys().collect();
        names.extend(new.keys().filter(|name| !old.contains_key(*name)));
        for name in names {
            let length = path.len();
            path.push('/');
            path.push_str(&name.replace('~', "~0").replace('/', "~1"));
            compare(path, old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), secrets, depth + 1, found);
            path.truncate(length);
        }
        return;
    }
    let secret = is_secret(path, secrets);
    let shown = |value: &Value| if secret || value.is_null() { None } else { Some(cut(value)) };
    let field = path.trim_start_matches('/').replace('/', ".");
    found.push(FieldChange { field, before: shown(before), after: shown(after), secret });
}

/// Whether a value is a secret, is inside of one or has one inside.
fn is_secret(path: &str, secrets: &[&str]) -> bool {
    let top = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let inside = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    HIDDEN.contains(&top) || secrets.iter().any(|secret| inside(secret, path) || inside(path, secret))
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MAX_VALUE {
        return text;
    }
    let mut short: String = text.chars().take(MAX_VALUE - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fields(before: &Value, after: &Value, secrets: &[&str]) -> Vec<(String, Option<String>, Option<String>)> {
        let secrets: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let version = |doc| Some(Version { doc, secrets: &secrets });
        changes(version(before), version(after)).into_iter().map(|f| (f.field, f.before, f.after)).collect()
    }

    #[test]
    fn only_what_differs_is_told() {
        let before = json!({"name": "a", "settings": {"url": "http://a", "method": "POST"}, "types": [1]});
        let after = json!({"name": "a", "settings": {"url": "http://b", "method": "POST"}, "types": [1, 2], "policy": {"timeout": "5s"}});
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            fields(&before, &after, &[]),
            [
                ("settings.url".to_owned(), text("\"http://a\""), text("\"http://b\"")),
                ("types".to_owned(), text("[1]"), text("[1,2]")),
                ("policy.timeout".to_owned(), None, text("\"5s\"")),
            ]
        );
        assert!(fields(&before, &before, &[]).is_empty());
    }

    #[test]
    fn secrets_are_never_told_but_that_they_changed_is() {
        let before = json!({"settings": {"url": "u", "auth": {"password": "old-secret"}}, "signing": [{"secret": "old-secret"}], "token_hash": "old-secret"});
        let after = json!({"settings": {"url": "u", "auth": {"password": "new-secret"}}, "signing": [{"secret": "new-secret"}, {"secret": "old-secret"}], "token_hash": "x"});
        let found = fields(&before, &after, &["/settings/auth/password", "/signing/0/secret"]);
        let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["settings.auth.password", "signing", "token_hash"]);
        assert!(found.iter().all(|(_, before, after)| before.is_none() && after.is_none()));
        let whole = fields(&json!({}), &json!({"settings": {"auth": "new-secret"}}), &["/settings"]);
        assert_eq!(whole, [("settings".to_owned(), None, None)]);
    }

    #[test]
    fn actions_are_called_by_their_names() {
        let action = |kind, before: Option<Value>, after: Option<Value>| {
            let version = |doc: &Option<Value>| doc.clone();
            let (old, new) = (version(&before), version(&after));
            let found =
                changes(old.as_ref().map(|doc| Version { doc, secrets: &[] }), new.as_ref().map(|doc| Version { doc, secrets: &[] }));
            action_of(kind, before.as_ref(), after.as_ref(), &found)
        };
        let status = |text: &str| Some(json!({"status": text, "name": "t"}));
        assert_eq!(action(Kind::Target, None, status("active")), Action::Create);
        assert_eq!(action(Kind::Target, status("active"), status("paused")), Action::Pause);
        assert_eq!(action(Kind::Target, status("paused"), status("active")), Action::Resume);
        assert_eq!(action(Kind::Target, status("active"), status("disabled")), Action::Disable);
        assert_eq!(action(Kind::Target, status("active"), None), Action::Delete);
        assert_eq!(action(Kind::Target, Some(json!({"name": "a"})), Some(json!({"name": "b"}))), Action::Update);
        assert_eq!(action(Kind::Key, Some(json!({"token_hash": "a"})), Some(json!({"token_hash": "b"}))), Action::Rotate);
        assert_eq!(action(Kind::Replay, None, Some(json!({"state": "running"}))), Action::Start);
        assert_eq!(action(Kind::Replay, Some(json!({"state": "running"})), Some(json!({"state": "cancelled"}))), Action::Cancel);
        for known in Action::ALL {
            assert_eq!(Action::from_name(known.name()), Some(known));
        }
    }

    #[test]
    fn a_code_that_is_used_up_is_a_log_in_and_a_new_factor_is_not() {
        let member = |secret: &str, step: i64, codes: &[&str]| json!({"name": "a", "totp": {"secret": secret, "last_step": step, "recovery": codes}});
        fn version(doc: &Value) -> Option<Version<'_>> {
            Some(Version { doc, secrets: &[] })
        }
        let (old, none) = (member("s", 1, &["x", "y"]), json!({"name": "a", "totp": null}));
        for (new, is) in [
            (member("s", 2, &["x", "y"]), true),
            (member("s", 1, &["x"]), true),
            (member("other", 2, &["x", "y"]), false),
            (none.clone(), false),
            (json!({"name": "b", "totp": {"secret": "s", "last_step": 2, "recovery": []}}), false),
        ] {
            let fields = changes(version(&old), version(&new));
            assert_eq!(is_log_in(Kind::Member, Some(&old), Some(&new), &fields), is, "{new}");
        }
        let fields = changes(version(&none), version(&old));
        assert!(!is_log_in(Kind::Member, Some(&none), Some(&old), &fields));
    }

    #[test]
    fn what_the_server_notes_for_itself_is_not_recorded() {
        let key = Actor::Key { id: "key_1".into(), description: String::new() };
        assert!(!is_recorded(Kind::Health, &key));
        assert!(!is_recorded(Kind::Replay, &Actor::Server) && is_recorded(Kind::Replay, &key));
        assert!(is_recorded(Kind::Target, &Actor::Server));
    }

    proptest! {
        #[test]
        fn entries_are_bounded_and_hold_no_secret(
            map in prop::collection::btree_map("[a-z]{1,6}", "[ -~]{0,400}", 0..120),
            secret in "[a-z]{1,6}",
        ) {
            let mut doc = json!(map);
            doc[&secret] = json!("the-secret-value");
            let secrets = [format!("/{secret}")];
            let found = changes(None, Some(Version { doc: &doc, secrets: &secrets }));
            prop_assert!(found.len() <= MAX_FIELDS);
            for field in found {
                prop_assert!(field.after.clone().unwrap_or_default().chars().count() <= MAX_VALUE);
                prop_assert!(!field.after.unwrap_or_default().contains("the-secret-value"));
            }
        }
    }
}
