//! Who gets in, and what forms are taken.

use posthaste_server::ServerSettings;
use serde_json::json;

use crate::rig::{PASSWORD, Rig, fields as fields_of};

/// What is for everybody: the ways in.
const OPEN: &[&str] = &["/console/setup", "/console/login", "/console/login/code", "/console/password"];

/// The routes of the pages as their sources have them: address, and whether it takes `GET` and `POST`. So a page that is new is tried too.
pub fn patterns() -> Vec<(String, bool, bool)> {
    let mut sources = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/pages"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources.push(std::fs::read_to_string(path).expect("a source")),
            }
        }
    }
    let mut found = Vec::new();
    for call in sources.iter().flat_map(|source| source.split(".route(").skip(1)) {
        let (path, rest) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')).expect("an address");
        let mut depth = 1_i32;
        let end = rest.find(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let methods = &rest[..end.expect("the call ends")];
        let takes = |method: &str| methods.contains(&format!("{method}("));
        assert!(!["put", "patch", "any", "on"].iter().any(|other| takes(&format!(" {other}")) || takes(&format!(".{other}"))), "{path}");
        found.push((format!("/console{path}"), takes("get"), takes("post")));
    }
    found
}

/// The address of a route with this in the place of each variable.
pub fn address(pattern: &str, variable: &str) -> String {
    pattern.split('/').map(|part| if part.starts_with('{') { variable } else { part }).collect::<Vec<_>>().join("/")
}

fn routes() -> Vec<(String, bool, bool)> {
    patterns().into_iter().map(|(pattern, get, post)| (address(&pattern, "some_1"), get, post)).collect()
}

/// The addresses of all forms of somebody who is logged in.
fn forms() -> Vec<String> {
    routes().into_iter().filter(|(path, _, is_form)| *is_form && !OPEN.contains(&path.as_str())).map(|(path, ..)| path).collect()
}

#[tokio::test]
async fn nothing_is_shown_to_strangers() {
    let rig = Rig::new().await;
    let mut stranger = rig.browser();
    // Nobody is there yet: the way leads to the set-up, which says how to begin and makes nothing.
    assert_eq!(stranger.get("/console/inbox").await.to(), "/console/setup");
    stranger.get("/console/setup").await.expect(200).has("one-time link").lacks("<form").is_inert();
    let refused =
        stranger.post("/console/setup", &[("token", "guessed"), ("name", "M"), ("email", "m@example.com"), ("password", PASSWORD)]).await;
    refused.expect(422).is_inert();
    assert!(!rig.state.people().has_members());

    rig.administrator().await;
    let routes = routes();
    let count = |takes: fn(&(String, bool, bool)) -> bool| routes.iter().filter(|route| takes(route)).count();
    assert!(count(|(_, get, _)| *get) > 90 && count(|(.., post)| *post) > 80, "routes are not found: {routes:?}");
    for (path, is_page, is_form) in routes.iter().filter(|(path, ..)| !OPEN.contains(&path.as_str())) {
        assert!(*is_page || *is_form, "{path}");
        if *is_page {
            let page = stranger.get(path).await;
            assert!(page.status.is_redirection() && page.to().starts_with("/console/login"), "{path}: {}", page.status);
            page.is_inert();
            // What is asked for as a stream must not become the log-in page within the page.
            assert_eq!(stranger.open(path).await.status(), 401, "{path}");
        }
        if *is_form {
            let page = stranger.post(path, &[]).await;
            assert!(page.status.is_redirection() && page.to().starts_with("/console/login"), "{path}: {}", page.status);
        }
    }
    for path in OPEN {
        assert!(routes.iter().any(|(known, ..)| known == path), "{path} is open and not there");
    }
    // What is no page says as little, and has the same headers.
    for path in ["/console", "/console/assets/nothing.js"] {
        stranger.get(path).await.is_inert();
    }
    stranger.get("/console/nothing/here").await.expect(404).has("Nothing is at this address").is_inert();
    stranger.get("/console/login").await.expect(200).is_inert();
}

#[tokio::test]
async fn logging_in_leads_back_and_logging_out_ends_it() {
    let rig = Rig::new().await;
    let mut first = rig.administrator().await;
    let mut browser = rig.browser();
    let login = browser.get("/console/inbox?type=a").await.to().to_owned();
    assert_eq!(login, "/console/login?back=%2Fconsole%2Finbox%3Ftype%3Da");
    let page = browser.get(&login).await.expect(200);
    page.has("value=\"/console/inbox?type=a\"").is_inert();
    let wrong = [("email", "ada@example.com"), ("password", "not it at all"), ("back", "/console/inbox?type=a")];
    let page = browser.post("/console/login", &wrong).await.expect(422);
    page.has("role=\"alert\"").has("value=\"ada@example.com\"").lacks("not it at all").is_inert();
    let right = [("email", "ADA@example.com"), ("password", PASSWORD), ("back", "/console/inbox?type=a")];
    assert_eq!(browser.post("/console/login", &right).await.to(), "/console/inbox?type=a");
    browser.get("/console/inbox").await.expect(200).has("Acme &lt;b&gt;Corp").is_inert();
    // Only addresses of the console are gone back to.
    let elsewhere = [("email", "ada@example.com"), ("password", PASSWORD), ("back", "//evil.example/")];
    assert_eq!(rig.browser().post("/console/login", &elsewhere).await.to(), "/console/");
    assert_eq!(browser.post("/console/logout", &[]).await.to(), "/console/login?out=1");
    assert!(browser.get("/console/inbox").await.to().starts_with("/console/login"));
    first.get("/console/inbox").await.expect(200);
}

