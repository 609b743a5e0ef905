//! Checks of configuration documents: pure, before anything is written. Every refusal names the field.

use posthaste_channels::{Channels, ContentKind};
use posthaste_domain::matching::{Filter, Rule, TypePattern, check_event_name, default_rule};
use posthaste_domain::policy::Policy;
use posthaste_domain::resource::{
    Account, Bin, Domain, EventType, Key, KeyKind, Kind, Replay, Resource, Scope, Subscription, Target, TemplateDoc, Workspace,
};
use posthaste_domain::signature::SigningSecret;
use posthaste_domain::template::{Block, Template};
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::edit::Fresh;
use crate::error::ResourceError;
use crate::format::Formats;
use crate::settings::EngineSettings;
use std::borrow::Cow;

/// What a check may look at.
pub struct Context<'a> {
    /// The workspace that the document is for.
    pub workspace: i64,
    /// The document's own number, when it is an update.
    pub own: Option<i64>,
    pub(crate) catalogue: &'a Catalogue,
    /// What the same change puts.
    pub(crate) fresh: &'a Fresh,
    pub(crate) channels: &'a Channels,
    pub(crate) formats: &'a Formats,
    pub(crate) settings: &'a EngineSettings,
}

impl Context<'_> {
    fn target(&self, id: &str) -> Option<Cow<'_, Target>> {
        match self.fresh.targets.get(id) {
            Some(target) => Some(Cow::Borrowed(target)),
            None => self.catalogue.get::<Target>(self.workspace, id).map(|entry| Cow::Owned(entry.doc.clone())),
        }
    }
}

/// Characters of a description.
const MAX_DESCRIPTION: usize = 1000;
/// Domains that a public key may be used from.
const MAX_DOMAINS: usize = 100;
/// JSON Schema of an event type.
const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// What a subscription speaks that names no format.
pub(crate) const DEFAULT_FORMAT: &str = "standard";

/// A resource that the engine can check.
pub trait Managed: Resource {
    /// Normalises the document or refuses it.
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError>;
}

pub(crate) fn check_name(name: &str) -> Result<(), ResourceError> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > 255 || name.chars().any(char::is_control) {
        return Err(ResourceError::invalid("name", "must be 1 to 255 characters without control characters"));
    }
    Ok(())
}

fn check_policy(policy: &mut Option<Value>) -> Result<(), ResourceError> {
    if let Some(value) = policy {
        Policy::from_json(value).map_err(|e| ResourceError::invalid(e.field, e.reason))?;
    }
    Ok(())
}

fn check_description(description: &str) -> Result<(), ResourceError> {
    if description.chars().count() > MAX_DESCRIPTION {
        return Err(ResourceError::invalid("description", format!("must be at most {MAX_DESCRIPTION} characters")));
    }
    Ok(())
}

/// Whether the wire format of a subscription, named or not, can serve its target.
fn check_format(context: &Context<'_>, subscription: &Subscription, target: &Target) -> Result<(), ResourceError> {
    let takes_wire = context.channels.get(&target.channel).is_some_and(|channel| channel.takes(ContentKind::Wire));
    if subscription.template_id.is_some() || !takes_wire {
        return Ok(());
    }
    match context.formats.get(subscription.format.as_deref().unwrap_or(DEFAULT_FORMAT)) {
        Some(format) => {
            let settings = subscription.dialect.as_ref().map_or(&Value::Null, |mark| &mark.data);
            format.prepare(settings, &target.settings).map(drop).map_err(|e| ResourceError::invalid(e.field, e.reason))
        }
        None => Ok(()),
    }
}

impl Managed for Workspace {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if let Some(parent) = &self.parent {
            let number = context.catalogue.workspaces().into_iter().find(|n| context.catalogue.id_of(*n).as_ref() == Some(parent));
            if number.is_none() || number == context.own {
                return Err(ResourceError::invalid("parent", "no such workspace"));
            }
        }
        check_name(&self.name)
    }
}

/// Whether a text is a host name: labels of letters, digits, `-` and `_`, 253 characters at most.
fn is_host_name(name: &str) -> bool {
    let good =
        |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.len() <= 253 && name.split('.').all(good)
}

/// Id of a subscription that a dialect made for a domain, if there is one: it would come to life again with another domain of that name.
pub(crate) fn user_of_domain(catalogue: &Catalogue, workspace: i64, name: &str) -> Option<String> {
    let belongs = |s: &Subscription| {
        let of = s.dialect.as_ref().and_then(|mark| mark.data.get("domain")).and_then(Value::as_str);
        of.is_some_and(|of| of.eq_ignore_ascii_case(name))
    };
    catalogue.list::<Subscription>(workspace).into_iter().find(|s| belongs(&s.doc)).map(|s| s.id.clone())
}

