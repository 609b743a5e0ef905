//! Create, list, read, replace, change, delete: the same for every configuration resource.
//!
//! A resource has an *input* (what a client may write) and a *view* (what it reads: the input with secrets masked, and more). `PUT` takes an
//! input; `PATCH` merges into the present input (RFC 7396) and goes on as `PUT`. Fields that only the view has may be sent back
//! unchanged.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::MethodFilter;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use posthaste_domain::clock::rfc3339;
use posthaste_domain::resource::Scope;
use posthaste_engine::{Entry, Managed, ResourceError};
use posthaste_store::Order;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::{json, list_page};
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Id, Input, PAGE, Param, ParamKind, Params, kind_of, read_value};
use crate::problem::Problem;

/// What stands in answers for a secret. Sent back, it means the stored one.
pub(crate) const MASK: &str = "********";

/// What every resource says about itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct Meta {
    /// 1 at creation, one more at each change. Also the `ETag`.
    version: i64,
    /// Time of creation.
    #[schema(format = DateTime)]
    created_at: String,
    /// Time of the last change.
    #[schema(format = DateTime)]
    updated_at: String,
}

impl Meta {
    pub(crate) fn of<R>(entry: &Entry<R>) -> Self {
        Self { version: entry.version, created_at: rfc3339(entry.created_ms), updated_at: rfc3339(entry.updated_ms) }
    }
}

/// A resource that clients create, read, change and delete.
pub(crate) trait Crud: Managed {
    /// What clients write.
    type Input: DeserializeOwned + Serialize + ToSchema + Send;
    /// What clients read.
    type View: Serialize + ToSchema + Send;
    /// Its name in messages.
    const NOUN: &'static str;
    /// Its list, as cursors know it.
    const LIST: List;
    /// Fields that only the view has, besides those that all resources share: sent back, they must be as they were.
    const READ_ONLY: &'static [&'static str] = &[];
    /// Fields that only the view has and that change by themselves: sent back, they are ignored.
    const VOLATILE: &'static [&'static str] = &[];

    /// Filters of its list besides `search`.
    const FILTERS: &'static [Param] = &[];

    /// Parameters of its deletion.
    const DELETION: &'static [Param] = &[];

    /// Text that `search` looks in.
    fn search_text(&self) -> &str;

    /// Checks what its [`Self::FILTERS`] name, once for a list.
    ///
    /// # Errors
    /// If one of them names what is not there.
    fn check_filters(_: &AppState, _workspace: i64, _: &Params) -> Result<(), Problem> {
        Ok(())
    }

    /// Whether it passes its [`Self::FILTERS`].
    ///
    /// # Errors
    /// If one of them cannot be used.
    fn fits(&self, _: &Params) -> Result<bool, Problem> {
        Ok(true)
    }

    /// The input that would make this document, secrets in place.
    fn input(&self) -> Self::Input;

    /// The document that an input asks for. `old` is the present one on a change.
    fn build(state: &AppState, input: Self::Input, old: Option<&Entry<Self>>) -> Result<Self, Problem>;

    /// What has to be there once a client made or changed this; it was stored.
    fn saved(_: &AppState, _: &Entry<Self>) -> impl Future<Output = Result<(), Problem>> + Send {
        async { Ok(()) }
    }

    /// Deletes it, as its [`Self::DELETION`] says.
    fn remove(state: &AppState, workspace: i64, id: &str, _: &Params) -> impl Future<Output = Result<(), Problem>> + Send {
        async move { Ok(state.engine.delete::<Self>(workspace, id).await?) }
    }

    /// What clients see, secrets masked.
    fn view(state: &AppState, entry: &Entry<Self>) -> impl Future<Output = Self::View> + Send;
}

const SEARCH: Param = Param::new("search", ParamKind::Text, "Only items with this text in their name, whatever the case.");

/// Parameters of resource lists.
pub(crate) const LIST: [Param; 4] = [PAGE[0], PAGE[1], PAGE[2], SEARCH];