#[tokio::test]
async fn behind_a_trusted_proxy_people_have_addresses_of_their_own() {
    let login = [("email", "ada@example.com"), ("password", PASSWORD)];
    for (proxies, forwarded, shown) in [
        (vec!["192.0.2.7/32"], "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (vec!["192.0.2.7/32", "203.0.113.0/24"], "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        // Whoever is no proxy of ours says nothing that counts.
        (Vec::new(), "203.0.113.9", "192.0.2.7"),
    ] {
        let mut settings = ServerSettings::default();
        settings.dialects.msggo.trusted_proxies = proxies.iter().map(|net| net.parse().expect("a network")).collect();
        let rig = Rig::with(settings).await;
        rig.administrator().await;
        let mut browser = rig.browser();
        let page = browser.post_as("/console/login", &login, &[("sec-fetch-site", "same-origin"), ("x-forwarded-for", forwarded)]).await;
        assert_eq!(page.to(), "/console/");
        browser.get("/console/account").await.expect(200).has(&format!("<code>{shown}</code>"));
    }
}

#[tokio::test]
async fn forms_of_other_sites_and_without_the_token_change_nothing() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    let csrf = browser.csrf.clone();
    let event = [("type", "forged.event"), ("data", "{}"), ("csrf", csrf.as_str())];
    for path in &forms() {
        for fields in [&[][..], &[("csrf", "")], &[("csrf", "wrong")]] {
            browser.post_as(path, fields, &[]).await.expect(403).is_inert();
        }
        let page = browser.post_as(path, &[("csrf", &csrf)], &[("sec-fetch-site", "cross-site")]).await.expect(403);
        page.has("<h1>Sent by another site</h1>").has("header Host").lacks("What you typed").is_inert();
        browser.post_as(path, &[("csrf", &csrf)], &[("origin", "https://evil.example")]).await.expect(403);
    }
    browser.post_as("/console/inbox/send", &event, &[("sec-fetch-site", "same-site")]).await.expect(403);
    // Somebody must not be logged in as somebody else by another site either.
    let login = [("email", "ada@example.com"), ("password", PASSWORD)];
    rig.browser().post_as("/console/login", &login, &[("sec-fetch-site", "cross-site")]).await.expect(403);
    assert_eq!(rig.api("GET", "/events", json!(null)).await["items"], json!([]), "a forged form sent an event");
    // A form that was opened in another workspace is not carried out in this one; what belongs to no workspace is.
    let token = csrf.split_once('.').expect("a token and a workspace").0;
    let elsewhere = format!("{token}.wsp_another");
    let of_no_workspace = ["/console/theme", "/console/workspace", "/console/logout"];
    for path in forms().iter().filter(|path| !of_no_workspace.contains(&path.as_str())) {
        browser.post_as(path, &[("csrf", &elsewhere)], &[("sec-fetch-site", "same-origin")]).await.expect(409).is_inert();
    }
    browser.post_as("/console/theme", &[("csrf", &elsewhere), ("theme", "dark")], &[("sec-fetch-site", "same-origin")]).await.to();
    assert_eq!(rig.api("GET", "/events", json!(null)).await["items"], json!([]), "an event was sent in another workspace");
    // The same form from the page itself works.
    browser.post("/console/inbox/send", &event[..2]).await.to();
}

#[tokio::test]
async fn choices_are_kept_in_cookies_and_the_server_writes_the_theme() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    browser.get("/console/overview").await.expect(200).lacks("data-theme=");
    let page = browser.post("/console/theme", &[("theme", "dark"), ("back", "/console/overview?over=7d")]).await;
    assert_eq!(page.to(), "/console/overview?over=7d");
    browser.get("/console/overview").await.expect(200).has("<html lang=\"en\" data-theme=\"dark\">").is_inert();
    let page = browser.post("/console/theme", &[("theme", "\"><script>"), ("back", "https://evil.example")]).await;
    assert_eq!(page.to(), "/console/");
    browser.get("/console/overview").await.expect(200).lacks("data-theme=");
}

