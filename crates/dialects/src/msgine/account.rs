//! What a workspace chose for MsGine: webhook secret, sender ID, tier, prices, the owner's address.
//!
//! Invariant: an account always holds a webhook secret; everything else may be left to the server's defaults.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste_domain::policy::Rate;
use posthaste_domain::policy::limiter::WindowRates;
use posthaste_domain::resource::Account;
use posthaste_engine::{Edit, Engine, ResourceError};
use serde_json::{Map, Value, json};

use super::input::{Generation, is_sender_id};
use super::money::Money;
use super::{DIALECT, MsgineSettings};
use crate::accounts::{AccountRules, refuse_unknown};

const FIELDS: [&str; 8] =
    ["webhook_secret", "sender_id", "tier", "per_minute", "per_second", "generation_1", "generation_2", "owner_email"];
/// Bytes of a webhook secret, at least and at most.
const SECRET: std::ops::RangeInclusive<usize> = 10..=200;
/// Requests in a minute that an enterprise account may have at most.
const MAX_RATE: u64 = 1_000_000;

/// A plan with its rate limits (MsGine 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its name in the account.
    pub name: &'static str,
    /// Requests in a minute.
    pub per_minute: u32,
    /// Requests in a second.
    pub per_second: u32,
}

/// The documented plans. An `enterprise` account names its own limits.
pub const TIERS: [Tier; 3] = [
    Tier { name: "free", per_minute: 60, per_second: 10 },
    Tier { name: "starter", per_minute: 100, per_second: 20 },
    Tier { name: "professional", per_minute: 500, per_second: 50 },
];
const ENTERPRISE: &str = "enterprise";

/// The tier of a name, custom limits aside.
fn tier(name: &str) -> Option<Tier> {
    TIERS.into_iter().find(|tier| tier.name == name)
}

/// Whether accounts may choose a tier of this name.
pub fn is_tier(name: &str) -> bool {
    name == ENTERPRISE || tier(name).is_some()
}

/// What one recipient costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The amount.
    pub price: Money,
    /// Its currency.
    pub currency: String,
}

/// A workspace's account, defaults in place. Cheap: borrows what is stored.
#[derive(Clone, Copy)]
pub struct MsgineAccount<'a> {
    stored: &'a Value,
    settings: &'a MsgineSettings,
}

impl<'a> MsgineAccount<'a> {
    /// A view of the stored document; `Null` when there is none.
    pub fn new(stored: &'a Value, settings: &'a MsgineSettings) -> Self {
        Self { stored, settings }
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.stored.get(name).and_then(Value::as_str)
    }

    /// Sender ID of messages that name none.
    pub fn sender_id(&self) -> &'a str {
        self.text("sender_id").unwrap_or(&self.settings.sender_id)
    }

    /// The rate limits of each key.
    pub fn rates(&self) -> WindowRates {
        let chosen = self.text("tier").unwrap_or(&self.settings.tier);
        let number = |name: &str| self.stored.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
        // Starter is the documented default, also for an enterprise account that names no numbers.
        let tier = tier(chosen).unwrap_or(TIERS[1]);
        let rate = |limit, seconds| Rate { limit, per: Duration::from_secs(seconds) };
        WindowRates {
            window: rate(number("per_minute").unwrap_or(tier.per_minute), 60),
            burst: rate(number("per_second").unwrap_or(tier.per_second), 1),
        }
    }

    /// What one SMS costs.
    pub fn price(&self, generation: Generation) -> Price {
        let (name, price, currency) = match generation {
            Generation::One => ("generation_1", &self.settings.price_1, &self.settings.currency_1),
            Generation::Two => ("generation_2", &self.settings.price_2, &self.settings.currency_2),
        };
        let chosen = |field: &str| self.stored.get(name).and_then(|chosen| chosen.get(field)).and_then(Value::as_str);
        Price {
            price: Money::parse(chosen("price").unwrap_or(price)).unwrap_or_default(),
            currency: chosen("currency").unwrap_or(currency).to_owned(),
        }
    }

    fn shown(&self) -> Value {
        let rates = self.rates();
        let price = |generation| {
            let Price { price, currency } = self.price(generation);
            json!({ "price": price.text(), "currency": currency })
        };
        json!({
            "webhook_secret": self.text("webhook_secret"),
            "sender_id": self.sender_id(),
            "tier": self.text("tier").unwrap_or(&self.settings.tier),
            "per_minute": rates.window.limit,
            "per_second": rates.burst.limit,
            "generation_1": price(Generation::One),
            "generation_2": price(Generation::Two),
            "owner_email": self.text("owner_email"),
        })
    }
}

