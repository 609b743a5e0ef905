//! Who calls, for which account (MessageMedia 2, 2.1).
//!
//! The user is a key's id or its token, the password its token. HMAC needs the token itself, which only keys made for it keep.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use posthaste_domain::resource::{Key, KeyKind, Scope, Workspace};
use posthaste_domain::signature::constant_time_eq;
use posthaste_engine::Entry;

use super::answer::{NOT_FOUND, Refusal};
use super::hmac::{Credentials, Signed};
use super::{Call, MessageMediaState};
use crate::auth::{authorization, basic, hand, insider, may, private_key};
use crate::body::{self, BodyError};

/// The header by which a key of an account acts for a sub-account.
const ACCOUNT: &str = "account";

impl MessageMediaState {
    /// Lets a request in: its key, what the key may do, the account that it acts for; with its body read.
    pub(super) async fn admit(&self, request: Request, scope: Scope) -> Result<Call, Refusal> {
        let (parts, mut raw) = request.into_parts();
        let admitted = self.identify(&parts, &mut raw).await;
        if admitted.is_err() && !parts.headers.contains_key(header::EXPECT) {
            body::discard(&mut raw).await;
        }
        let (key, body) = admitted?;
        let suffices = may(&key.doc, scope) || (scope == Scope::Read && may(&key.doc, Scope::Manage));
        if !suffices {
            return Err(Refusal::Scope);
        }
        let workspace = self.account_of(&key, &parts.headers)?;
        let by = hand(&self.engine, &parts.extensions, &key);
        Ok(Call { parts, body, workspace, by })
    }

    async fn read(&self, raw: &mut Body) -> Result<Bytes, BodyError> {
        body::read(raw, self.settings.max_body_bytes, self.settings.body_timeout).await
    }

    async fn identify(&self, parts: &Parts, raw: &mut Body) -> Result<(Arc<Entry<Key>>, Bytes), Refusal> {
        if let Some(key) = insider(&parts.extensions) {
            return Ok((key, self.read(raw).await?));
        }
        if let Some((user, password)) = basic(&parts.headers) {
            let key = private_key(&self.engine, &password).filter(|key| {
                let is_id = constant_time_eq(user.as_bytes(), key.id.as_bytes());
                is_id || constant_time_eq(user.as_bytes(), password.as_bytes())
            });
            let key = key.ok_or(Refusal::Unauthorized)?;
            return Ok((key, self.read(raw).await?));
        }
        let credentials = authorization(&parts.headers).and_then(Credentials::parse).ok_or(Refusal::Unauthorized)?;
        let by_token = private_key(&self.engine, credentials.username);
        let is_token = by_token.is_some();
        let key = by_token.or_else(|| self.engine.key_by_id(credentials.username)).filter(|key| key.doc.kind == KeyKind::Private);
        let key = key.ok_or(Refusal::Unauthorized)?;
        let secret = key.doc.secret.as_deref().or(is_token.then_some(credentials.username)).ok_or(Refusal::Unauthorized)?;
        let body = self.read(raw).await?;
        let request = Signed {
            method: parts.method.as_str(),
            path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
            headers: &parts.headers,
            body: &body,
        };
        let tolerance_ms = i64::try_from(self.settings.date_tolerance.as_millis()).unwrap_or(i64::MAX);
        if !credentials.verify(secret, &request, self.engine.now_ms(), tolerance_ms) {
            return Err(Refusal::Unauthorized);
        }
        Ok((key, body))
    }

    /// The workspace that a call is for: the key's own, or the one of its sub-accounts that the header names.
    fn account_of(&self, key: &Entry<Key>, headers: &HeaderMap) -> Result<i64, Refusal> {
        let Some(named) = headers.get(ACCOUNT) else { return Ok(key.workspace) };
        let named = named.to_str().ok().map(str::trim).unwrap_or_default();
        let own = self.engine.id_of(key.workspace).unwrap_or_default();
        if named == own {
            return Ok(key.workspace);
        }
        let is_named = |workspace: &Arc<Entry<Workspace>>| workspace.id == named && workspace.doc.parent.as_deref() == Some(own.as_str());
        let mut workspaces = self.engine.workspaces().into_iter().filter_map(|number| self.engine.by_number::<Workspace>(number));
        workspaces.find(is_named).map(|workspace| workspace.number).ok_or(NOT_FOUND)
    }
}