#[tokio::test]
async fn an_address_that_takes_forms_alone_leads_back_to_their_page() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for path in &forms() {
        let page = browser.get(path).await;
        // Pages of what is not there are another matter.
        if page.status != 405 {
            continue;
        }
        page.has("To the page of the form").is_inert();
        assert!(page.headers["allow"].to_str().expect("text").contains("POST"), "{path}");
        let (_, rest) = page.text.split_once("<p><a href=\"").expect("a way back");
        let back = rest.split('"').next().expect("an address").to_owned();
        assert!(path.starts_with(back.trim_end_matches('/')), "{path} {back}");
        assert_ne!(browser.get(&back).await.status, 405, "{path} {back}");
    }
    assert_eq!(browser.get("/console/account/password").await.status, 405);
    // To strangers as well.
    rig.browser().get("/console/account/password").await.expect(405).is_inert();

    // A form that was refused is shown at the address that took it: the theme menu leads to where it came from.
    for (path, fields, home) in [
        ("/console/account/password", &[("old", "wrong"), ("password", "x")][..], "/console/account"),
        ("/console/account/sessions/ses_1", &[], "/console/account"),
        ("/console/start/target", &[("settings.url", "nowhere")], "/console/start"),
        ("/console/targets/new", &[("name", "")], "/console/targets/new"),
        ("/console/suppressions/new?scope=sms", &[("address", "")], "/console/suppressions/new?scope=sms"),
    ] {
        let page = browser.post(path, fields).await;
        // What leads on at once has no menu: whoever opens the address by hand then chooses a theme.
        let menu = if page.text.contains("/console/theme") { fields_of(&page.text, "/console/theme") } else { Vec::new() };
        let back = menu.into_iter().find(|(name, _)| name == "back").map_or_else(|| path.to_owned(), |(_, back)| back);
        assert_eq!(browser.post("/console/theme", &[("theme", "dark"), ("back", &back)]).await.to(), home, "{path}");
    }
}

#[tokio::test]
async fn a_list_with_a_cursor_of_no_use_leads_to_its_beginning() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for list in
        ["inbox", "deliveries", "replays", "messages", "events", "templates", "targets", "bins", "domains", "keys", "members", "audit"]
    {
        let page = browser.get(&format!("/console/{list}?search=a&cursor=made-up")).await.expect(400);
        page.has(&format!("<a href=\"/console/{list}?search=a\">To the beginning of the list</a>")).is_inert();
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_by_the_name_of_their_content() {
    let rig = Rig::new().await;
    let mut browser = rig.browser();
    let page = browser.get("/console/login").await;
    for part in page.text.split('"').filter(|part| part.starts_with("/console/assets/")) {
        let asset = browser.get(part).await.expect(200);
        assert_eq!(asset.headers["cache-control"], "public, max-age=31536000, immutable", "{part}");
        assert!(!asset.text.is_empty());
    }
    browser.get("/console/assets/base.000000000000.css").await.expect(404);
}

// An address to go back to is foreign: looking for its page costs little, however long it is.
#[tokio::test]
async fn the_way_back_is_looked_for_a_few_steps_up() {
    let rig = Rig::new().await;
    let mut browser = rig.administrator().await;
    for (back, to) in [
        ("/console/inbox?type=a".to_owned(), "/console/inbox?type=a"),
        ("/console/bins/bin_1/example".to_owned(), "/console/bins/bin_1"),
        (format!("/console/inbox{}", "/a".repeat(20)), "/console/"),
        (format!("/console/inbox?type={}", "a".repeat(4000)), "/console/"),
    ] {
        assert_eq!(browser.post("/console/theme", &[("theme", "dark"), ("back", &back)]).await.to(), to, "{back}");
    }
}

// What strangers send is read as far as it may be of use.
#[tokio::test]
async fn forms_of_strangers_are_small() {
    let rig = Rig::new().await;
    rig.administrator().await;
    let mut stranger = rig.browser();
    let (small, large) = ("x".repeat(10_000), "x".repeat(100_000));
    for path in ["/console/setup", "/console/password"] {
        stranger.post(path, &[("token", "guessed"), ("password", &small)]).await;
        stranger.post(path, &[("token", "guessed"), ("password", &large)]).await.expect(413).has("larger than 64 KiB").is_inert();
    }
    // A log-in may carry a form; other forms are carried up to a length, and only from a page of this console.
    stranger.post("/console/login", &[("email", "ada@example.com"), ("kept", &large)]).await.expect(422);
    stranger.post("/console/login", &[("kept", &"x".repeat(4_000_000))]).await.expect(413).is_inert();
    let ours = [("sec-fetch-site", "same-origin")];
    let page = stranger.post_as("/console/inbox/send", &[("data", &"x".repeat(1_200_000))], &ours).await.expect(401);
    page.has("too long to come back by itself").is_inert();
    assert!(stranger.post_as("/console/inbox/send", &[("data", &"x".repeat(5_000_000))], &[]).await.to().starts_with("/console/login"));
}