/// The account of a workspace. The first use makes it, with a webhook secret of its own.
///
/// # Errors
/// The catalog could not store it.
pub async fn ensure(engine: &Engine, workspace: i64) -> Result<Arc<posthaste_engine::Entry<Account>>, ResourceError> {
    if let Some(account) = engine.account(workspace, DIALECT) {
        return Ok(account);
    }
    let secret = new_secret(rand::random());
    let plan = move |desk: &posthaste_engine::Desk<'_>| {
        // Another request may have been faster.
        if desk.list::<Account>().iter().any(|account| account.doc.dialect == DIALECT) {
            return Ok(Vec::new());
        }
        Ok(vec![Edit::account(desk.new_id::<Account>(), document(json!({ "webhook_secret": secret })))])
    };
    engine.edit(workspace, plan).await?;
    engine.account(workspace, DIALECT).ok_or(ResourceError::NotFound)
}

fn document(settings: Value) -> Account {
    Account { dialect: DIALECT.to_owned(), settings, secret_settings: vec!["/webhook_secret".to_owned()] }
}

/// `whsec_` and 32 random bytes. The text as a whole is the HMAC key.
fn new_secret(random: [u8; 32]) -> String {
    format!("whsec_{}", STANDARD.encode(random))
}

/// How MsGine accounts are read and written.
pub struct MsgineAccounts(pub MsgineSettings);

impl AccountRules for MsgineAccounts {
    fn dialect(&self) -> &'static str {
        DIALECT
    }

    fn enabled(&self) -> bool {
        self.0.enabled
    }

    /// `webhook_secret`: absent keeps the stored one, `null` makes a new one, a text becomes it. Every other field that
    /// is absent or `null` goes back to the server's default.
    fn write(&self, input: Map<String, Value>, stored: Option<&Value>, random: [u8; 32]) -> Result<Value, ResourceError> {
        refuse_unknown(&input, &FIELDS)?;
        let kept = stored.and_then(|stored| stored.get("webhook_secret")).and_then(Value::as_str);
        let secret = match input.get("webhook_secret") {
            Some(Value::Null) => new_secret(random),
            Some(Value::String(text)) => {
                if !SECRET.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(ResourceError::invalid("webhook_secret", "must be 10 to 200 visible ASCII characters without spaces"));
                }
                text.clone()
            }
            None => kept.map_or_else(|| new_secret(random), str::to_owned),
            Some(_) => return Err(ResourceError::invalid("webhook_secret", "must be a text, or null for a new one")),
        };
        let mut document = Map::from_iter([("webhook_secret".to_owned(), Value::from(secret))]);
        let given = |name: &str| input.get(name).filter(|value| !value.is_null());
        let text = |name: &str, good: &dyn Fn(&str) -> bool, wanted: &str| match given(name) {
            None => Ok(None),
            Some(Value::String(text)) if good(text) => Ok(Some(Value::from(text.as_str()))),
            Some(_) => Err(ResourceError::invalid(name, wanted)),
        };
        let sender = text("sender_id", &is_sender_id, "must be 1 to 11 letters and digits")?;
        let tier = text("tier", &is_tier, "must be free, starter, professional or enterprise")?;
        let email = text("owner_email", &is_email, "must be an e-mail address")?;
        let is_enterprise = tier.as_ref().and_then(Value::as_str) == Some(ENTERPRISE);
        for (name, value) in [("sender_id", sender), ("tier", tier), ("owner_email", email)] {
            document.extend(value.map(|value| (name.to_owned(), value)));
        }
        for name in ["per_minute", "per_second"] {
            let Some(value) = given(name) else { continue };
            if !value.as_u64().is_some_and(|number| (1..=MAX_RATE).contains(&number)) {
                return Err(ResourceError::invalid(name, format!("must be a whole number from 1 to {MAX_RATE}")));
            }
            // The other tiers have their documented numbers, which may be sent back as they were read.
            if is_enterprise {
                document.insert(name.to_owned(), value.clone());
            } else if *value != MsgineAccount::new(&Value::Object(document.clone()), &self.0).shown()[name] {
                return Err(ResourceError::invalid(name, "only the tier enterprise has limits of its own"));
            }
        }
        for name in ["generation_1", "generation_2"] {
            if let Some(value) = given(name) {
                document.insert(name.to_owned(), checked_price(name, value)?);
            }
        }
        Ok(Value::Object(document))
    }

    fn show(&self, stored: &Value) -> Value {
        MsgineAccount::new(stored, &self.0).shown()
    }

    fn secrets(&self) -> &'static [&'static str] {
        &["/webhook_secret"]
    }
}

