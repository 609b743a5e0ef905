//! The SMPP carrier against a message centre in memory, under paused time.

use std::time::Duration;

use posthaste_channels::{NewsKind, Outcome, ReceiptState, Report};
use posthaste_domain::delivery::Fault;
use posthaste_domain::sms::{Coding, decode, unpack_septets};
use tokio::time::{Instant, sleep};

use crate::failure;
use crate::sms_centre::{DELIVER_SM, ENQUIRE_LINK, RESPONSE, Rig, UNBIND, delivery, octet, settle, text};

const SECOND: Duration = Duration::from_secs(1);

fn taken(report: &Report) -> &str {
    assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
    report.carrier_id.as_deref().expect("an id")
}

fn receipt(id: &str, state: ReceiptState, code: Option<&str>, text: &str) -> NewsKind {
    NewsKind::Receipt { carrier_id: id.into(), state, code: code.map(str::to_owned), text: Some(text.into()) }
}

fn received(from: &str, to: &str, text: &str) -> NewsKind {
    NewsKind::Received { from: from.into(), to: to.into(), text: text.into() }
}

#[tokio::test(start_paused = true)]
async fn a_short_message_is_one_submit_sm() {
    let rig = Rig::smpp("?system_type=OTA");
    // A moment is granted to a connection that has just begun; then the lane holds messages, not this channel.
    for granted in [3 * SECOND, Duration::ZERO] {
        let unbound = rig.send("dlv_0", "too early").await;
        let error = failure(&unbound);
        assert_eq!((error.code, error.retryable, error.fault), ("sms_unavailable", true, Fault::Network));
        assert_eq!(unbound.duration, granted);
    }

    let mut peer = rig.accept().await;
    let bind = peer.bind().await;
    let mut rest = &bind.body[..];
    assert_eq!((text(&mut rest), text(&mut rest), text(&mut rest)), ("me".into(), "pw".into(), "OTA".into()));
    assert_eq!((octet(&mut rest), octet(&mut rest), octet(&mut rest)), (0x34, 0, 0));

    let (report, submit) = tokio::join!(rig.send("dlv_1", "Hello [€]"), peer.take("id-1"));
    assert_eq!(taken(&report), "id-1");
    assert_eq!(&*report.response, "submit_sm_resp: id-1");
    assert_eq!(&*report.request, "SMPP submit_sm via this server's message centre\nfrom: 12345\nto: +15551230001");
    assert_eq!(submit.source, (3, 0, "12345".into()));
    assert_eq!(submit.destination, (1, 1, "15551230001".into()));
    assert_eq!((submit.esm_class, submit.registered_delivery, submit.data_coding), (0, 1, 0));
    assert_eq!(decode(Coding::Gsm7, &submit.short_message), "Hello [€]");
    assert!(submit.optional.is_empty());
}

/// What the parts of a long message say, without their headers, which must fit together.
fn parts(submits: &[crate::sms_centre::Submit]) -> Vec<Vec<u8>> {
    let total = u8::try_from(submits.len()).expect("few");
    let reference = submits[0].short_message[3];
    let part = |(number, submit): (u8, &crate::sms_centre::Submit)| {
        assert_eq!(submit.esm_class, 0x40);
        assert_eq!(submit.short_message[..6], [5, 0, 3, reference, total, number]);
        submit.short_message[6..].to_vec()
    };
    (1..).zip(submits).map(part).collect()
}

