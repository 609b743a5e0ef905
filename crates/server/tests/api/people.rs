//! Signing in: the set-up link, passwords, the second factor, sessions, links to choose a password.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use posthaste_domain::clock::Clock;
use posthaste_domain::people::{Role, totp};
use posthaste_server::people::{FirstMember, Login, NewSession, People, PeopleError, SignedIn, Visitor};
use serde_json::{Value, json};

use crate::rig::{Rig, id};

const PASSWORD: &str = "correct horse battery";
const OTHER: &str = "another long password";
const EMAIL: &str = "ann@example.com";

fn visitor(ip: [u8; 4]) -> Visitor {
    Visitor { ip: Some(IpAddr::from(ip)), user_agent: "A browser/1.0".into() }
}

pub fn home() -> Visitor {
    visitor([192, 0, 2, 1])
}

/// What the browser sends after this session began.
fn cookies(session: &NewSession) -> HeaderMap {
    let pair = session.cookie.to_str().expect("ASCII").split(';').next().expect("a first part").to_owned();
    [(header::COOKIE, HeaderValue::from_str(&pair).expect("a value"))].into_iter().collect()
}

pub async fn is_signed_in(people: &People, session: &NewSession) -> bool {
    people.session(&cookies(session)).await.is_some()
}

/// Makes the first member, Ann.
pub async fn set_up(rig: &Rig) -> NewSession {
    let people = rig.state.people();
    let token = people.new_setup_token().expect("there is no member");
    let first = FirstMember { organisation: "Bees".into(), name: "Ann".into(), email: EMAIL.into(), password: PASSWORD.into() };
    people.set_up(&token, first, &home()).await.expect("set up")
}

pub async fn sign_in(rig: &Rig, email: &str, password: &str) -> Result<Login, PeopleError> {
    rig.state.people().login(email, password, &home()).await
}

#[track_caller]
fn done(login: Result<Login, PeopleError>) -> NewSession {
    match login.expect("signed in") {
        Login::Done(session) => *session,
        Login::CodeNeeded { .. } => panic!("a code is asked for"),
    }
}

#[track_caller]
fn ticket(login: Result<Login, PeopleError>) -> String {
    match login.expect("half signed in") {
        Login::CodeNeeded { ticket } => ticket,
        Login::Done(_) => panic!("no code was asked for"),
    }
}

fn token_of(link: &Value) -> String {
    link["link"].as_str().and_then(|link| link.strip_prefix("/console/password?token=")).expect("a link").to_owned()
}

/// Invites somebody; answers the id and the token of the link.
async fn invite(rig: &Rig, email: &str, role: &str) -> (String, String) {
    let made = rig.post("/members", json!({"name": "Bob", "email": email, "role": role})).await.expect(201);
    assert_eq!(made["url"], format!("http://posthaste.test{}", made["link"].as_str().expect("a link")));
    (id(&made), token_of(&made))
}