/// Names and words of a family of routes.
pub(crate) struct Family {
    /// `/targets`
    pub all: &'static str,
    /// `/targets/{id}`
    pub one: &'static str,
    /// Operation ids of list, read, replace, change, delete.
    pub ids: [&'static str; 5],
}

const VERSIONS: &str = "Send `If-Match` with the `ETag` that was read, or its number as `version` in the body, to be refused (412) when the resource \
                        changed in between.";

/// Adds list, read, replace, change and delete. Creation is the resource's own, since answers of creations differ.
pub(crate) fn routes<R: Crud>(api: &mut Api, family: &Family) {
    let Family { all, one, ids: [list_id, read_id, put_id, patch_id, delete_id] } = *family;
    api.add(Op::get(all, list_id, "List").scope(Scope::Read).query(&[&LIST, R::FILTERS]).page_of::<R::View>(), list::<R>);
    api.add(Op::get(one, read_id, "Read one").scope(Scope::Read).answer::<R::View>(StatusCode::OK, "The resource."), read::<R>);
    let put = Op::new(MethodFilter::PUT, one, put_id, "Replace").about(VERSIONS).if_match();
    api.add(put.scope(Scope::Manage).body::<R::Input>().answer::<R::View>(StatusCode::OK, "The new state."), put_one::<R>);
    let patch = Op::new(MethodFilter::PATCH, one, patch_id, "Change some fields")
        .about("A merge patch (RFC 7396): absent fields stay, null removes. Versions as with PUT.")
        .if_match();
    api.add(patch.scope(Scope::Manage).patch_body::<R::Input>().answer::<R::View>(StatusCode::OK, "The new state."), patch_one::<R>);
    let mut delete = Op::delete(one, delete_id, "Delete").scope(Scope::Manage);
    if !R::DELETION.is_empty() {
        delete = delete.query(&[R::DELETION]);
    }
    api.add(delete.empty(StatusCode::NO_CONTENT, "It is gone."), delete_one::<R>);
}

/// The answer that shows a resource, with its `ETag`.
pub(crate) async fn shown<R: Crud>(state: &AppState, status: StatusCode, entry: &Entry<R>) -> Response {
    with_etag(json(status, &R::view(state, entry).await), entry.version)
}

/// Adds the `ETag` of a version.
pub(crate) fn with_etag(mut response: Response, version: i64) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{version}\"")).expect("a quoted number is a header value");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// The entry of an id in a workspace. A node that does not hear from the others cannot say that there is none.
pub(crate) fn find<R: Crud>(state: &AppState, workspace: i64, id: &str) -> Result<Arc<Entry<R>>, Problem> {
    let missing = || if state.engine.is_cut_off() { Problem::cut_off() } else { Problem::not_found(R::NOUN, id) };
    state.engine.get::<R>(workspace, id).ok_or_else(missing)
}

async fn list<R: Crud>(State(state): State<AppState>, Reader(caller): Reader, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::read(query.as_deref(), &[&LIST, R::FILTERS].concat())?;
    R::check_filters(&state, caller.workspace(), &params)?;
    let mut entries = state.engine.list::<R>(caller.workspace());
    if !R::FILTERS.is_empty() {
        let mut fitting = Vec::with_capacity(entries.len());
        for entry in entries {
            if entry.doc.fits(&params)? {
                fitting.push(entry);
            }
        }
        entries = fitting;
    }
    list_entries(&state, &params, entries).await
}

/// A page of entries, which come oldest first.
pub(crate) async fn list_entries<R: Crud>(state: &AppState, params: &Params, entries: Vec<Arc<Entry<R>>>) -> Result<Response, Problem> {
    let Found { entries, order, next } = select(params, R::LIST, &entries, |doc: &R| doc.search_text().to_owned())?;
    let mut views = Vec::with_capacity(entries.len());
    for entry in &entries {
        views.push(R::view(state, entry).await);
    }
    Ok(list_page(R::LIST, order, &views, next))
}

