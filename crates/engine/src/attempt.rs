//! One attempt: render, sign, send, and say what comes next.
//!
//! Everything that can fail here fails the delivery with a code and a message for the target's owner, never the server.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::membership::Tenure;
use crate::verdict::judge;
use bytes::Bytes;
use posthaste_channels::{Content, ContentKind, Dispatch, Outcome, Preview, Report};
use posthaste_domain::clock::Clock;
use posthaste_domain::delivery::{Attempt, Delivery, DeliveryState, Fault, PendingDelivery};
use posthaste_domain::event::Event;
use posthaste_domain::id::{DeliveryKey, Sequence};
use posthaste_domain::policy::breaker::{Failure, FailureKind};
use posthaste_domain::policy::{Decision, Verdict, next_attempt};
use posthaste_domain::signature::{hex, hmac_sha256};
use posthaste_domain::template::{Block, Form, Limits, RenderInput, Rendered, Template};
use posthaste_store::{Journal, PageLimit, Settlement, StoreError};
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::door::Door;
use crate::format::{Format, FormatBody, FormatError, FormatInput, Try};
use crate::lanes::LaneVerdict;
use crate::messages::{Heavy, Recent, carrier_id};
use crate::routing::{Routing, SubscriptionRoute, TargetRoute, WorkspaceRoutes};
use crate::steward::{DELIVERY_FAILED, News, Steward};

/// What is sent to chat and e-mail when a subscription has no template.
const DEFAULT_TEXT: &str = "**{{ event.name }}**\n\n{{ data|json_encode }}";

/// How long an attempt waits until it reads again from a journal that is away.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Beyond its own deadline a channel is given this long before it counts as hanging.
const GRACE: Duration = Duration::from_secs(5);

/// Makes attempts.
pub(crate) struct Sender {
    pub door: Arc<Door>,
    pub journal: Arc<dyn Journal>,
    pub clock: Arc<dyn Clock>,
    pub catalogue: Arc<Catalogue>,
    pub routing: Arc<Routing>,
    pub public_base_url: String,
    pub page_secret: [u8; 32],
    pub recent: Recent,
    pub steward: Steward,
    pub heavy: Heavy,
    /// Until when what this node sends is surely its own to send.
    pub tenure: Tenure,
}

/// What came of an attempt.
pub(crate) struct Conclusion {
    /// For the journal.
    pub settlement: Settlement,
    /// For the lane.
    pub verdict: LaneVerdict,
    /// The delivery as it is now, if it will be tried again.
    pub retry: Option<Box<PendingDelivery>>,
    /// Whether another try could have helped, had there been one left.
    pub could_retry: bool,
}

/// A failure before anything was sent.
pub(crate) struct Unsendable {
    pub code: &'static str,
    pub message: String,
    pub fault: Fault,
    pub obstacle: Obstacle,
}

/// What stands in the way of sending, which decides what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Trying again cannot help.
    Lasting,
    /// Trying again can help.
    Passing,
    /// The channel did not end in time.
    Hanging,
    /// The journal cannot be read for now, so nothing was tried.
    NoJournal,
}

impl Sender {
    /// Makes one attempt of a delivery.
    pub async fn attempt(&self, pending: PendingDelivery, target: &TargetRoute, routes: &WorkspaceRoutes) -> Conclusion {
        let key = pending.delivery.key;
        let Some(subscription) = routes.subscriptions.get(&pending.delivery.subscription) else {
            let now_ms = self.clock.now_ms();
            let settlement = crate::lanes::cancellation(key, target.number, now_ms);
            return Conclusion { settlement, verdict: LaneVerdict::Nothing, retry: None, could_retry: false };
        };
        let id = pending.delivery.id();
        let is_notice = pending.event.type_name.as_deref() == Some(DELIVERY_FAILED);
        if subscription.carrier.is_some() {
            // Boxed, because every attempt would be as large as this rare one.
            return Box::pin(self.carry(pending, subscription, target)).await;
        }
        // The time of the attempt is when it is sent, not when its batch could not be read yet: receivers refuse old times.
        let (at_ms, report) = loop {
            let at_ms = self.clock.now_ms();
            let content = match Self::check_age(&pending, subscription, at_ms) {
                Ok(()) => self.content(&pending, subscription, target, routes, &id, at_ms).await,
                Err(expired) => Err(expired),
            };
            match content {
                // It took so long to read that others may be sending it.
                Ok(_) if !self.tenure.holds() => tokio::time::sleep(READ_AGAIN).await,
                Ok(content) => break (at_ms, self.send(&id, subscription, target, content).await),
                Err(unsendable) if unsendable.obstacle == Obstacle::NoJournal => tokio::time::sleep(READ_AGAIN).await,
                Err(unsendable) => break (at_ms, Err(unsendable)),
            }
        };
        let conclusion = self.conclude(pending, subscription, target, at_ms, report);
        self.tell_owner(&conclusion, subscription, target, id, is_notice);
        conclusion
    }