#[tokio::test]
async fn the_set_up_link_is_used_once() {
    let rig = Rig::new().await;
    let people = rig.state.people();
    let first =
        |password: &str| FirstMember { organisation: "Bees".into(), name: "Ann".into(), email: EMAIL.into(), password: password.into() };
    let old = people.new_setup_token().expect("there is no member");
    let by_api = rig.call("POST", "/members/setup-link", Value::Null).await.expect(200);
    let token = by_api["link"].as_str().and_then(|link| link.strip_prefix("/console/setup?token=")).expect("a link").to_owned();
    assert!(!people.is_setup_token(&old) && people.is_setup_token(&token) && !people.is_setup_token(""), "one link at a time");
    for wrong in [old.as_str(), "", "nonsense"] {
        let refused = people.set_up(wrong, first(PASSWORD), &home()).await;
        assert!(matches!(refused, Err(PeopleError::Link)), "{refused:?}");
    }
    let weak = people.set_up(&token, first("password123"), &home()).await.expect_err("refused");
    assert_eq!(weak.field(), Some("password"));
    assert!(!people.has_members() && people.is_setup_token(&token), "a bad form costs nothing");

    let session = people.set_up(&token, first(PASSWORD), &home()).await.expect("set up");
    let who = people.session(&cookies(&session)).await.expect("signed in");
    assert_eq!(who.member.doc.email, EMAIL);
    let rooms = people.rooms(&who);
    assert_eq!((rooms.len(), rooms[0].name.as_str(), rooms[0].role), (1, "Bees", Role::Administrator));

    let again = people.set_up(&token, first(PASSWORD), &home()).await;
    assert!(matches!(again, Err(PeopleError::Link)), "{again:?}");
    assert_eq!(people.new_setup_token(), None);
    let refused = rig.call("POST", "/members/setup-link", Value::Null).await;
    assert_eq!((refused.problem().0, refused.problem().1.as_str()), (409, "wrong_state"));
    // Nor is there a new one after a restart, and the session goes on.
    let rig = rig.restart().await;
    assert_eq!(rig.state.people().new_setup_token(), None);
    assert!(is_signed_in(rig.state.people(), &session).await);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_one_answer() {
    let rig = Rig::new().await;
    set_up(&rig).await;
    let mut told = Vec::new();
    for (email, password) in [(EMAIL, "wrong password"), ("nobody@example.com", PASSWORD), (EMAIL, ""), ("", "")] {
        let refused = sign_in(&rig, email, password).await.expect_err("refused");
        assert!(matches!(refused, PeopleError::Wrong), "{email} {password}: {refused:?}");
        told.push(refused.to_string());
    }
    told.dedup();
    assert_eq!(told.len(), 1);
    let session = done(sign_in(&rig, " ANN@Example.com ", PASSWORD).await);
    assert!(is_signed_in(rig.state.people(), &session).await);
    // A session whose cookie has another name, or another value, is none.
    let token = session.cookie.to_str().expect("ASCII").split(';').next().expect("a part").replace("posthaste_session", "__Host-posthaste");
    let other: HeaderMap = [(header::COOKIE, HeaderValue::from_str(&token).expect("a value"))].into_iter().collect();
    assert!(rig.state.people().session(&other).await.is_none());
    assert!(rig.state.people().session(&HeaderMap::new()).await.is_none());
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let rig = Rig::new().await;
    set_up(&rig).await;
    // Five are free, and then each one doubles the wait.
    for wait in [0, 0, 0, 0, 0, 1, 2, 4, 8] {
        rig.clock.advance(Duration::from_secs(wait));
        let refused = sign_in(&rig, EMAIL, "wrong password").await;
        assert!(matches!(refused, Err(PeopleError::Wrong)), "{refused:?}");
    }
    // The right one must wait as well, wherever it comes from: else the wait would tell.
    for from in [home(), visitor([198, 51, 100, 7])] {
        let refused = rig.state.people().login(EMAIL, PASSWORD, &from).await;
        assert!(matches!(refused, Err(PeopleError::Throttled { seconds: 1..=17 })), "{refused:?}");
    }
    rig.clock.advance(Duration::from_secs(17));
    done(sign_in(&rig, EMAIL, PASSWORD).await);
    done(sign_in(&rig, EMAIL, PASSWORD).await);
}

#[tokio::test]
async fn the_second_factor_is_asked_for_and_its_codes_work_once() {
    let rig = Rig::new().await;
    let people = rig.state.people();
    let who = set_up(&rig).await.signed_in;
    // To the beginning of a step, so that none ends between two lines.
    rig.clock.advance(Duration::from_secs(10));
    // An open session alone does not begin it.
    let refused = people.begin_totp(&who, "not the password", &home()).await;
    assert!(matches!(refused, Err(PeopleError::Wrong)), "{refused:?}");
    let secret = people.begin_totp(&who, PASSWORD, &home()).await.expect("none yet").secret;
    let code = || totp::code_at(&totp::from_base32(&secret).expect("base 32"), totp::step_at(rig.clock.now_ms()));
    let wrong = people.confirm_totp(&who, "000000x").await;
    assert!(matches!(wrong, Err(PeopleError::Wrong)), "{wrong:?}");
    done(sign_in(&rig, EMAIL, PASSWORD).await);
    let recovery = people.confirm_totp(&who, &code()).await.expect("confirmed");
    assert_eq!(recovery.len(), 10);
    let again = people.begin_totp(&who, PASSWORD, &home()).await;
    assert!(matches!(again, Err(PeopleError::HasSecondFactor)), "it is turned off first: {again:?}");
    assert_eq!(rig.get("/members").await.expect(200)["items"][0]["second_factor"], true);

    // The code that confirmed it is used up; the next one is good, once.
    let first = ticket(sign_in(&rig, EMAIL, PASSWORD).await);
    let refused = people.login_code(&first, &code(), &home()).await;
    assert!(matches!(refused, Err(PeopleError::Wrong)), "{refused:?}");
    rig.clock.advance(Duration::from_secs(30));
    let session = people.login_code(&first, &code(), &home()).await.expect("signed in");
    assert!(is_signed_in(people, &session).await);
    let used = people.login_code(&first, &code(), &home()).await;
    assert!(matches!(used, Err(PeopleError::Link)), "a ticket works once: {used:?}");
    let second = ticket(sign_in(&rig, EMAIL, PASSWORD).await);
    assert!(matches!(people.login_code(&second, &code(), &home()).await, Err(PeopleError::Wrong)), "a code works once");

    // A recovery code works once, and for the rest there are nine.
    people.login_code(&second, &recovery[3].to_uppercase(), &home()).await.expect("signed in");
    let third = ticket(sign_in(&rig, EMAIL, PASSWORD).await);
    assert!(matches!(people.login_code(&third, &recovery[3], &home()).await, Err(PeopleError::Wrong)));
    // A ticket is good for ten minutes.
    rig.clock.advance(Duration::from_secs(601));
    assert!(matches!(people.login_code(&third, &code(), &home()).await, Err(PeopleError::Link)));

    assert!(matches!(people.remove_totp(&who, "wrong password", &home()).await, Err(PeopleError::Wrong)));
    people.remove_totp(&who, PASSWORD, &home()).await.expect("removed");
    done(sign_in(&rig, EMAIL, PASSWORD).await);
    // Log-ins are no changes; that the factor was set and taken away are two.
    let log = rig.get("/audit?kind=member&action=rotate").await.expect(200);
    assert_eq!(log["items"].as_array().map(Vec::len), Some(2), "{log}");
    let log = rig.get("/audit?kind=member").await;
    assert!(!log.text().contains(&secret) && !log.text().contains(&recovery[0]) && !log.text().contains("argon2"), "{}", log.text());
}

#[tokio::test]
async fn sessions_are_ended_by_their_member_and_by_administrators() {
    let rig = Rig::new().await;
    let people = rig.state.people();
    let own = set_up(&rig).await;
    let who: SignedIn = own.signed_in.clone();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(done(sign_in(&rig, EMAIL, PASSWORD).await));
    }
    assert_eq!(people.sessions(&who).len(), 4);
    people.revoke(&who, &others[0].signed_in.session.id).await.expect("ended");
    assert!(!is_signed_in(people, &others[0]).await && is_signed_in(people, &others[1]).await);
    assert!(people.revoke(&who, "ses_unknown").await.is_err());
    assert_eq!(people.revoke_others(&who).await.expect("ended"), 2);
    assert!(!is_signed_in(people, &others[1]).await && is_signed_in(people, &own).await);

    // A new password ends the others.
    let other = done(sign_in(&rig, EMAIL, PASSWORD).await);
    assert!(matches!(people.change_password(&who, "wrong password", OTHER, &home()).await, Err(PeopleError::Wrong)));
    assert_eq!(people.change_password(&who, PASSWORD, "short", &home()).await.expect_err("refused").field(), Some("password"));
    people.change_password(&who, PASSWORD, OTHER, &home()).await.expect("changed");
    assert!(!is_signed_in(people, &other).await && is_signed_in(people, &own).await);
    assert!(matches!(sign_in(&rig, EMAIL, PASSWORD).await, Err(PeopleError::Wrong)));

    // An administrator sees them and ends them all.
    let path = format!("/members/{}/sessions", who.member.id);
    let shown = rig.get(&path).await.expect(200);
    assert_eq!((&shown["items"][0]["ip"], &shown["items"][0]["user_agent"]), (&json!("192.0.2.1"), &json!("A browser/1.0")));
    assert_eq!((id(&shown["items"][0]), &shown["next"]), (who.session.id.clone(), &Value::Null));
    rig.call("DELETE", &path, Value::Null).await.expect(204);
    assert!(!is_signed_in(people, &own).await);
    assert_eq!(rig.get(&path).await.expect(200)["items"], json!([]));
    let revoked = rig.get("/audit?kind=session&action=revoke").await.expect(200);
    assert_eq!(revoked["items"].as_array().map(Vec::len), Some(5), "{revoked}");

    // Leaving is no entry.
    let session = done(sign_in(&rig, EMAIL, OTHER).await);
    let cleared = people.logout(&session.signed_in).await.expect("left");
    assert!(cleared.to_str().is_ok_and(|cookie| cookie.contains("Max-Age=0")));
    assert!(!is_signed_in(people, &session).await);
    assert_eq!(rig.get("/audit?kind=session").await.expect(200)["items"].as_array().map(Vec::len), Some(5));
}

