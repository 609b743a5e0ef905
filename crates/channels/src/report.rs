//! Putting reports together.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::http_client::Exchange;
use crate::{Outcome, Report, SendError};

impl Report {
    /// No answer, or none worth keeping.
    pub(crate) fn failed(error: SendError, request: Arc<str>, started: Instant) -> Self {
        Self {
            outcome: Outcome::Failed(error),
            status: None,
            request,
            response: Arc::default(),
            response_body: Bytes::new(),
            retry_after: None,
            carrier_id: None,
            duration: started.elapsed(),
        }
    }

    /// An HTTP answer with `outcome`, unless the answer broke off: then the try failed.
    pub(crate) fn answered(exchange: Exchange, outcome: Outcome, request: Arc<str>, started: Instant) -> Self {
        Self {
            outcome: exchange.broken.map_or(outcome, Outcome::Failed),
            status: Some(exchange.status),
            request,
            response: exchange.response,
            response_body: exchange.body,
            retry_after: exchange.retry_after,
            carrier_id: None,
            duration: started.elapsed(),
        }
    }
}