    /// What to make of an attempt that panicked: a bug of this server, which another try may not meet.
    pub fn panicked(&self, pending: PendingDelivery, target: &TargetRoute, routes: &WorkspaceRoutes) -> Conclusion {
        let at_ms = self.clock.now_ms();
        let Some(subscription) = routes.subscriptions.get(&pending.delivery.subscription) else {
            let settlement = crate::lanes::cancellation(pending.delivery.key, target.number, at_ms);
            return Conclusion { settlement, verdict: LaneVerdict::Nothing, retry: None, could_retry: false };
        };
        let message = "the server failed; its log says why".to_owned();
        self.conclude(
            pending,
            subscription,
            target,
            at_ms,
            Err(Unsendable { code: "internal", message, fault: Fault::Ours, obstacle: Obstacle::Passing }),
        )
    }

    /// Offers a message to its carrier, and tells what came of it.
    async fn carry(&self, pending: PendingDelivery, subscription: &SubscriptionRoute, target: &TargetRoute) -> Conclusion {
        let _room = self.heavy.room(pending.event.payload.len()).await;
        // It may have waited so long that others are sending it.
        while !self.tenure.holds() {
            tokio::time::sleep(READ_AGAIN).await;
        }
        let at_ms = self.clock.now_ms();
        let carried = match self.message(&pending) {
            Ok(carried) => carried,
            Err(unsendable) => return self.conclude(pending, subscription, target, at_ms, Err(unsendable)),
        };
        let content = self.carried(&carried);
        let report = match &target.channel {
            Some(channel) if channel.takes(content.kind()) => self.send(&pending.delivery.id(), subscription, target, content).await,
            _ => Err(Unsendable {
                code: "channel_unknown",
                message: format!("this server has no carrier for {}", target.channel_name),
                fault: Fault::Ours,
                obstacle: Obstacle::Passing,
            }),
        };
        let carrier_id = carrier_id(&report);
        // What a carrier says of one recipient says nothing of the carrier, unless it asks to be left alone.
        let spoke = report.as_ref().is_ok_and(|report| {
            let said_no = matches!(&report.outcome, Outcome::Failed(error) if error.fault == Fault::Theirs);
            (report.status.is_some() || said_no) && report.retry_after.is_none()
        });
        let mut conclusion = self.conclude(pending, subscription, target, at_ms, report);
        if spoke && matches!(conclusion.verdict, LaneVerdict::Failure(_)) {
            conclusion.verdict = LaneVerdict::Nothing;
        }
        self.tell_outcome(&carried, carrier_id.as_deref(), &conclusion).await;
        conclusion
    }

    /// Tells whoever wants to know that a delivery failed for good.
    fn tell_owner(
        &self,
        conclusion: &Conclusion,
        subscription: &SubscriptionRoute,
        target: &TargetRoute,
        delivery: String,
        is_notice: bool,
    ) {
        let Settlement { state: DeliveryState::Failed, attempt: Some(attempt), .. } = &conclusion.settlement else { return };
        let Some(notify) = &subscription.notify else { return };
        // A notice that does not arrive is no reason for another notice.
        if is_notice {
            return;
        }
        let reason = match (&attempt.message, attempt.status) {
            (Some(message), _) => message.to_string(),
            (None, Some(status)) => format!("the target answered {status}"),
            (None, None) => "the target did not answer".to_owned(),
        };
        let (workspace, attempts, notify) = (target.workspace, attempt.number, Arc::clone(notify));
        self.steward.tell(News::Failed { workspace, target: target.number, delivery, attempts, reason, notify });
    }

    /// Sends a sample to a target once. Nothing is stored and nothing follows from it.
    pub async fn test(&self, event: Arc<Event>, target: &TargetRoute, subscription: &SubscriptionRoute) -> (bool, Attempt) {
        let routes = self.routing.of(&self.catalogue, target.workspace);
        let at_ms = self.clock.now_ms();
        let pending = sample(event, target, subscription, at_ms);
        let id = pending.delivery.id();
        let report = match self.content(&pending, subscription, target, &routes, &id, at_ms).await {
            Ok(content) => self.send(&id, subscription, target, content).await,
            Err(unsendable) => Err(unsendable),
        };
        let Conclusion { settlement, .. } = self.conclude(pending, subscription, target, at_ms, report);
        let delivered = settlement.state == DeliveryState::Delivered;
        (delivered, settlement.attempt.unwrap_or_else(|| unreachable!("conclude always records an attempt")))
    }