#[tokio::test]
async fn sessions_end_by_themselves() {
    let rig = Rig::new().await;
    let people = rig.state.people();
    let session = set_up(&rig).await;
    let day = Duration::from_secs(86_400);
    for _ in 0..6 {
        rig.clock.advance(13 * day);
        assert!(is_signed_in(people, &session).await, "each visit begins the two weeks anew");
    }
    rig.clock.advance(11 * day);
    assert!(is_signed_in(people, &session).await, "89 days");
    rig.clock.advance(day);
    assert!(!is_signed_in(people, &session).await, "three months are the most");
    let idle = done(sign_in(&rig, EMAIL, PASSWORD).await);
    rig.clock.advance(15 * day);
    assert!(!is_signed_in(people, &idle).await);
    assert_eq!(people.sessions(&session.signed_in).len(), 0);
}

#[tokio::test]
async fn a_link_chooses_a_password_once_and_not_for_ever() {
    let rig = Rig::new().await;
    let people = rig.state.people();
    set_up(&rig).await;
    let (bob, token) = invite(&rig, "bob@example.com", "member").await;
    assert!(matches!(sign_in(&rig, "bob@example.com", "").await, Err(PeopleError::Wrong)), "no password yet");
    assert_eq!(people.link_member(&token).map(|member| member.id.clone()), Some(bob.clone()));
    assert_eq!(people.use_link(&token, "bob@example.com", &home()).await.expect_err("refused").field(), Some("password"));
    let session = done(people.use_link(&token, PASSWORD, &home()).await);
    assert_eq!(people.rooms(&session.signed_in)[0].role, Role::Member);
    for token in [token.as_str(), "", "nonsense"] {
        assert!(matches!(people.use_link(token, OTHER, &home()).await, Err(PeopleError::Link)), "{token:?}");
    }

    // A link for a lost password: the newest counts, the password stays until it is used, and then the sessions end.
    let path = format!("/members/{bob}/link");
    let older = token_of(&rig.call("POST", &path, Value::Null).await.expect(200));
    let newer = token_of(&rig.call("POST", &path, Value::Null).await.expect(200));
    assert!(people.link_member(&older).is_none() && people.link_member(&newer).is_some());
    assert!(is_signed_in(people, &session).await);
    done(people.use_link(&newer, OTHER, &home()).await);
    assert!(!is_signed_in(people, &session).await);
    done(sign_in(&rig, "bob@example.com", OTHER).await);

    // Who has a second factor shows it, whatever way the password was chosen; a session does not begin before.
    let who = done(sign_in(&rig, "bob@example.com", OTHER).await).signed_in;
    let secret = people.begin_totp(&who, OTHER, &home()).await.expect("none yet").secret;
    let code = || totp::code_at(&totp::from_base32(&secret).expect("base 32"), totp::step_at(rig.clock.now_ms()));
    people.confirm_totp(&who, &code()).await.expect("confirmed");
    let token = token_of(&rig.call("POST", &path, Value::Null).await.expect(200));
    let ticket = ticket(people.use_link(&token, PASSWORD, &home()).await);
    assert_eq!(rig.get(&format!("/members/{bob}/sessions")).await.expect(200)["items"], json!([]));
    assert!(matches!(people.login_code(&ticket, "000000x", &home()).await, Err(PeopleError::Wrong)));
    rig.clock.advance(Duration::from_secs(30));
    let session = people.login_code(&ticket, &code(), &home()).await.expect("signed in");
    people.remove_totp(&session.signed_in, PASSWORD, &home()).await.expect("removed");
    people.change_password(&session.signed_in, PASSWORD, OTHER, &home()).await.expect("changed");

    // Three days, and not for another address.
    let expiring = token_of(&rig.call("POST", &path, Value::Null).await.expect(200));
    let shown = rig.get(&format!("/members/{bob}")).await.expect(200);
    assert!(shown["link_expires_at"].is_string(), "{shown}");
    rig.clock.advance(Duration::from_secs(3 * 86_400));
    assert!(matches!(people.use_link(&expiring, PASSWORD, &home()).await, Err(PeopleError::Link)));
    assert_eq!(rig.get(&format!("/members/{bob}")).await.expect(200)["link_expires_at"], Value::Null);
    let token = token_of(&rig.call("POST", &path, Value::Null).await.expect(200));
    rig.call("PATCH", &format!("/members/{bob}"), json!({"email": "bob@new.example.com"})).await.expect(200);
    assert!(people.link_member(&token).is_none());

    // A disabled member has no sessions and no link.
    let session = done(sign_in(&rig, "bob@new.example.com", OTHER).await);
    let token = token_of(&rig.call("POST", &path, Value::Null).await.expect(200));
    rig.call("PATCH", &format!("/members/{bob}"), json!({"disabled": true})).await.expect(200);
    assert!(!is_signed_in(people, &session).await && people.link_member(&token).is_none());
    assert!(matches!(sign_in(&rig, "bob@new.example.com", OTHER).await, Err(PeopleError::Wrong)));
    assert_eq!(rig.call("POST", &path, Value::Null).await.problem().1, "wrong_state");
    rig.call("PATCH", &format!("/members/{bob}"), json!({"disabled": false})).await.expect(200);
    assert!(!is_signed_in(people, &session).await, "its sessions do not come back");
    let log = rig.get("/audit?kind=member").await;
    assert!(!log.text().contains(&token) && !log.text().contains("argon2"), "{}", log.text());
}
