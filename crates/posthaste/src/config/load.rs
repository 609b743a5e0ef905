//! Puts the layers together and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::nearest;
use super::value::Raw;
use super::{Config, SETTINGS, Setting, setting};

/// Variables of this program that are no settings.
const OTHER_VARIABLES: [&str; 3] = ["POSTHASTE_KEY", "POSTHASTE_URL", "POSTHASTE_CONFIG"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The file, at a line from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "{name}"),
            Self::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// Something wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong, naming the setting.
    pub message: String,
}

/// Everything that is wrong with a configuration, in the order of the layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration cannot be used\n{}", problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// The layers above the defaults, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Path and text of the file.
    pub file: Option<(PathBuf, String)>,
    /// The environment; variables that do not begin with `POSTHASTE_` are ignored.
    pub variables: BTreeMap<String, String>,
    /// Key, value and name of each flag given.
    pub flags: Vec<(&'static str, Raw, &'static str)>,
}

/// A configuration with its history.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in effect.
    pub config: Config,
    /// Where each value came from, by key; every setting is in it.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Things that look like mistakes but stop nothing.
    pub warnings: Vec<String>,
}

impl Layers {
    /// Reads the file, if one is named (`--config`, else `POSTHASTE_CONFIG`), beside the environment and the flags.
    pub fn gather(
        config_flag: Option<&Path>,
        variables: BTreeMap<String, String>,
        flags: Vec<(&'static str, Raw, &'static str)>,
    ) -> Result<Self, ConfigError> {
        let path =
            config_flag.map(Path::to_owned).or_else(|| variables.get("POSTHASTE_CONFIG").filter(|p| !p.is_empty()).map(PathBuf::from));
        let file = match path {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((path, text)),
                Err(error) => {
                    let origin = match config_flag {
                        Some(_) => Origin::Flag("--config".into()),
                        None => Origin::Variable("POSTHASTE_CONFIG".into()),
                    };
                    let message = format!("cannot read {}: {error}", path.display());
                    return Err(ConfigError { problems: vec![Problem { origin, message }] });
                }
            },
        };
        Ok(Self { file, variables, flags })
    }

    /// Puts the layers together.
    pub fn load(self) -> Result<Loaded, ConfigError> {
        let mut building = Building {
            config: Config::default(),
            origins: SETTINGS.iter().map(|s| (s.key, Origin::Default)).collect(),
            problems: Vec::new(),
        };
        if let Some((path, text)) = &self.file {
            building.file(path, text);
        }
        let mut warnings = Vec::new();
        let variables: Vec<(String, &Setting)> = SETTINGS.iter().map(|s| (s.variable(), s)).collect();
        for (name, value) in &self.variables {
            if let Some((_, setting)) = variables.iter().find(|(known, _)| known == name) {
                building.set(setting, &Raw::Text(value.clone()), Origin::Variable(name.clone()));
            } else if name.starts_with("POSTHASTE_") && !OTHER_VARIABLES.contains(&name.as_str()) {
                // A warning only: container platforms invent variables of this form for a service of this name.
                let known = variables.iter().map(|(known, _)| known.as_str()).chain(OTHER_VARIABLES);
                if let Some(meant) = nearest(name, known) {
                    warnings.push(format!("the variable {name} is not known and has no effect; did you mean {meant}?"));
                }
            }
        }
        for (key, raw, flag) in &self.flags {
            let setting = setting(key).expect("flags name settings that exist; a test asks for each");
            building.set(setting, raw, Origin::Flag((*flag).to_owned()));
        }
        building.finish(warnings)
    }
}

struct Building {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
    problems: Vec<Problem>,
}

impl Building {
    fn set(&mut self, setting: &Setting, raw: &Raw, origin: Origin) {
        match (setting.read)(&mut self.config, raw) {
            Ok(()) => drop(self.origins.insert(setting.key, origin)),
            Err(message) => self.problems.push(Problem { origin, message: format!("{}: {message}", setting.key) }),
        }
    }

    fn file(&mut self, path: &Path, text: &str) {
        let at = |offset: usize| {
            let line = text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1;
            Origin::File(path.to_owned(), line)
        };
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let origin = at(error.span().map_or(0, |span| span.start));
                self.problems.push(Problem { origin, message: error.message().to_owned() });
                return;
            }
        };
        self.table("", table, &at);
    }

    /// Settings of a table; dotted names and tables in tables are the same.
    fn table(&mut self, prefix: &str, table: DeTable<'_>, at: &dyn Fn(usize) -> Origin) {
        for (name, value) in table {
            let origin = at(name.span().start);
            let name = name.into_inner();
            let key = if prefix.is_empty() { name.into_owned() } else { format!("{prefix}.{name}") };
            match value.into_inner() {
                DeValue::Table(section) if setting(&key).is_none() && is_section(&key) => self.table(&key, section, at),
                DeValue::Table(_) if setting(&key).is_none() => {
                    let meant = nearest(&key, sections()).map(|m| format!("; did you mean [{m}]?")).unwrap_or_default();
                    self.problems.push(Problem { origin, message: format!("there is no section [{key}]{meant}") });
                }
                _ if is_section(&key) && setting(&key).is_none() => {
                    self.problems.push(Problem { origin, message: format!("{key} is a section; write [{key}] and its settings below it") });
                }
                value => self.entry(&key, Spanned::new(0..0, value), origin),
            }
        }
    }

    fn entry(&mut self, key: &str, value: Spanned<DeValue<'_>>, origin: Origin) {
        match setting(key) {
            Some(setting) => self.set(setting, &raw(value.into_inner()), origin),
            None => self.problems.push(Problem { origin, message: unknown(key) }),
        }
    }

    fn finish(mut self, warnings: Vec<String>) -> Result<Loaded, ConfigError> {
        if self.problems.is_empty() {
            for (key, message) in self.config.contradictions() {
                let origin = self.origins[key].clone();
                self.problems.push(Problem { origin, message: format!("{key} {message}") });
            }
        }
        match self.problems.is_empty() {
            true => Ok(Loaded { config: self.config, origins: self.origins, warnings }),
            false => Err(ConfigError { problems: self.problems }),
        }
    }
}