fn checked_price(name: &str, value: &Value) -> Result<Value, ResourceError> {
    let Value::Object(fields) = value else {
        return Err(ResourceError::invalid(name, "must be an object with price and currency"));
    };
    refuse_unknown(fields, &["price", "currency"]).map_err(|error| match error {
        ResourceError::Invalid { field, reason } => ResourceError::invalid(format!("{name}.{field}"), reason),
        other => other,
    })?;
    let price = match fields.get("price") {
        Some(Value::String(text)) => Money::parse(text),
        Some(Value::Number(number)) => Money::parse(&number.to_string()),
        _ => None,
    };
    let price = price.ok_or_else(|| ResourceError::invalid(format!("{name}.price"), "must be a decimal such as \"0.05\""))?;
    let currency =
        fields.get("currency").and_then(Value::as_str).filter(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()));
    let currency =
        currency.ok_or_else(|| ResourceError::invalid(format!("{name}.currency"), "must be three capital letters such as \"USD\""))?;
    Ok(json!({ "price": price.text(), "currency": currency }))
}

fn is_email(text: &str) -> bool {
    super::input::bare_address(text).is_some_and(|address| address == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(input: Value, stored: Option<&Value>) -> Result<Value, String> {
        let Value::Object(input) = input else { panic!("an object") };
        MsgineAccounts(MsgineSettings::default()).write(input, stored, [7; 32]).map_err(|error| match error {
            ResourceError::Invalid { field, .. } => field,
            other => panic!("{other}"),
        })
    }

    // MSGINE-64: a new secret is made on request only.
    #[test]
    fn the_secret_stays_until_a_new_one_is_asked_for() {
        let first = write(json!({}), None).unwrap();
        assert_eq!(first["webhook_secret"], "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        let chosen = write(json!({ "webhook_secret": "whsec_test" }), Some(&first)).unwrap();
        assert_eq!(chosen["webhook_secret"], "whsec_test");
        for keeps in [json!({}), json!({ "tier": "free" })] {
            assert_eq!(write(keeps, Some(&chosen)).unwrap()["webhook_secret"], "whsec_test");
        }
        assert_eq!(write(json!({ "webhook_secret": null }), Some(&chosen)).unwrap(), first);
        for wrong in [json!("short"), json!("with a space"), json!(7)] {
            assert_eq!(write(json!({ "webhook_secret": wrong }), Some(&chosen)), Err("webhook_secret".to_owned()));
        }
    }

    // MSGINE-38
    #[test]
    fn tiers_have_the_documented_limits() {
        let settings = MsgineSettings::default();
        let rates = |stored: Value| {
            let rates = MsgineAccount::new(&stored, &settings).rates();
            (rates.window.limit, rates.burst.limit)
        };
        assert_eq!(rates(Value::Null), (100, 20));
        for (tier, limits) in [("free", (60, 10)), ("starter", (100, 20)), ("professional", (500, 50)), ("enterprise", (100, 20))] {
            assert_eq!(rates(write(json!({ "tier": tier }), None).unwrap()), limits, "{tier}");
        }
        let custom = write(json!({ "tier": "enterprise", "per_minute": 5000, "per_second": 300 }), None).unwrap();
        assert_eq!(rates(custom), (5000, 300));
        assert_eq!(write(json!({ "tier": "free", "per_minute": 5000 }), None), Err("per_minute".to_owned()));
        assert_eq!(write(json!({ "tier": "gold" }), None), Err("tier".to_owned()));
    }

    #[test]
    fn prices_are_decimals_with_a_currency() {
        let settings = MsgineSettings::default();
        let stored = write(json!({ "generation_1": { "price": 0.1, "currency": "EUR" } }), None).unwrap();
        let account = MsgineAccount::new(&stored, &settings);
        assert_eq!(
            (account.price(Generation::One).price.text(), account.price(Generation::One).currency),
            ("0.1".to_owned(), "EUR".to_owned())
        );
        assert_eq!(
            (account.price(Generation::Two).price.text(), account.price(Generation::Two).currency),
            ("30".to_owned(), "UGX".to_owned())
        );
        for (wrong, field) in [
            (json!({ "generation_1": { "price": -1, "currency": "EUR" } }), "generation_1.price"),
            (json!({ "generation_1": { "price": 1, "currency": "euro" } }), "generation_1.currency"),
            (json!({ "generation_2": { "price": 1, "currency": "EUR", "tax": 1 } }), "generation_2.tax"),
            (json!({ "generation_2": 30 }), "generation_2"),
            (json!({ "sender_id": "My App" }), "sender_id"),
            (json!({ "owner_email": "nobody" }), "owner_email"),
            (json!({ "secret": "x" }), "secret"),
        ] {
            assert_eq!(write(wrong, None), Err(field.to_owned()));
        }
    }

    #[test]
    fn what_is_shown_can_be_sent_back() {
        let rules = MsgineAccounts(MsgineSettings::default());
        let stored = write(json!({ "sender_id": "Shop", "owner_email": "owner@example.com" }), None).unwrap();
        let shown = rules.show(&stored);
        assert_eq!(shown["per_minute"], 100);
        let again = write(shown.clone(), Some(&stored)).unwrap();
        assert_eq!(rules.show(&again), shown);
        assert_eq!(MsgineAccount::new(&again, &rules.0).sender_id(), "Shop");
    }
}
