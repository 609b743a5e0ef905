//! What the command statuses of SMPP mean for a message (SMPP 3.4, 5.1.3, and 5.0, 4.7.6).

use crate::SendError;
use crate::failure::Code;

/// The queue of the centre is full.
pub(super) const QUEUE_FULL: u32 = 0x14;
/// More messages than allowed in a time.
pub(super) const THROTTLED: u32 = 0x58;

/// Whether the centre asks for fewer messages.
pub(super) fn slows_down(status: u32) -> bool {
    matches!(status, QUEUE_FULL | THROTTLED)
}

/// The error of a message that the centre refused with a status. A status that says nothing final is worth another try.
pub(super) fn error(status: u32) -> SendError {
    let name = name(status);
    let text = format!("the message centre refused the message: {name} (0x{status:08X})");
    if slows_down(status) {
        Code::RateLimited.error(text)
    } else if is_final(status) {
        Code::SmsRejected.error(text)
    } else {
        Code::SmsDeferred.error(text)
    }
}

/// Refusals that are about the message and will be the same next time.
fn is_final(status: u32) -> bool {
    matches!(status, 0x01..=0x03 | 0x06 | 0x07 | 0x0A | 0x0B | 0x15 | 0x33 | 0x34 | 0x40..=0x44 | 0x48..=0x54 | 0x61..=0x63 | 0x65 | 0x66 | 0xC0..=0xC4 | 0x101..=0x111)
}

/// The usual name of a status.
pub(super) fn name(status: u32) -> &'static str {
    match status {
        0x00 => "ESME_ROK",
        0x01 => "ESME_RINVMSGLEN",
        0x02 => "ESME_RINVCMDLEN",
        0x03 => "ESME_RINVCMDID",
        0x04 => "ESME_RINVBNDSTS",
        0x05 => "ESME_RALYBND",
        0x08 => "ESME_RSYSERR",
        0x0A => "ESME_RINVSRCADR",
        0x0B => "ESME_RINVDSTADR",
        0x0D => "ESME_RBINDFAIL",
        0x0E => "ESME_RINVPASWD",
        0x0F => "ESME_RINVSYSID",
        0x14 => "ESME_RMSGQFUL",
        0x15 => "ESME_RINVSERTYP",
        0x43 => "ESME_RINVESMCLASS",
        0x44 => "ESME_RCNTSUBDL",
        0x45 => "ESME_RSUBMITFAIL",
        0x48 => "ESME_RINVSRCTON",
        0x49 => "ESME_RINVSRCNPI",
        0x50 => "ESME_RINVDSTTON",
        0x51 => "ESME_RINVDSTNPI",
        0x53 => "ESME_RINVSYSTYP",
        0x58 => "ESME_RTHROTTLED",
        0x61 => "ESME_RINVSCHED",
        0x62 => "ESME_RINVEXPIRY",
        0x64 => "ESME_RX_T_APPN",
        0x65 => "ESME_RX_P_APPN",
        0x66 => "ESME_RX_R_APPN",
        0xFF => "ESME_RUNKNOWNERR",
        0x400..=0x4FF => "a status of its own",
        _ => "an error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_judged() {
        let judged = |status| (error(status).code, error(status).retryable);
        assert_eq!(judged(THROTTLED), ("rate_limited", true));
        assert_eq!(judged(QUEUE_FULL), ("rate_limited", true));
        assert_eq!(judged(0x0B), ("sms_rejected", false));
        assert_eq!(judged(0x08), ("sms_deferred", true));
        assert_eq!(judged(0x401), ("sms_deferred", true));
        assert!(error(0x0B).message.contains("ESME_RINVDSTADR (0x0000000B)"));
    }
}
