//! Any provider with an HTTP API: a template of its request, a rule for its answer, and [`GatewayRules`] for what it calls back.

mod rules;
mod settings;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;

pub use self::rules::{CallbackError, GatewayRules};
pub(super) use self::settings::{GatewaySettings, parse};
use super::{Carrier, Handed, Handover};
use crate::chat::excerpt;
use crate::dial::Outlet;
use crate::failure::Code;
use crate::http_client::{Exchange, HttpClient};
use crate::tls::Tls;
use crate::{SendError, Sms};

/// The carrier.
pub(super) struct Gateway {
    settings: GatewaySettings,
    http: HttpClient,
    label: String,
}

#[async_trait]
impl Carrier for Gateway {
    fn label(&self) -> &str {
        &self.label
    }

    async fn hand_over(&self, handover: Handover<'_>) -> Handed {
        let request = match self.request(handover.sms) {
            Ok(request) => request,
            Err(error) => return Handed::refused(error, None),
        };
        match self.http.exchange(request, handover.connect_timeout, handover.timeout).await {
            Ok(exchange) => self.judge(exchange),
            Err(error) => Handed::refused(error, None),
        }
    }
}

impl Gateway {
    pub(super) fn new(settings: GatewaySettings, outlet: Arc<Outlet>, tls: Arc<Tls>) -> Self {
        let label = format!("{} via this server's SMS gateway", settings.method);
        Self { settings, http: HttpClient::new(outlet, tls), label }
    }

    fn request(&self, sms: &Sms) -> Result<Request<Full<Bytes>>, SendError> {
        let made =
            self.settings.render(sms).map_err(|error| Code::ContentUnsupported.error(format!("the SMS gateway's template: {error}")))?;
        let mut request = Request::builder().method(self.settings.method.clone()).uri(made.url);
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        if let Some(content_type) = &self.settings.content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        request
            .body(Full::new(Bytes::from(made.body)))
            .map_err(|error| Code::ContentUnsupported.error(format!("the SMS gateway's request cannot be made: {error}")))
    }

    fn judge(&self, exchange: Exchange) -> Handed {
        let status = exchange.status;
        let document: Value = serde_json::from_slice(&exchange.body).unwrap_or_default();
        let taken = match exchange.broken {
            Some(error) => Err(error),
            None if self.settings.success.contains(&status) => {
                Ok(self.settings.id.as_deref().and_then(|pointer| document.pointer(pointer)).and_then(rules::text_of))
            }
            None => {
                let said = self.settings.error.as_deref().and_then(|pointer| document.pointer(pointer)).and_then(rules::text_of);
                let said = said.unwrap_or_else(|| excerpt(&exchange.body));
                let text = format!("the SMS gateway answered {status}: {said}");
                Err(match status {
                    429 => Code::RateLimited.error(text),
                    401 | 403 | 408 | 425 | 500.. => Code::SmsDeferred.error(text),
                    _ => Code::SmsRejected.error(text),
                })
            }
        };
        Handed { taken, status: Some(status), response: exchange.response, body: exchange.body, retry_after: exchange.retry_after }
    }
}

#[cfg(test)]
mod tests;
