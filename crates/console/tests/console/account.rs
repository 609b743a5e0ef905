//! One's own account: name, password, second step, sessions.

use posthaste_domain::people::totp;

use crate::rig::{PASSWORD, Rig};

/// A present code of a secret.
fn code(rig: &Rig, secret: &str) -> String {
    let secret = totp::from_base32(secret).expect("base 32");
    totp::code_at(&secret, totp::step_at(rig.state.engine.now_ms()))
}

#[tokio::test]
async fn name_and_password_are_changed_and_other_sessions_end() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let mut other = rig.browser();
    other.post("/console/login", &[("email", "ada@example.com"), ("password", PASSWORD)]).await.to();
    let page = browser.get("/console/account").await.expect(200);
    page.has("This one").has("End all others").is_inert();
    assert_eq!(browser.post("/console/account/name", &[("name", "Ada <b>Corp")]).await.to(), "/console/account?done=saved");
    browser.get("/console/account").await.expect(200).has("Ada &lt;b&gt;Corp").is_inert();
    let page = browser.post("/console/account/name", &[("name", "")]).await.expect(422);
    page.has("aria-invalid=\"true\"").is_inert();

    let new = "another four good words";
    let page = browser.post("/console/account/password", &[("old", "not the password"), ("password", new)]).await.expect(422);
    page.has("not your present password").lacks("not the password\"").is_inert();
    let page = browser.post("/console/account/password", &[("old", PASSWORD), ("password", "short")]).await.expect(422);
    page.has("role=\"alert\"").is_inert();
    assert!(other.get("/console/account").await.status.is_success(), "nothing was changed yet");
    let page = browser.post("/console/account/password", &[("old", PASSWORD), ("password", new)]).await;
    assert_eq!(page.to(), "/console/account?done=saved");
    assert!(other.get("/console/account").await.to().starts_with("/console/login"), "the other session has ended");
    browser.get("/console/account").await.expect(200).lacks("End all others");
    other.post("/console/login", &[("email", "ada@example.com"), ("password", PASSWORD)]).await.expect(422);
    assert_eq!(other.post("/console/login", &[("email", "ada@example.com"), ("password", new)]).await.to(), "/console/");
}

#[tokio::test]
async fn sessions_are_ended_one_by_one_or_all() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let mut others = [rig.browser(), rig.browser()];
    for other in &mut others {
        other.post("/console/login", &[("email", "ada@example.com"), ("password", PASSWORD)]).await.to();
    }
    let page = browser.get("/console/account").await.expect(200);
    let paths: Vec<&str> =
        page.text.split("action=\"").filter_map(|rest| rest.split('"').next()).filter(|path| path.contains("sessions/ses_")).collect();
    assert_eq!(paths.len(), 2, "its own session is not offered");
    assert_eq!(browser.post(paths[0], &[]).await.to(), "/console/account?done=ended");
    // Twice is as good as once.
    assert_eq!(browser.post(paths[0], &[]).await.to(), "/console/account?done=ended");
    let mut left = 0;
    for other in &mut others {
        left += usize::from(other.get("/console/account").await.status.is_success());
    }
    assert_eq!(left, 1);
    browser.post("/console/account/sessions/others", &[]).await.to();
    for other in &mut others {
        assert!(other.get("/console/account").await.to().starts_with("/console/login"));
    }
    browser.get("/console/account").await.expect(200);
}