    /// What [`Self::test`] would send; or why it could not, for the target's owner.
    pub async fn preview(&self, event: Arc<Event>, target: &TargetRoute, subscription: &SubscriptionRoute) -> Result<Preview, String> {
        let routes = self.routing.of(&self.catalogue, target.workspace);
        let at_ms = self.clock.now_ms();
        let pending = sample(event, target, subscription, at_ms);
        let id = pending.delivery.id();
        let content = self.content(&pending, subscription, target, &routes, &id, at_ms).await.map_err(|unsendable| unsendable.message)?;
        let Some(channel) = &target.channel else { unreachable!("content() refuses targets without a channel") };
        channel.preview(&target.settings, content).map_err(|error| error.message)
    }

    /// Refuses a delivery that waited longer than its format keeps it.
    fn check_age(pending: &PendingDelivery, subscription: &SubscriptionRoute, at_ms: i64) -> Result<(), Unsendable> {
        let Some(limit) = subscription.format.as_ref().and_then(|format| format.keeps_for()) else { return Ok(()) };
        let delivery = &pending.delivery;
        if delivery.attempts > 0 && delivery.state == DeliveryState::Queued {
            // Somebody sends it again by hand.
            return Ok(());
        }
        let since_ms = if delivery.attempts > 0 { delivery.first_attempt_ms } else { delivery.received_ms.max(delivery.due_ms) };
        if at_ms.saturating_sub(since_ms) <= i64::try_from(limit.as_millis()).unwrap_or(i64::MAX) {
            return Ok(());
        }
        let message = "it waited longer than this format keeps a delivery".to_owned();
        Err(Unsendable { code: "expired", message, fault: Fault::Theirs, obstacle: Obstacle::Lasting })
    }

    async fn content(
        &self,
        pending: &PendingDelivery,
        subscription: &SubscriptionRoute,
        target: &TargetRoute,
        routes: &WorkspaceRoutes,
        id: &str,
        at_ms: i64,
    ) -> Result<Content, Unsendable> {
        let channel = target.channel.as_ref().ok_or_else(|| Unsendable {
            code: "channel_unknown",
            message: format!("this server has no channel named {}", target.channel_name),
            fault: Fault::Theirs,
            obstacle: Obstacle::Lasting,
        })?;
        if let Some(template) = &subscription.template {
            let events = Box::pin(self.events(pending)).await?;
            return self.rendered(template, pending, &events, channel.form(), id).map(Content::Message);
        }
        if !channel.takes(ContentKind::Wire) {
            let events = Box::pin(self.events(pending)).await?;
            return self.rendered(default_template(), pending, &events, channel.form(), id).map(Content::Message);
        }
        let Some(format) = &subscription.format else {
            return Err(Unsendable {
                code: "format_unknown",
                message: "the subscription's format is not known to this server".into(),
                fault: Fault::Theirs,
                obstacle: Obstacle::Lasting,
            });
        };
        let secrets = target.secrets_at(at_ms);
        let input = FormatInput {
            event: &pending.event,
            is_batch: pending.delivery.is_batch,
            delivery_id: id,
            method: &target.method,
            url: target.settings.get("url").and_then(Value::as_str).unwrap_or_default(),
            base_url: &self.public_base_url,
            attempt: Try { number: pending.delivery.attempts + 1, at_ms, nonce: rand::random() },
            prepared: &subscription.prepared,
            account: &subscription.account,
            signing: &secrets,
            event_type_secret: pending.event.type_name.as_deref().and_then(|name| routes.type_secret(name)),
        };
        let mut made = if input.is_batch {
            Box::pin(self.batch(pending, format.as_ref(), &input)).await?
        } else {
            format.body(&input).map_err(unwritable)?
        };
        if target.method == "GET" {
            made.body = Bytes::new();
        }
        let headers = format.headers(&input, &made);
        Ok(Content::Wire { body: made.body, headers, query: made.query, url: made.url })
    }

