//! `/v4/domains/{domain}/webhooks`: a URL has a set of names. The same webhooks as in [`super::v3`] (section 7.1 of the documents).

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::Scope;

use super::super::MailgunState;
use super::super::access::Call;
use super::super::answer::{self, Refusal, Service};
use super::super::names::Name;
use super::super::params::Params;
use super::store::{self, Hook, Level};
use super::{check_url, distinct, one, too_many_urls, urls_of, webhooks_value, writable_name};

/// Adds a URL to names.
pub(super) async fn add(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    add_to(&state, &call, domain).await
}

/// [`add`], for a request that was read already.
pub(super) async fn add_to(state: &MailgunState, call: &Call, domain: String) -> Result<Response, Refusal> {
    let (url, names) = wish(&call.form)?;
    let limit = state.shared.settings.max_urls;
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        for name in names {
            if urls_of(hooks, &domain, name).contains(&url) {
                return Err(Refusal::reason(format!("Webhook for event type '{}' with URL '{url}' already exists", name.text())));
            }
            append(hooks, &domain, name, &url, limit)?;
        }
        Ok(webhooks_value(hooks, &domain, true))
    };
    Ok(answer::ok(&store::change(&call.by, call.workspace, plan).await?))
}

/// Makes the names of a URL exactly these.
pub(super) async fn replace(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    let (url, names) = wish(&call.form)?;
    let limit = state.shared.settings.max_urls;
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        let is_this = |hook: &Hook| hook.is_of(&domain) && hook.url == url;
        if !hooks.iter().any(is_this) {
            return Err(Refusal::description(StatusCode::NOT_FOUND, "Webhook not found"));
        }
        hooks.retain(|hook| !is_this(hook) || names.contains(&hook.name));
        for name in names {
            if !urls_of(hooks, &domain, name).contains(&url) {
                append(hooks, &domain, name, &url, limit)?;
            }
        }
        Ok(webhooks_value(hooks, &domain, true))
    };
    Ok(answer::ok(&store::change(&call.by, call.workspace, plan).await?))
}

/// Takes URLs off all names.
pub(super) async fn remove(State(state): State<MailgunState>, Path(domain): Path<String>, request: Request) -> Result<Response, Refusal> {
    let call = state.shared.open(request, Service::Webhooks, Scope::Manage).await?;
    let domain = state.shared.domain(call.workspace, &domain)?;
    let given = [call.query.all("url"), call.form.all("url")].concat();
    let urls: Vec<String> = given.into_iter().flat_map(split_urls).map(str::to_owned).collect();
    if urls.is_empty() {
        return Err(Refusal::field("url", None));
    }
    let plan = move |hooks: &mut Vec<Hook>, _: i64| {
        hooks.retain(|hook| !(hook.is_of(&domain) && urls.contains(&hook.url)));
        Ok(webhooks_value(hooks, &domain, true))
    };
    Ok(answer::ok(&store::change(&call.by, call.workspace, plan).await?))
}

/// The URL and the names of a request.
fn wish(form: &Params) -> Result<(String, Vec<Name>), Refusal> {
    let url = one(&form.all("url"), "url")?;
    check_url(url).map_err(|complaint| Refusal::reason(format!("invalid parameters: {complaint}")))?;
    let types = distinct(form.all("event_types"));
    if types.is_empty() {
        return Err(Refusal::bad("Missing parameter 'event_types'"));
    }
    let names = types.into_iter().map(writable_name).collect::<Result<Vec<Name>, String>>();
    Ok((url.to_owned(), names.map_err(|complaint| Refusal::reason(format!("invalid parameters: {complaint}")))?))
}

fn append(hooks: &mut Vec<Hook>, domain: &str, name: Name, url: &str, limit: usize) -> Result<(), Refusal> {
    let places = hooks.iter().filter(|hook| hook.is_of(domain) && hook.name == name).map(|hook| hook.position + 1);
    let (count, next) = places.fold((0, 0), |(count, next), place| (count + 1, next.max(place)));
    if count >= limit {
        return Err(Refusal::reason(too_many_urls(limit, name)));
    }
    hooks.push(Hook::new(Level::Domain { domain: domain.to_owned() }, name, url, next));
    Ok(())
}

/// The URLs of one value: commas part them only where another URL begins, since a URL may hold commas.
fn split_urls(text: &str) -> Vec<&str> {
    let mut urls = Vec::new();
    let mut rest = text;
    while let Some(at) = next_url(rest) {
        urls.push(&rest[..at]);
        rest = &rest[at + 1..];
    }
    urls.push(rest);
    urls.retain(|url| !url.trim().is_empty());
    urls
}

/// Where the comma before the next URL is.
fn next_url(text: &str) -> Option<usize> {
    let begins = |rest: &str| rest.starts_with("http://") || rest.starts_with("https://");
    text.match_indices(',').map(|(at, _)| at).find(|at| begins(&text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::split_urls;

    #[test]
    fn commas_part_urls_only_before_urls() {
        assert_eq!(split_urls("http://a/?x=1,2,https://b/,"), ["http://a/?x=1,2", "https://b/,"]);
        assert_eq!(split_urls("http://a/,http://b/"), ["http://a/", "http://b/"]);
        assert_eq!(split_urls(" "), [""; 0]);
    }
}
