//! Domains: what a workspace sends mail from, and how that mail is watched and signed.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::message::Track;
use posthaste_domain::resource::{Dkim, Domain, Scope};
use posthaste_engine::Entry;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, MASK, Meta, with_etag};
use super::json;
use crate::AppState;
use crate::auth::Manager;
use crate::cursor::List;
use crate::input::Input;
use crate::problem::Problem;

/// What of a domain's mail is watched, unless a message says otherwise.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Track)]
struct TrackInput {
    /// A picture in the HTML part tells of opening.
    opens: bool,
    /// Links lead through this server.
    clicks: bool,
    /// Of the links only those of the HTML part.
    html_clicks_only: bool,
    /// A link to unsubscribe is offered in the headers and replaces `%unsubscribe_url%`.
    unsubscribe: bool,
}

/// How a domain's mail is signed (DKIM, RFC 6376).
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Dkim)]
struct DkimInput {
    /// Selector: the public key stands in the DNS under `SELECTOR._domainkey.DOMAIN`.
    selector: String,
    /// Private key as PEM; masked in answers.
    private_key: String,
}

/// A domain as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainInput {
    /// Its name, unique in the workspace. Case does not matter.
    #[schema(max_length = 253, example = "mail.example.com")]
    name: String,
    /// What is watched.
    #[serde(default)]
    track: TrackInput,
    /// Signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dkim: Option<DkimInput>,
}

/// A domain.
#[derive(Serialize, ToSchema)]
#[schema(as = Domain)]
pub(crate) struct DomainView {
    id: String,
    #[serde(flatten)]
    input: DomainInput,
    /// Records to set in the DNS.
    dns: Vec<DnsRecord>,
    #[serde(flatten)]
    meta: Meta,
}

/// A record to set in the DNS.
#[derive(Serialize, ToSchema)]
struct DnsRecord {
    /// `dkim` (receivers check signatures with it) or `dmarc` (what receivers do with mail that is not signed).
    #[schema(pattern = "^(dkim|dmarc)$")]
    purpose: &'static str,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(pattern = "^TXT$")]
    kind: &'static str,
    /// Its full name.
    name: String,
    /// Its text.
    value: String,
}

/// The records of a domain whose mail is signed. What may send for it (SPF) is for the operator of the relay to say.
fn records(domain: &Domain) -> Vec<DnsRecord> {
    let Some(dkim) = &domain.dkim else { return Vec::new() };
    let record = |purpose, name, value| DnsRecord { purpose, kind: "TXT", name, value };
    // The key was tried when it was stored.
    let key = posthaste_channels::mail::public_record(&dkim.private_key).unwrap_or_default();
    vec![
        record("dkim", format!("{}._domainkey.{}", dkim.selector, domain.name), key),
        record("dmarc", format!("_dmarc.{}", domain.name), "v=DMARC1; p=none".to_owned()),
    ]
}

impl Crud for Domain {
    type Input = DomainInput;
    type View = DomainView;
    const NOUN: &'static str = "domain";
    const LIST: List = List::Domains;
    const READ_ONLY: &'static [&'static str] = &["dns"];

    fn search_text(&self) -> &str {
        &self.name
    }

    fn input(&self) -> DomainInput {
        let Track { opens, clicks, html_clicks_only, unsubscribe } = self.track;
        let mask = |dkim: &Dkim| DkimInput { selector: dkim.selector.clone(), private_key: MASK.to_owned() };
        DomainInput {
            name: self.name.clone(),
            track: TrackInput { opens, clicks, html_clicks_only, unsubscribe },
            dkim: self.dkim.as_ref().map(mask),
        }
    }

    fn build(_: &AppState, input: DomainInput, old: Option<&Entry<Self>>) -> Result<Self, Problem> {
        let TrackInput { opens, clicks, html_clicks_only, unsubscribe } = input.track;
        let dkim = match input.dkim {
            Some(DkimInput { selector, private_key }) if private_key == MASK => {
                let kept = old.and_then(|old| old.doc.dkim.as_ref());
                let kept = kept.ok_or_else(|| Problem::invalid("dkim.private_key", "there is no key yet that could be kept"))?;
                Some(Dkim { selector, private_key: kept.private_key.clone() })
            }
            Some(DkimInput { selector, private_key }) => {
                posthaste_channels::mail::check_key(&private_key)
                    .map_err(|error| Problem::invalid("dkim.private_key", error.to_string()))?;
                Some(Dkim { selector, private_key })
            }
            None => None,
        };
        let extra = old.map(|old| old.doc.extra.clone()).unwrap_or_default();
        Ok(Self { name: input.name, track: Track { opens, clicks, html_clicks_only, unsubscribe }, dkim, extra })
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> DomainView {
        DomainView { id: entry.id.clone(), input: entry.doc.input(), dns: records(&entry.doc), meta: Meta::of(entry) }
    }
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("domains", "What the workspace sends mail from.");
    api.add(
        Op::post("/domains", "createDomain", "Create")
            .scope(Scope::Manage)
            .body::<DomainInput>()
            .answer::<DomainView>(StatusCode::CREATED, "It is in force."),
        create,
    );
    crud::routes::<Domain>(
        api,
        &Family {
            all: "/domains",
            one: "/domains/{id}",
            ids: ["listDomains", "readDomain", "replaceDomain", "changeDomain", "deleteDomain"],
        },
    );
}

async fn create(State(state): State<AppState>, Manager(caller): Manager, Input(input): Input<DomainInput>) -> Result<Response, Problem> {
    let doc = Domain::build(&state, input, None)?;
    let entry = state.by(&caller).engine.create(caller.workspace(), doc).await?;
    Ok(with_etag(json(StatusCode::CREATED, &Domain::view(&state, &entry).await), entry.version))
}