    /// A batch, written page by page: its events are never all in memory.
    async fn batch(&self, pending: &PendingDelivery, format: &dyn Format, input: &FormatInput<'_>) -> Result<FormatBody, Unsendable> {
        let mut body = Vec::new();
        format.open(input, &mut body).map_err(unwritable)?;
        let mut count = 0;
        let mut after = Sequence(0);
        while let Some(last) = self
            .members(pending, after, |event| {
                format.member(input, event, count, &mut body);
                count += 1;
            })
            .await?
        {
            after = last;
        }
        format.close(input, &mut body);
        Ok(FormatBody::new(body))
    }

    /// The event, or all members of the batch.
    async fn events(&self, pending: &PendingDelivery) -> Result<Vec<Arc<Event>>, Unsendable> {
        if !pending.delivery.is_batch {
            return Ok(vec![Arc::clone(&pending.event)]);
        }
        let mut members: Vec<Arc<Event>> = Vec::new();
        let mut after = Sequence(0);
        while let Some(last) = self.members(pending, after, |event| members.push(Arc::clone(event))).await? {
            after = last;
        }
        Ok(members)
    }

    /// Visits some members of a batch; answers the last one's sequence, or `None` when there are no more.
    async fn members(
        &self,
        pending: &PendingDelivery,
        after: Sequence,
        mut visit: impl FnMut(&Arc<Event>),
    ) -> Result<Option<Sequence>, Unsendable> {
        let limit = PageLimit { items: 1000, bytes: 4 << 20 };
        let page = self.journal.members(pending.delivery.key, after, limit).await.map_err(|error| Unsendable {
            code: "store_failed",
            message: format!("the batch could not be read: {error}"),
            fault: Fault::Ours,
            obstacle: if matches!(error, StoreError::Unavailable(_)) { Obstacle::NoJournal } else { Obstacle::Passing },
        })?;
        page.iter().for_each(&mut visit);
        Ok(page.last().map(|event| event.sequence))
    }

    fn rendered(
        &self,
        template: &Template,
        pending: &PendingDelivery,
        events: &[Arc<Event>],
        form: Form,
        id: &str,
    ) -> Result<Rendered, Unsendable> {
        let whole;
        let data: &[u8] = if pending.delivery.is_batch {
            let mut document = b"{\"events\":[".to_vec();
            for (i, event) in events.iter().enumerate() {
                if i > 0 {
                    document.push(b',');
                }
                document.extend_from_slice(&event.payload);
            }
            document.extend_from_slice(b"]}");
            whole = document;
            &whole
        } else {
            &pending.event.payload
        };
        let url = format!("{}/m/{}", self.public_base_url, page_token(&self.page_secret, id));
        let input = RenderInput {
            event_name: pending.event.type_name.as_deref().unwrap_or(""),
            received_at: pending.event.received_ms,
            data,
            full_message_url: Some(&url),
        };
        template.render(&input, form, &Limits::default()).map_err(|error| Unsendable {
            code: error.code(),
            message: error.to_string(),
            fault: Fault::Theirs,
            obstacle: Obstacle::Lasting,
        })
    }

    /// The page of a full message: rendered anew as HTML from its delivery.
    pub fn page(&self, pending: &PendingDelivery, events: &[Arc<Event>]) -> Option<Rendered> {
        let routes = self.routing.of(&self.catalogue, pending.delivery.workspace);
        let template = routes.subscriptions.get(&pending.delivery.subscription).and_then(|s| s.template.clone());
        let template = template.as_deref().unwrap_or_else(|| default_template());
        self.rendered(template, pending, events, Form::Html, &pending.delivery.id()).ok()
    }

    async fn send(&self, id: &str, subscription: &SubscriptionRoute, target: &TargetRoute, content: Content) -> Result<Report, Unsendable> {
        let Some(channel) = &target.channel else { unreachable!("content() refuses targets without a channel") };
        let policy = &subscription.policy;
        let dispatch = Dispatch {
            delivery_id: id,
            settings: &target.settings,
            settings_key: (target.number, target.version),
            content,
            connect_timeout: policy.connect_timeout,
            timeout: policy.timeout,
        };
        if channel.keeps_time() {
            return Ok(channel.send(dispatch).await);
        }
        tokio::time::timeout(policy.timeout + GRACE, channel.send(dispatch)).await.map_err(|_| Unsendable {
            code: "timeout",
            message: "the attempt did not end in time".into(),
            fault: Fault::Network,
            obstacle: Obstacle::Hanging,
        })
    }