#[tokio::test]
async fn a_second_step_is_set_up_with_a_qr_code_and_taken_off() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    // A session that was left open does not lock its owner out.
    browser.post("/console/account/totp", &[]).await.expect(422).has("not your present password").is_inert();
    let page = browser.post("/console/account/totp", &[("current", PASSWORD)]).await.expect(200);
    page.has("<svg class=\"qr\"").has("href=\"otpauth://totp/").is_inert();
    let value = |name: &str| {
        let rest = page.text.split(&format!("name=\"{name}\" value=\"")).nth(1).expect("a field");
        rest.split('"').next().unwrap_or_default().replace("&amp;", "&")
    };
    let (secret, uri) = (value("secret"), value("uri"));
    let wrong = [("secret", secret.as_str()), ("uri", uri.as_str()), ("code", "000000")];
    let page = browser.post("/console/account/totp/confirm", &wrong).await.expect(422);
    page.has("The code is wrong").has(&secret).has("<svg class=\"qr\"").is_inert();
    let right = code(&rig, &secret);
    let page = browser.post("/console/account/totp/confirm", &[("code", &right)]).await.expect(200);
    page.has("Recovery codes").has("shown this once").is_inert();
    let page = browser.get("/console/account").await.expect(200);
    page.has("recovery codes are left").lacks(&secret).is_inert();
    // The same page in another window, where it was not turned on: it leads to the account, which says so.
    assert_eq!(browser.post("/console/account/totp/confirm", &[("code", &right)]).await.to(), "/console/account");
    // Log-in asks for it.
    let page = rig.browser().post("/console/login", &[("email", "ada@example.com"), ("password", PASSWORD)]).await.expect(200);
    page.has("second step").is_inert();

    let page = browser.post("/console/account/totp/remove", &[("current", "not the password")]).await.expect(422);
    page.has("not your present password").is_inert();
    assert_eq!(browser.post("/console/account/totp/remove", &[("current", PASSWORD)]).await.to(), "/console/account?done=saved");
    browser.get("/console/account").await.expect(200).has("Set up an authenticator app");
    // A page that was left open for too long.
    browser.post("/console/account/totp/confirm", &[("code", "123456")]).await.expect(422).has("Begin again").is_inert();
}

#[tokio::test]
async fn a_link_for_a_lost_password_does_not_pass_the_second_step() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let page = browser.post("/console/account/totp", &[("current", PASSWORD)]).await.expect(200);
    let rest = page.text.split("name=\"secret\" value=\"").nth(1).expect("a secret");
    let secret = rest.split('"').next().expect("its end").to_owned();
    browser.post("/console/account/totp/confirm", &[("code", &code(&rig, &secret))]).await.expect(200);
    let member = rig.api("GET", "/members", serde_json::Value::Null).await["items"][0]["id"].as_str().expect("an id").to_owned();
    let link = rig.api("POST", &format!("/members/{member}/link"), serde_json::Value::Null).await;
    let link = link["link"].as_str().and_then(|link| link.split_once("token=")).expect("a token").1.to_owned();

    let mut stranger = rig.browser();
    // One that is used up while its form is open leads on.
    let page = stranger.post("/console/password", &[("token", "used before"), ("password", PASSWORD)]).await.expect(422);
    page.has("The link has expired").has("An administrator can make you a new one").lacks("<form").is_inert();
    stranger.get(&format!("/console/password?token={link}")).await.expect(200).has("ada@example.com").is_inert();
    let new = "another four good words";
    let page = stranger.post("/console/password", &[("token", &link), ("password", new)]).await.expect(200);
    page.has("second step").is_inert();
    assert!(stranger.get("/console/account").await.to().starts_with("/console/login"), "the link alone is no way in");
    let rest = page.text.split("name=\"ticket\" value=\"").nth(1).expect("a ticket");
    let ticket = rest.split('"').next().expect("its end").to_owned();
    let page = stranger.post("/console/login/code", &[("ticket", &ticket), ("code", "12345x")]).await.expect(422);
    page.has("role=\"alert\"").is_inert();
    rig.pass(std::time::Duration::from_secs(30)).await;
    let page = stranger.post("/console/login/code", &[("ticket", &ticket), ("code", &code(&rig, &secret))]).await;
    assert_eq!(page.to(), "/console/");
    stranger.get("/console/account").await.expect(200);
    // A link works once.
    stranger.get(&format!("/console/password?token={link}")).await.expect(404).is_inert();
}