/// What a page of a list shows.
pub(crate) struct Found<R> {
    /// The entries of the page.
    pub entries: Vec<Arc<Entry<R>>>,
    /// In which order they are.
    pub order: Order,
    /// Number of the entry after which the next page goes on.
    pub next: Option<i64>,
}

/// The entries that a page of a list shows, of all of them, which come oldest first. `text` is what `search` looks in.
pub(crate) fn select<R>(params: &Params, list: List, entries: &[Arc<Entry<R>>], text: impl Fn(&R) -> String) -> Result<Found<R>, Problem> {
    let (order, limit) = (params.order()?, params.limit()?);
    let after = params.cursor(list, order)?;
    let needle = params.text("search").map(str::to_lowercase);
    let fits = |entry: &&Arc<Entry<R>>| needle.as_deref().is_none_or(|n| text(&entry.doc).to_lowercase().contains(n));
    // Numbers ascend and are never reused, so a page boundary stays where it is whatever is created or deleted meanwhile.
    let mut found: Vec<Arc<Entry<R>>> = match order {
        Order::Asc => {
            let begin = after.map_or(0, |after| entries.partition_point(|entry| entry.number <= after));
            entries[begin..].iter().filter(fits).take(limit + 1).cloned().collect()
        }
        Order::Desc => {
            let end = after.map_or(entries.len(), |after| entries.partition_point(|entry| entry.number < after));
            entries[..end].iter().rev().filter(fits).take(limit + 1).cloned().collect()
        }
    };
    let next = if found.len() > limit { Some(found[limit - 1].number) } else { None };
    found.truncate(limit);
    Ok(Found { entries: found, order, next })
}

async fn read<R: Crud>(State(state): State<AppState>, Reader(caller): Reader, Id(id): Id) -> Result<Response, Problem> {
    Ok(shown(&state, StatusCode::OK, &*find::<R>(&state, caller.workspace(), &id)?).await)
}

async fn put_one<R: Crud>(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    headers: HeaderMap,
    Input(body): Input<Value>,
) -> Result<Response, Problem> {
    let old = find::<R>(&state, caller.workspace(), &id)?;
    let body = object(body)?;
    change(&state.by(&caller), &headers, old, |_| body.clone()).await
}

async fn patch_one<R: Crud>(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    headers: HeaderMap,
    Input(body): Input<Value>,
) -> Result<Response, Problem> {
    let old = find::<R>(&state, caller.workspace(), &id)?;
    let patch = object(body)?;
    change(&state.by(&caller), &headers, old, |doc| merged(doc, patch.clone())).await
}