#[tokio::test(start_paused = true)]
async fn long_messages_are_parts_with_headers() {
    let rig = Rig::smpp("");
    let mut peer = rig.bound().await;
    let long = "0123456789".repeat(40);
    let take_three = async { [peer.take("a").await, peer.take("b").await, peer.take("c").await] };
    let (report, submits) = tokio::join!(rig.send("dlv_1", &long), take_three);
    assert_eq!(taken(&report), "c", "a message goes by the id of its last segment");
    assert_eq!(submits[0].data_coding, 0);
    let sent: String = parts(&submits).iter().map(|part| decode(Coding::Gsm7, part)).collect();
    assert_eq!(sent, long);

    let emoji = format!("я{}", "😀".repeat(40));
    let take_two = async { [peer.take("d").await, peer.take("e").await] };
    let (report, submits) = tokio::join!(rig.send("dlv_2", &emoji), take_two);
    assert_eq!(taken(&report), "e");
    assert_eq!((submits[0].data_coding, submits[0].short_message.len()), (8, 6 + 134));
    let sent: String = parts(&submits).iter().map(|part| decode(Coding::Ucs2, part)).collect();
    assert_eq!(sent, emoji);

    let endless = rig.send("dlv_3", &"x".repeat(153 * 256)).await;
    assert_eq!((failure(&endless).code, failure(&endless).retryable), ("content_unsupported", false));
}

