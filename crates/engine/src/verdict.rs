//! What a report means for the delivery and for its target.

use posthaste_channels::{Outcome, Report, SendError};
use posthaste_domain::delivery::{Attempt, Fault};
use posthaste_domain::policy::breaker::{Failure, FailureKind};
use posthaste_domain::policy::{EffectivePolicy, RetryAfter, Verdict, classify};

use crate::lanes::LaneVerdict;

/// The verdict on a report, and what it says about the target; fills the attempt's record.
pub(crate) fn judge(
    policy: &EffectivePolicy,
    report: Report,
    now_ms: i64,
    attempt: &mut Attempt,
) -> ((Verdict, Option<RetryAfter>), LaneVerdict) {
    let retry_after = report.retry_after.as_deref().and_then(|text| RetryAfter::parse(text, now_ms));
    attempt.duration_us = report.duration.as_micros() as i64;
    attempt.status = report.status;
    attempt.request = report.request;
    attempt.response = report.response;
    attempt.response_body = report.response_body;
    let fail = |attempt: &mut Attempt, error: SendError| {
        attempt.error = Some(error.code.into());
        attempt.message = Some(error.message.into());
        attempt.fault = Some(error.fault);
    };
    match report.outcome {
        Outcome::Delivered => ((Verdict::Success, None), LaneVerdict::Success),
        Outcome::Answered => {
            let status = report.status.unwrap_or(0);
            let verdict = classify(policy, status);
            if verdict == Verdict::Success {
                return ((verdict, None), LaneVerdict::Success);
            }
            let error = SendError {
                code: "status_refused",
                message: format!("the target answered {status}"),
                fault: Fault::Theirs,
                retryable: true,
            };
            fail(attempt, error);
            let lane = match verdict {
                Verdict::Stop { disable: true } => LaneVerdict::Gone,
                Verdict::Retry { slow_down } => LaneVerdict::Failure(Failure {
                    kind: FailureKind::Status(status),
                    // Whatever the status: who names a time wants to be left alone until then.
                    slow_down: slow_down || retry_after.is_some(),
                    retry_after: retry_after.map(|r| r.0.min(policy.retry_after_max)),
                }),
                Verdict::Success | Verdict::Stop { .. } => LaneVerdict::Nothing,
            };
            ((verdict, retry_after), lane)
        }
        Outcome::Failed(error) => {
            let kind = match (error.code, attempt.status) {
                ("timeout" | "connect_timeout", _) => FailureKind::Timeout,
                (_, Some(status)) => FailureKind::Status(status),
                (_, None) => FailureKind::Connection,
            };
            let verdict =
                if error.retryable { Verdict::Retry { slow_down: retry_after.is_some() } } else { Verdict::Stop { disable: false } };
            let lane = if error.fault == Fault::Ours {
                LaneVerdict::Nothing
            } else {
                LaneVerdict::Failure(Failure {
                    kind,
                    slow_down: retry_after.is_some(),
                    retry_after: retry_after.map(|r| r.0.min(policy.retry_after_max)),
                })
            };
            fail(attempt, error);
            ((verdict, retry_after), lane)
        }
    }
}