impl Managed for Domain {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        self.name = self.name.trim().trim_end_matches('.').to_ascii_lowercase();
        if !is_host_name(&self.name) {
            return Err(ResourceError::invalid("name", "must be a domain name such as mail.example.com"));
        }
        if let Some(other) = context.catalogue.named::<Self>(context.workspace, &self.name)
            && Some(other.number) != context.own
        {
            return Err(ResourceError::Duplicate { field: "name" });
        }
        if let Some(old) = context.own.and_then(|number| context.catalogue.by_number::<Self>(number))
            && old.doc.name != self.name
            && user_of_domain(context.catalogue, context.workspace, &old.doc.name).is_some()
        {
            return Err(ResourceError::invalid("name", "cannot be changed while webhooks belong to the domain"));
        }
        match &self.dkim {
            Some(dkim) if !is_host_name(&dkim.selector) => Err(ResourceError::invalid("dkim.selector", "must be a label such as mail2026")),
            Some(dkim) if !dkim.private_key.contains("-----BEGIN") => Err(ResourceError::invalid("dkim.private_key", "must be a PEM text")),
            _ => Ok(()),
        }
    }
}

impl Managed for Account {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if let Some(other) = context.catalogue.named::<Self>(context.workspace, &self.dialect)
            && Some(other.number) != context.own
        {
            return Err(ResourceError::Duplicate { field: "dialect" });
        }
        if !self.settings.is_object() {
            return Err(ResourceError::invalid("settings", "must be an object"));
        }
        Ok(())
    }
}

impl Managed for Key {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if context.own.is_none() && context.catalogue.count(context.workspace, Kind::Key) >= context.settings.max_keys {
            return Err(ResourceError::Limit { what: "active keys in a workspace", limit: context.settings.max_keys });
        }
        check_description(&self.description)?;
        if self.allowed_domains.len() > MAX_DOMAINS {
            return Err(ResourceError::invalid("allowed_domains", format!("must be at most {MAX_DOMAINS}")));
        }
        if self.kind == KeyKind::Public {
            if self.allowed_domains.is_empty() {
                return Err(ResourceError::invalid("allowed_domains", "a public key needs at least one allowed domain"));
            }
            if self.scopes.iter().any(|s| *s != Scope::Publish) {
                return Err(ResourceError::invalid("scopes", "a public key may only publish"));
            }
        }
        for (i, domain) in self.allowed_domains.iter_mut().enumerate() {
            *domain = domain.trim().to_ascii_lowercase();
            let host = domain.strip_prefix("*.").unwrap_or(domain);
            if !is_host_name(host) {
                return Err(ResourceError::invalid(
                    format!("allowed_domains[{i}]"),
                    "must be a host name such as example.com or *.example.com",
                ));
            }
        }
        Ok(())
    }
}

impl Managed for EventType {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        check_event_name(&self.name).map_err(|e| ResourceError::invalid("name", e.to_string()))?;
        if let Some(other) = context.catalogue.named::<EventType>(context.workspace, &self.name)
            && Some(other.number) != context.own
        {
            return Err(ResourceError::Duplicate { field: "name" });
        }
        if let Some(group) = &self.group {
            let parts: Vec<&str> = group.split('/').collect();
            if parts.len() > 2 {
                return Err(ResourceError::invalid("group", "groups nest at most two levels, as in \"Sales/Orders\""));
            }
            if parts.iter().any(|p| p.trim().is_empty() || p.chars().count() > 255) {
                return Err(ResourceError::invalid("group", "each level must be 1 to 255 characters"));
            }
        }
        if self.schema.as_ref().is_some_and(|schema| !schema.is_object() && !schema.is_boolean()) {
            return Err(ResourceError::invalid("schema", "a JSON Schema is an object, or true or false"));
        }
        if self.rule_is_default {
            self.rule = default_rule(&self.name).into();
        }
        Rule::parse(self.rule.clone()).map_err(|e| ResourceError::invalid("rule", e.to_string()))?;
        check_description(&self.description)?;
        if let Some(schema) = &self.schema {
            if !schema.is_object() {
                return Err(ResourceError::invalid("schema", "must be an object"));
            }
            if schema.to_string().len() > MAX_SCHEMA_BYTES {
                return Err(ResourceError::invalid("schema", format!("must be at most {} KiB", MAX_SCHEMA_BYTES >> 10)));
            }
        }
        Ok(())
    }
}