async fn delete_one<R: Crud>(
    State(state): State<AppState>,
    Manager(caller): Manager,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    let params = if R::DELETION.is_empty() { Params::default() } else { Params::read(query.as_deref(), R::DELETION)? };
    find::<R>(&state, caller.workspace(), &id)?;
    R::remove(&state.by(&caller), caller.workspace(), &id, &params).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of a change as an object.
pub(crate) fn object(body: Value) -> Result<Map<String, Value>, Problem> {
    match body {
        Value::Object(map) => Ok(map),
        other => Err(Problem::new(Code::InvalidField, format!("the body: expected an object, found {}", kind_of(&other)))),
    }
}

/// The present input with a merge patch applied.
pub(crate) fn merged<R: Crud>(doc: &R, patch: Map<String, Value>) -> Map<String, Value> {
    merged_input(&doc.input(), patch)
}

/// An input with a merge patch applied.
pub(crate) fn merged_input(input: &impl Serialize, patch: Map<String, Value>) -> Map<String, Value> {
    let mut present = serde_json::to_value(input).expect("inputs always serialise");
    merge(&mut present, Value::Object(patch));
    match present {
        Value::Object(map) => map,
        _ => unreachable!("an input is an object and so is the patch"),
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.shift_remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Stores a new input over the old document and shows the outcome. `body` makes the input, of a newer document too: what somebody else changes
/// meanwhile stays, unless the client names a version.
pub(crate) async fn change<R: Crud>(
    state: &AppState,
    headers: &HeaderMap,
    mut old: Arc<Entry<R>>,
    body: impl Fn(&R) -> Map<String, Value>,
) -> Result<Response, Problem> {
    let entry = loop {
        let mut body = body(&old.doc);
        let expected = expected_version(headers, body.shift_remove("version"))?;
        drop_read_only(state, &old, &mut body).await?;
        let input: R::Input = read_value(Value::Object(body))?;
        let doc = R::build(state, input, Some(&old))?;
        match state.engine.update::<R>(old.workspace, &old.id, expected.or(Some(old.version)), doc).await {
            Err(ResourceError::Conflict { expected: of, found }) if expected.is_none() => {
                let now = find::<R>(state, old.workspace, &old.id)?;
                // What cannot be read here is not changed.
                if now.version == old.version {
                    return Err(ResourceError::Conflict { expected: of, found }.into());
                }
                old = now;
            }
            other => break other?,
        }
    };
    R::saved(state, &entry).await?;
    Ok(shown(state, StatusCode::OK, &*entry).await)
}

/// The version that the client has read, from `If-Match` or the body.
pub(crate) fn expected_version(headers: &HeaderMap, body: Option<Value>) -> Result<Option<i64>, Problem> {
    if let Some(tag) = headers.get(header::IF_MATCH) {
        let text = tag.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(None);
        }
        let number = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse().ok();
        return number.map(Some).ok_or_else(|| {
            Problem::new(Code::VersionConflict, "If-Match must be * or the ETag of one version, such as \"3\"").at("If-Match")
        });
    }
    match body {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| Problem::invalid("version", "expected a whole number")),
    }
}

/// Fields that only the view has may be sent back as they were read; other values are refused.
async fn drop_read_only<R: Crud>(state: &AppState, old: &Entry<R>, body: &mut Map<String, Value>) -> Result<(), Problem> {
    for name in R::VOLATILE.iter().chain(&["updated_at"]) {
        body.shift_remove(*name);
    }
    let names = || R::READ_ONLY.iter().copied().chain(OF_ALL);
    if !names().any(|name| body.contains_key(name)) {
        return Ok(());
    }
    drop_unchanged(&R::view(state, old).await, names(), body)
}

/// What every resource says about itself and clients cannot change.
pub(crate) const OF_ALL: [&str; 2] = ["id", "created_at"];

/// Takes fields out of a body that only the view has, and refuses those that are not as the view has them.
pub(crate) fn drop_unchanged(
    view: &impl Serialize,
    names: impl Iterator<Item = &'static str>,
    body: &mut Map<String, Value>,
) -> Result<(), Problem> {
    let sent: Vec<(&str, Value)> = names.filter_map(|name| Some((name, body.shift_remove(name)?))).collect();
    let view = serde_json::to_value(view).expect("views always serialise");
    match sent.iter().find(|(name, value)| view.get(name) != Some(value)) {
        Some((name, _)) => Err(Problem::invalid(*name, "this field cannot be changed")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_as_rfc_7396_says() {
        for (target, patch, merged) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut value = target;
            merge(&mut value, patch);
            assert_eq!(value, merged);
        }
    }

    #[test]
    fn versions_come_from_the_header_first() {
        let mut headers = HeaderMap::new();
        assert_eq!(expected_version(&headers, Some(json!(3))), Ok(Some(3)));
        assert_eq!(expected_version(&headers, Some(json!("3"))).expect_err("refused").field(), Some("version"));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"7\""));
        assert_eq!(expected_version(&headers, Some(json!(3))), Ok(Some(7)));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("*"));
        assert_eq!(expected_version(&headers, None), Ok(None));
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"x\""));
        assert_eq!(expected_version(&headers, None).expect_err("refused").code(), Code::VersionConflict);
    }
}