#[tokio::test(start_paused = true)]
async fn centres_that_want_it_get_payloads_and_packed_septets() {
    let long = "0123456789".repeat(40);
    let rig = Rig::smpp("?long=payload");
    let mut peer = rig.bound().await;
    let (report, submit) = tokio::join!(rig.send("dlv_1", &long), peer.take("a"));
    assert_eq!(taken(&report), "a");
    assert!(submit.short_message.is_empty() && submit.esm_class == 0);
    assert_eq!(submit.optional, [(0x0424, long.as_bytes().to_vec())]);

    let rig = Rig::smpp("?alphabet=gsm7-packed");
    let mut peer = rig.bound().await;
    let take_three = async { [peer.take("a").await, peer.take("b").await, peer.take("c").await] };
    let (_, submits) = tokio::join!(rig.send("dlv_1", &long), take_three);
    assert_eq!(submits[0].short_message.len(), 140);
    let sent: String = parts(&submits).iter().map(|part| decode(Coding::Gsm7, &unpack_septets(part, 1))).collect();
    assert_eq!(sent, long);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_wait_than_the_window_holds() {
    let rig = Rig::smpp("?window=2");
    let mut peer = rig.bound().await;
    let send = |number: u8| rig.send(["d0", "d1", "d2", "d3", "d4"][usize::from(number)], "x");
    let centre = async {
        let (first, second) = (peer.next().await, peer.next().await);
        assert!(peer.is_silent_for(5 * SECOND).await, "two wait");
        peer.respond(&second, 0, b"b\0").await;
        let third = peer.next().await;
        assert!(peer.is_silent_for(5 * SECOND).await, "two wait again");
        for pdu in [first, third] {
            peer.respond(&pdu, 0, b"x\0").await;
        }
        for _ in 0..2 {
            peer.take("y").await;
        }
    };
    let (zero, one, two, three, four, ()) = tokio::join!(send(0), send(1), send(2), send(3), send(4), centre);
    for report in [zero, one, two, three, four] {
        taken(&report);
    }
}

#[tokio::test(start_paused = true)]
async fn a_centre_that_asks_for_less_is_left_alone_for_a_while() {
    let rig = Rig::smpp("?throttle_pause=2s");
    let mut peer = rig.bound().await;
    for status in [0x58, 0x14] {
        let (report, _) = tokio::join!(rig.send("dlv_1", "x"), peer.refuse(status));
        let error = failure(&report);
        assert_eq!((error.code, error.retryable), ("rate_limited", true));
        assert_eq!((report.status.map(u32::from), report.retry_after.as_deref()), (Some(status), Some("2")));
        let start = Instant::now();
        let (report, _) = tokio::join!(rig.send("dlv_2", "x"), peer.take("a"));
        taken(&report);
        assert!(start.elapsed() >= Duration::from_millis(1990), "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_have_their_code() {
    let rig = Rig::smpp("?response_timeout=5s");
    let mut peer = rig.bound().await;
    for (status, code, retryable) in [(0x0B, "sms_rejected", false), (0x08, "sms_deferred", true), (0x0401, "sms_deferred", true)] {
        let (report, _) = tokio::join!(rig.send("dlv_1", "x"), peer.refuse(status));
        let error = failure(&report);
        assert_eq!((error.code, error.retryable, report.status.map(u32::from)), (code, retryable, Some(status)));
    }
    // One that never answers.
    let start = Instant::now();
    let (report, _) = tokio::join!(rig.send("dlv_1", "x"), peer.next());
    assert_eq!((failure(&report).code, report.status, start.elapsed()), ("timeout", None, 5 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn segments_that_were_taken_are_not_sent_again() {
    let mut rig = Rig::smpp("?throttle_pause=500ms");
    let mut peer = rig.bound().await;
    let long = "x".repeat(300);
    let refuse_second = async { (peer.take("a").await, peer.refuse(0x14).await) };
    let (report, (first, second)) = tokio::join!(rig.send("dlv_1", &long), refuse_second);
    assert_eq!(failure(&report).code, "rate_limited");
    let again = async {
        let again = peer.take("b").await;
        assert!(peer.is_silent_for(SECOND).await, "the first segment was taken");
        again
    };
    let (report, again) = tokio::join!(rig.send("dlv_1", &long), again);
    assert_eq!(taken(&report), "b");
    assert_eq!(again.short_message, second.short_message);
    assert_eq!(first.short_message[3], again.short_message[3], "the reference stays");
    // Receipts of both make the message delivered, although they came of two tries.
    let mut tell = async |id: &str| {
        let receipt = format!("id:{id} stat:DELIVRD err:000");
        peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, receipt.as_bytes(), &[])).await;
        settle().await;
    };
    tell("a").await;
    assert!(rig.news.try_recv().is_err(), "half a message is not delivered");
    tell("b").await;
    assert_eq!(rig.told().await, receipt("b", ReceiptState::Delivered, None, "id:b stat:DELIVRD err:000"));
}

#[tokio::test(start_paused = true)]
async fn a_receipt_is_answered_when_it_is_durable() {
    let mut rig = Rig::smpp("");
    let mut peer = rig.bound().await;
    let text = "id:7 sub:001 dlvrd:000 submit date:2511211907 done date:2511211908 stat:UNDELIV err:034 text:Hi";
    let sequence = peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, text.as_bytes(), &[])).await;
    let news = rig.news.recv().await.expect("news");
    assert_eq!(news.kind, receipt("7", ReceiptState::Failed, Some("034"), text));
    assert!(peer.is_silent_for(20 * SECOND).await, "nothing is durable yet");
    news.ack.send(true).expect("the carrier waits");
    let answer = peer.next().await;
    assert_eq!((answer.id, answer.status, answer.sequence, &answer.body[..]), (DELIVER_SM | RESPONSE, 0, sequence, &[0][..]));

    // What cannot be kept is offered again, and then handed back to the centre.
    peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, text.as_bytes(), &[])).await;
    for _ in 0..3 {
        rig.news.recv().await.expect("news").ack.send(false).expect("the carrier waits");
    }
    let answer = peer.next().await;
    assert_eq!((answer.id, answer.status), (DELIVER_SM | RESPONSE, 0x64));

    // Optional fields count before the text: id ff, state EXPIRED.
    let optional = [0x00, 0x1E, 0, 3, b'f', b'f', 0, 0x04, 0x27, 0, 1, 3];
    peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, b"", &optional)).await;
    assert_eq!(rig.told().await, receipt("ff", ReceiptState::Expired, None, ""));
    assert_eq!(peer.next().await.status, 0);

    // A receipt that says nothing is taken off the centre's hands.
    peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, b"hm", &[])).await;
    assert_eq!(peer.next().await.status, 0);
    // One that cannot be read at all is handed back for good.
    peer.request(DELIVER_SM, &[1, 2, 3]).await;
    assert_eq!(peer.next().await.status, 0x65);
    assert!(rig.news.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn inbound_messages_are_news_in_every_coding() {
    let mut rig = Rig::smpp("");
    let mut peer = rig.bound().await;
    for (coding, octets, text) in [(0, &b"YES"[..], "YES"), (8, &[0x04, 0x2F][..], "Я"), (3, &[0xE9][..], "é")] {
        peer.request(DELIVER_SM, &delivery("15551230001", "12345", 0, coding, octets, &[])).await;
        assert_eq!(rig.told().await, received("+15551230001", "12345", text));
        assert_eq!(peer.next().await.status, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn inbound_parts_become_one_message_and_are_answered_with_it() {
    let mut rig = Rig::smpp("");
    let mut peer = rig.bound().await;
    let part = |number: u8, text: &str| {
        let mut data = vec![5, 0, 3, 9, 3, number];
        data.extend_from_slice(text.as_bytes());
        delivery("15551230001", "12345", 0x40, 0, &data, &[])
    };
    for (number, text) in [(3, "three"), (1, "one "), (2, "two ")] {
        peer.request(DELIVER_SM, &part(number, text)).await;
    }
    let news = rig.news.recv().await.expect("news");
    assert_eq!(news.kind, received("+15551230001", "12345", "one two three"));
    assert!(peer.is_silent_for(5 * SECOND).await, "no part is answered before the whole is durable");
    news.ack.send(true).expect("the carrier waits");
    for _ in 0..3 {
        assert_eq!(peer.next().await.status, 0);
    }

    // A centre that sends one part at a time is answered after two seconds.
    for (number, text) in [(1, "one "), (2, "two ")] {
        let start = Instant::now();
        peer.request(DELIVER_SM, &part(number, text)).await;
        assert_eq!((peer.next().await.status, start.elapsed().as_secs()), (0, 2));
    }
    peer.request(DELIVER_SM, &part(3, "three")).await;
    assert_eq!(rig.told().await, received("+15551230001", "12345", "one two three"));
    assert_eq!(peer.next().await.status, 0);

    // Parts that never come are not waited for for ever.
    peer.request(DELIVER_SM, &part(1, "one ")).await;
    assert_eq!(peer.next().await.status, 0);
    let (news, _) = tokio::join!(rig.told(), peer.is_silent_for(700 * SECOND));
    assert_eq!(news, received("+15551230001", "12345", "one […]"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_centre_is_asked_and_a_dead_one_left() {
    let rig = Rig::smpp("?enquire_link=30s&response_timeout=10s");
    let mut peer = rig.bound().await;
    let start = Instant::now();
    let enquiry = peer.next_any().await.expect("a question");
    assert_eq!((enquiry.id, start.elapsed().as_secs()), (ENQUIRE_LINK, 29));
    peer.respond(&enquiry, 0, &[]).await;
    let second = peer.next_any().await.expect("a question");
    assert_eq!(second.id, ENQUIRE_LINK);
    // It asks back, and hears an answer, but gives none.
    let sequence = peer.request(ENQUIRE_LINK, &[]).await;
    let answer = peer.next_any().await.expect("an answer");
    assert_eq!((answer.id, answer.sequence), (ENQUIRE_LINK | RESPONSE, sequence));
    let left = Instant::now();
    assert!(peer.next_any().await.is_none(), "the connection is given up");
    assert!(left.elapsed() <= 11 * SECOND);
    rig.bound().await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_comes_back_whatever_happens_to_it() {
    let rig = Rig::smpp("?reconnect_max=10s");
    // A bind that is refused.
    let mut peer = rig.accept().await;
    let bind = peer.next().await;
    peer.respond(&bind, 0x0E, &[]).await;
    // A peer that speaks something else.
    let mut peer = rig.accept().await;
    peer.next().await;
    peer.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(peer.next_any().await.is_none());

    // The peer vanishes while a message waits for its answer.
    let mut peer = rig.bound().await;
    let vanish = async {
        peer.next().await;
        drop(peer);
    };
    let (report, ()) = tokio::join!(rig.send("dlv_1", "x"), vanish);
    let error = failure(&report);
    assert_eq!((error.code, error.retryable, error.fault), ("connection_lost", true, Fault::Network));

    // For an hour nobody is there; it goes on trying, neither hastily nor rarely.
    rig.network.refuse(true);
    let before = rig.network.dialled();
    sleep(3600 * SECOND).await;
    let tries = rig.network.dialled() - before;
    assert!((360..4000).contains(&tries), "{tries} tries in an hour");
    assert_eq!(failure(&rig.send("dlv_1", "x").await).code, "sms_unavailable");

    rig.network.refuse(false);
    let mut peer = rig.bound().await;
    let (report, _) = tokio::join!(rig.send("dlv_1", "x"), peer.take("a"));
    assert_eq!(taken(&report), "a");

    // The centre says good-bye itself.
    let sequence = peer.request(UNBIND, &[]).await;
    let answer = peer.next().await;
    assert_eq!((answer.id, answer.sequence), (UNBIND | RESPONSE, sequence));
    assert!(peer.next_any().await.is_none());
    let mut peer = rig.bound().await;
    // What nobody understands is told so, and the conversation goes on.
    let sequence = peer.request(0x0000_0103, &[]).await;
    let answer = peer.next().await;
    assert_eq!((answer.id, answer.status, answer.sequence), (RESPONSE, 3, sequence));
}

#[tokio::test(start_paused = true)]
async fn a_message_waits_a_moment_for_a_connection_that_was_lost() {
    let rig = Rig::smpp("");
    let serve = async {
        let mut peer = rig.bound().await;
        peer.take("a").await;
        peer
    };
    let (report, peer) = tokio::join!(rig.send("dlv_1", "x"), serve);
    assert_eq!(taken(&report), "a", "the first connection as well");
    drop(peer);
    settle().await;
    let serve = async {
        let mut peer = rig.bound().await;
        peer.take("b").await;
        peer
    };
    let (report, _peer) = tokio::join!(rig.send("dlv_2", "x"), serve);
    assert_eq!(taken(&report), "b");
}

/// A receipt of a message that was sent over an older connection, and news whose answer comes when their connection is gone.
#[tokio::test(start_paused = true)]
async fn news_outlive_connections() {
    let mut rig = Rig::smpp("");
    let mut peer = rig.bound().await;
    let take_two = async { (peer.take("a").await, peer.take("b").await) };
    let long = "x".repeat(200);
    tokio::join!(rig.send("dlv_1", &long), take_two);
    peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, b"id:a stat:DELIVRD", &[])).await;
    assert_eq!(peer.next().await.status, 0);
    peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, b"id:b stat:DELIVRD", &[])).await;
    let news = rig.news.recv().await.expect("news");
    drop(peer);
    settle().await;
    news.ack.send(true).expect("the carrier waits");
    // The centre repeats what it got no answer to: it is settled.
    let mut peer = rig.bound().await;
    peer.request(DELIVER_SM, &delivery("15551230001", "12345", 4, 0, b"id:b stat:DELIVRD", &[])).await;
    assert_eq!(peer.next().await.status, 0);
    assert!(rig.news.try_recv().is_err(), "it was told");
}

#[tokio::test(start_paused = true)]
async fn it_says_good_bye_when_it_is_told_to_stop() {
    let rig = Rig::smpp("");
    let mut peer = rig.bound().await;
    let centre = async {
        let unbind = peer.next().await;
        assert_eq!(unbind.id, UNBIND);
        peer.respond(&unbind, 0, &[]).await;
        assert!(peer.next_any().await.is_none());
    };
    let start = Instant::now();
    tokio::join!(rig.stop(), centre);
    assert!(start.elapsed() < SECOND);
    // A centre that does not answer is left after three seconds, one that is not there at once.
    let rig = Rig::smpp("");
    let _peer = rig.bound().await;
    let start = Instant::now();
    rig.stop().await;
    assert_eq!(start.elapsed().as_secs(), 3);
    let rig = Rig::smpp("");
    rig.network.refuse(true);
    settle().await;
    let start = Instant::now();
    rig.stop().await;
    assert!(start.elapsed() < SECOND);
}