/// The beginnings of keys, up to each dot.
fn sections() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().flat_map(|s| s.key.match_indices('.').map(|(dot, _)| &s.key[..dot]))
}

fn is_section(name: &str) -> bool {
    sections().any(|section| section == name)
}

/// The message for a key that no setting has: the nearest key, or the section that the name belongs in.
fn unknown(key: &str) -> String {
    let name = key.rsplit('.').next().unwrap_or(key);
    let elsewhere = SETTINGS.iter().map(|s| s.key).find(|known| known.rsplit('.').next() == Some(name));
    match nearest(key, SETTINGS.iter().map(|s| s.key)).or(elsewhere) {
        Some(meant) => format!("there is no setting {key}; did you mean {meant}?"),
        None => format!("there is no setting {key}"),
    }
}

fn raw(value: DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Text(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Raw::Text(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Raw::Text(truth.to_string()),
        DeValue::Datetime(_) => Raw::Other("date"),
        table @ DeValue::Table(_) => Raw::Table(json(table)),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            texts.map_or(Raw::Other("list of things that are not text"), Raw::List)
        }
    }
}

/// A value as JSON.
fn json(value: DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.into_owned().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).unwrap_or_default().into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().unwrap_or_default().into(),
        DeValue::Boolean(truth) => truth.into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.into_iter().map(|item| json(item.into_inner())).collect(),
        DeValue::Table(table) => {
            let members = table.into_iter().map(|(name, value)| (name.into_inner().into_owned(), json(value.into_inner())));
            serde_json::Value::Object(members.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::example;
    use crate::config::value::{Listen, Size};

    fn file(text: &str) -> Layers {
        Layers { file: Some(("posthaste.toml".into(), text.into())), ..Layers::default() }
    }

    fn messages(layers: Layers) -> Vec<String> {
        layers.load().map(|_| Vec::new()).unwrap_or_else(|e| e.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn with_nothing_set_the_defaults_are_in_effect() {
        let loaded = Layers::default().load().expect("the defaults hold");
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.origins.values().all(|o| *o == Origin::Default));
        assert_eq!(loaded.origins.len(), SETTINGS.len());
    }

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let mut layers = file("listen = \"a:1\"\ndata = \"from-file\"\n[limits]\nmax_payload = \"2MiB\"\n[log]\nlevel = \"debug\"\n");
        layers.variables.insert("POSTHASTE_LISTEN".into(), "b:2".into());
        layers.variables.insert("POSTHASTE_LIMITS_MAX_PAYLOAD".into(), "3MiB".into());
        layers.flags.push(("listen", Raw::Text("c:3".into()), "--listen"));
        let loaded = layers.load().expect("all of it is valid");
        assert_eq!(loaded.config.listen, Listen("c:3".into()));
        assert_eq!(loaded.config.limits.max_payload, Size(3 << 20));
        assert_eq!(loaded.config.data, PathBuf::from("from-file"));
        assert_eq!(loaded.origins["listen"], Origin::Flag("--listen".into()));
        assert_eq!(loaded.origins["limits.max_payload"], Origin::Variable("POSTHASTE_LIMITS_MAX_PAYLOAD".into()));
        assert_eq!(loaded.origins["log.level"], Origin::File("posthaste.toml".into(), 6));
        assert_eq!(loaded.origins["retention.age"], Origin::Default);
    }

    #[test]
    fn unknown_names_are_refused_with_line_and_the_nearest_known_one() {
        let found =
            messages(file("lisen = \"a:1\"\n\n[retention]\nagee = \"1d\"\n[retentoin]\nage = \"1d\"\n[inbox]\nlevel = \"x\"\nzzz = 1\n"));
        assert_eq!(
            found,
            [
                "posthaste.toml:1: there is no setting lisen; did you mean listen?",
                "posthaste.toml:4: there is no setting retention.agee; did you mean retention.age?",
                "posthaste.toml:5: there is no section [retentoin]; did you mean [retention]?",
                "posthaste.toml:8: there is no setting inbox.level; did you mean log.level?",
                "posthaste.toml:9: there is no setting inbox.zzz",
            ]
        );
    }

    #[test]
    fn wrong_values_name_the_setting_and_all_are_told_at_once() {
        let mut layers = file("[limits]\nmax_payload = true\nin_flight = 0\n[inbox]\nblock = \"soon\"\n");
        layers.variables.insert("POSTHASTE_RETENTION_BYTES".into(), "lots".into());
        let found = messages(layers);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].starts_with("posthaste.toml:2: limits.max_payload: \"true\" is not a size"), "{}", found[0]);
        assert!(found[1].contains("limits.in_flight") && found[2].contains("inbox.block"), "{found:#?}");
        assert!(found[3].starts_with("POSTHASTE_RETENTION_BYTES: retention.bytes: \"lots\" is not a size"), "{}", found[3]);
    }

    #[test]
    fn dialects_have_sections_with_dotted_names_and_tables() {
        let text = "[dialect.momentum]\nactivation = \"0s\"\nbatch.events = 5\n[dialect.momentum.retry]\nfirst = \"100ms\"\n\
                    [dialect.msgine]\nallow_http = true\nretry = [\"1s\", \"2s\"]\n[dialect.mailgun]\nrequests_per_minute = 0\n\
                    [sms.carrier]\nurl = \"http://gateway\"\n[sms.carrier.headers]\nx = \"y\"\n";
        let mut layers = file(text);
        layers.variables.insert("POSTHASTE_DIALECT_MOMENTUM_BATCH_WAIT".into(), "50ms".into());
        let config = layers.load().expect("valid").config;
        let momentum = &config.dialects.momentum;
        let ms = std::time::Duration::from_millis;
        assert_eq!((momentum.activation, momentum.batch_events, momentum.batch_wait, momentum.retry_first), (ms(0), 5, ms(50), ms(100)));
        assert!(config.dialects.msgine.allow_http && config.dialects.msgine.retry_delays == [ms(1000), ms(2000)]);
        assert_eq!(config.dialects.mailgun.webhook_requests_per_minute, 0);
        assert_eq!(config.sms.carrier.0, serde_json::json!({"url": "http://gateway", "headers": {"x": "y"}}));
        let found = messages(file("[dialect.momentun]\nactivation = \"0s\"\n[dialect.momentum]\nbatch = 5\nbatch_wait = \"1s\"\n"));
        assert_eq!(
            found,
            [
                "posthaste.toml:1: there is no section [dialect.momentun]; did you mean [dialect.momentum]?",
                "posthaste.toml:4: dialect.momentum.batch is a section; write [dialect.momentum.batch] and its settings below it",
                "posthaste.toml:5: there is no setting dialect.momentum.batch_wait; did you mean dialect.momentum.batch.wait?",
            ]
        );
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let found = messages(file("data = \"x\"\nlisten = [\n"));
        assert!(found.len() == 1 && found[0].starts_with("posthaste.toml:"), "{found:?}");
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        let found = messages(file("[limits]\naccept_queue = \"1KiB\"\n[retention]\nage = \"0s\"\n"));
        assert_eq!(found[0], "posthaste.toml:4: retention.age must not be zero");
        assert!(found[1].starts_with("posthaste.toml:2: limits.accept_queue is smaller than"), "{}", found[1]);
    }

    #[test]
    fn a_misspelled_variable_is_a_warning_and_a_foreign_one_is_not() {
        let mut layers = Layers::default();
        for name in ["POSTHASTE_LISEN", "POSTHASTE_SERVICE_HOST_OF_A_CLUSTER", "POSTHASTE_KEY", "HOME"] {
            layers.variables.insert(name.into(), "x".into());
        }
        let loaded = layers.load().expect("variables of others stop nothing");
        assert_eq!(loaded.warnings, ["the variable POSTHASTE_LISEN is not known and has no effect; did you mean POSTHASTE_LISTEN?"]);
    }

    #[test]
    fn the_example_file_is_every_setting_with_its_default() {
        let text = include_str!("../../../../posthaste.example.toml");
        assert_eq!(text, example(), "write it anew with: posthaste check --example > posthaste.example.toml");
        let loaded = file(text).load().expect("the example is valid");
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.origins.values().all(|o| matches!(o, Origin::File(..))), "{:#?}", loaded.origins);
    }

    #[test]
    fn the_documentation_names_every_setting_its_variable_and_its_default() {
        let page = include_str!("../../../../docs/configuration.md");
        for setting in SETTINGS {
            let row = format!("| `{}` | `{}` | {} |\n", setting.key, setting.show(&Config::default()), setting.help);
            assert!(page.contains(&row), "docs/configuration.md lacks the row {row}");
        }
    }

    #[test]
    fn passwords_in_urls_are_not_shown() {
        let loaded = file("[email]\nrelay = \"smtps://me:secret@mail.example:465\"\n").load().expect("valid");
        let shown = setting("email.relay").expect("it exists").show_masked(&loaded.config);
        assert_eq!(shown, "\"smtps://***@mail.example:465\"");
    }
}
