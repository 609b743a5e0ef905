//! A workspace's settings in one dialect, as the native API reads and writes them (`/posthaste/v1/accounts/{dialect}`).
//!
//! Each dialect checks its own document: [`AccountRules`]. Documents hold what was chosen; what was not comes from the server's
//! settings when it is shown or used, so a changed default reaches every workspace that chose nothing.

use std::sync::Arc;

use posthaste_engine::ResourceError;
use serde_json::{Map, Value};

/// How one dialect keeps a workspace's settings.
pub trait AccountRules: Send + Sync {
    /// The dialect.
    fn dialect(&self) -> &'static str;

    /// Whether the server speaks it.
    fn enabled(&self) -> bool;

    /// The document to store for `input`, which replaces what is stored; `random` is fresh entropy for secrets to make.
    ///
    /// # Errors
    /// [`ResourceError::Invalid`] names the field.
    fn write(&self, input: Map<String, Value>, stored: Option<&Value>, random: [u8; 32]) -> Result<Value, ResourceError>;

    /// The stored document with the defaults in place, secrets open.
    fn show(&self, stored: &Value) -> Value;

    /// JSON pointers of the secrets in the document.
    fn secrets(&self) -> &'static [&'static str];
}

/// The rules of all dialects that keep an account.
#[derive(Clone, Default)]
pub struct Accounts(Vec<Arc<dyn AccountRules>>);

impl Accounts {
    /// Adds one.
    #[must_use]
    pub fn with(mut self, rules: impl AccountRules + 'static) -> Self {
        self.0.push(Arc::new(rules));
        self
    }

    /// The rules of an enabled dialect.
    pub fn get(&self, dialect: &str) -> Option<&Arc<dyn AccountRules>> {
        self.0.iter().find(|rules| rules.dialect() == dialect && rules.enabled())
    }

    /// Names of the enabled dialects.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.0.iter().filter(|rules| rules.enabled()).map(|rules| rules.dialect())
    }
}

/// Refuses a document's field that is not known.
pub(crate) fn refuse_unknown(input: &Map<String, Value>, known: &[&str]) -> Result<(), ResourceError> {
    match input.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(ResourceError::invalid(name.clone(), format!("this field is not known; there are {}", known.join(", ")))),
        None => Ok(()),
    }
}