    /// Turns what happened into the attempt's record, the delivery's new state and the lane's verdict.
    fn conclude(
        &self,
        mut pending: PendingDelivery,
        subscription: &SubscriptionRoute,
        target: &TargetRoute,
        at_ms: i64,
        report: Result<Report, Unsendable>,
    ) -> Conclusion {
        let now_ms = self.clock.now_ms();
        let policy = &subscription.policy;
        let delivery = &mut pending.delivery;
        let number = delivery.attempts + 1;
        let first_ms = if delivery.first_attempt_ms == 0 { at_ms } else { delivery.first_attempt_ms };
        let mut attempt = Attempt {
            number,
            at_ms,
            duration_us: now_ms.saturating_sub(at_ms).max(0) * 1000,
            error: None,
            message: None,
            fault: None,
            status: None,
            request: empty(),
            response: empty(),
            response_body: Bytes::new(),
        };
        let (verdict, lane) = match report {
            Ok(report) => judge(policy, report, now_ms, &mut attempt),
            Err(unsendable) => {
                attempt.error = Some(unsendable.code.into());
                attempt.message = Some(unsendable.message.into());
                attempt.fault = Some(unsendable.fault);
                let again = Verdict::Retry { slow_down: false };
                let (verdict, lane) = match unsendable.obstacle {
                    Obstacle::Lasting => (Verdict::Stop { disable: false }, LaneVerdict::Nothing),
                    Obstacle::Passing | Obstacle::NoJournal => (again, LaneVerdict::Nothing),
                    Obstacle::Hanging => {
                        (again, LaneVerdict::Failure(Failure { kind: FailureKind::Timeout, slow_down: false, retry_after: None }))
                    }
                };
                ((verdict, None), lane)
            }
        };
        let could_retry = matches!(verdict.0, Verdict::Retry { .. });
        let (state, due_ms) = match verdict.0 {
            Verdict::Success => (DeliveryState::Delivered, 0),
            Verdict::Stop { .. } => (DeliveryState::Failed, 0),
            Verdict::Retry { .. } => match next_attempt(policy, number, first_ms, now_ms, verdict.1, rand::random()) {
                Decision::Retry { at_ms } => (DeliveryState::Scheduled, at_ms),
                Decision::GiveUp => (DeliveryState::Failed, 0),
            },
        };
        tracing::debug!(
            delivery = delivery.id(),
            target = target.id,
            attempt = number,
            status = attempt.status,
            error = attempt.error.as_deref(),
            ?state,
            due_ms,
            "delivery.attempted"
        );
        let (key, target_number, is_awaited) = (delivery.key, target.number, target.lane.fifo);
        let settlement = Settlement { key, target: target_number, attempt: Some(attempt), state, due_ms, at_ms: now_ms, is_awaited };
        (delivery.state, delivery.attempts, delivery.first_attempt_ms) = (state, number, first_ms);
        (delivery.due_ms, delivery.updated_ms) = (due_ms, now_ms);
        let retry = (state == DeliveryState::Scheduled).then(|| Box::new(pending));
        Conclusion { settlement, verdict: lane, retry, could_retry }
    }
}

/// A delivery that no journal knows.
fn sample(event: Arc<Event>, target: &TargetRoute, subscription: &SubscriptionRoute, at_ms: i64) -> PendingDelivery {
    let delivery = Delivery {
        key: DeliveryKey::new(event.sequence, 0),
        workspace: target.workspace,
        subscription: subscription.number,
        target: target.number,
        state: DeliveryState::Queued,
        attempts: 0,
        first_attempt_ms: 0,
        due_ms: 0,
        is_batch: false,
        updated_ms: at_ms,
        received_ms: event.received_ms,
    };
    PendingDelivery { delivery, event }
}

fn unwritable(error: FormatError) -> Unsendable {
    Unsendable { code: "format_failed", message: error.to_string(), fault: Fault::Theirs, obstacle: Obstacle::Lasting }
}

fn empty() -> Arc<str> {
    static EMPTY: OnceLock<Arc<str>> = OnceLock::new();
    Arc::clone(EMPTY.get_or_init(|| "".into()))
}

fn default_template() -> &'static Template {
    static DEFAULT: OnceLock<Template> = OnceLock::new();
    DEFAULT.get_or_init(|| Template::compile(&[Block::Text { text: DEFAULT_TEXT.into() }]).expect("the default template is a constant"))
}

/// Unguessable token of a delivery's public page: its id and a MAC of it.
pub(crate) fn page_token(secret: &[u8; 32], delivery_id: &str) -> String {
    format!("{delivery_id}-{}", &hex(&hmac_sha256(secret, delivery_id.as_bytes()))[..32])
}