impl Managed for Target {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        check_name(&self.name)?;
        let Some(channel) = context.channels.get(&self.channel) else {
            let known: Vec<&str> = context.channels.names().collect();
            return Err(ResourceError::invalid("channel", format!("must be one of {}", known.join(", "))));
        };
        // The way to a carrier has no settings of its own: carriers are the operator's.
        if crate::messages::carrier_of(self.dialect.as_ref()).is_none() {
            let checked = channel.check(&self.settings).map_err(|e| ResourceError::invalid(e.field, e.reason))?;
            self.settings = checked.settings;
            self.secret_settings = checked.secrets;
        }
        for key in &self.signing {
            SigningSecret::parse(&key.secret).map_err(|e| ResourceError::invalid("secret", e.to_string()))?;
        }
        if let Some(number) = context.own
            && let Some(entry) = context.catalogue.by_number::<Target>(number)
        {
            for subscription in context.catalogue.list::<Subscription>(context.workspace) {
                if subscription.doc.target_id == entry.id {
                    check_format(context, &subscription.doc, self)?;
                }
            }
        }
        check_policy(&mut self.policy)
    }
}

impl Managed for TemplateDoc {
    fn check(&mut self, _: &Context<'_>) -> Result<(), ResourceError> {
        check_name(&self.name)?;
        let blocks: Vec<Block> =
            serde_json::from_value(self.blocks.clone()).map_err(|e| ResourceError::invalid("blocks", e.to_string()))?;
        if blocks.is_empty() {
            return Err(ResourceError::invalid("blocks", "needs at least one block"));
        }
        Template::compile(&blocks).map_err(|e| ResourceError::invalid(format!("blocks[{}]", e.block), e.to_string()))?;
        Ok(())
    }
}

impl Managed for Subscription {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if self.event_types.is_empty() || self.event_types.len() > 100 {
            return Err(ResourceError::invalid("event_types", "needs 1 to 100 names or wildcards"));
        }
        for (i, pattern) in self.event_types.iter().enumerate() {
            if pattern.chars().any(char::is_control) {
                return Err(ResourceError::invalid(format!("event_types[{i}]"), "must not have control characters"));
            }
            TypePattern::parse(pattern).map_err(|e| ResourceError::invalid(format!("event_types[{i}]"), e.to_string()))?;
        }
        let Some(target) = context.target(&self.target_id) else {
            return Err(ResourceError::invalid("target_id", "no such target"));
        };
        if let Some(template) = &self.template_id
            && !context.fresh.templates.contains(template)
            && context.catalogue.get::<TemplateDoc>(context.workspace, template).is_none()
        {
            return Err(ResourceError::invalid("template_id", "no such template"));
        }
        if let Some(name) = &self.format {
            if context.formats.get(name).is_none() {
                let known: Vec<&str> = context.formats.names().collect();
                return Err(ResourceError::invalid("format", format!("must be one of {}", known.join(", "))));
            }
            if context.channels.get(&target.channel).is_some_and(|c| !c.takes(ContentKind::Wire)) {
                return Err(ResourceError::invalid("format", format!("a {} target takes messages, not a wire format", target.channel)));
            }
        }
        check_format(context, self, &target)?;
        if self.notify.as_ref().is_some_and(|to| to != crate::steward::OWNER && !to.contains('@')) {
            return Err(ResourceError::invalid("notify", "must be \"owner\" or an e-mail address"));
        }
        check_description(&self.description)?;
        if let Some(filter) = &self.filter {
            Filter::parse(filter).map_err(|e| ResourceError::invalid(e.path, e.problem.to_string()))?;
        }
        check_policy(&mut self.policy)
    }
}

impl Managed for Bin {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if context.own.is_none() && context.catalogue.count(context.workspace, Kind::Bin) >= context.settings.max_bins {
            return Err(ResourceError::Limit { what: "request bins in a workspace", limit: context.settings.max_bins });
        }
        if !(200..=599).contains(&self.status) {
            return Err(ResourceError::invalid("status", "must be an HTTP status from 200 to 599"));
        }
        Ok(())
    }
}

impl Managed for Replay {
    fn check(&mut self, context: &Context<'_>) -> Result<(), ResourceError> {
        if let Some(request) = &self.request
            && context.catalogue.named::<Self>(context.workspace, &request.key).is_some_and(|other| Some(other.number) != context.own)
        {
            return Err(ResourceError::Duplicate { field: "Idempotency-Key" });
        }
        if let Some(target) = &self.target_id
            && context.catalogue.get::<Target>(context.workspace, target).is_none()
        {
            return Err(ResourceError::invalid("target_id", "no such target"));
        }
        for (i, state) in self.states.iter().enumerate() {
            if !matches!(state.as_str(), "delivered" | "failed" | "cancelled") {
                return Err(ResourceError::invalid(format!("states[{i}]"), "must be delivered, failed or cancelled"));
            }
        }
        if self.from_ms >= self.to_ms {
            return Err(ResourceError::invalid("from", "must be before \"to\""));
        }
        Ok(())
    }
}
