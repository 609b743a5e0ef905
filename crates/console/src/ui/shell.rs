//! The frame around every page.

use http::{HeaderValue, StatusCode, header};
use maud::{DOCTYPE, Markup, html};

use axum::response::{IntoResponse, Response};

use super::{Flash, crumbs, csrf, icon};
use crate::assets::href;
use crate::query::link;
use crate::session::{Seat, Theme};

/// Entries of the navigation: address, name, icon, the key after `g`.
type Entry = (&'static str, &'static str, &'static str, &'static str);

/// The navigation, in groups. A page is under the entry whose address it begins with.
const NAV: [(&str, &[Entry]); 4] = [
    (
        "",
        &[
            ("/console/overview", "Overview", "overview", "o"),
            ("/console/inbox", "Inbox", "inbox", "i"),
            ("/console/deliveries", "Deliveries", "deliveries", "d"),
            ("/console/messages", "Messages", "messages", "m"),
        ],
    ),
    (
        "Routing",
        &[
            ("/console/events", "Events", "events", "e"),
            ("/console/templates", "Templates", "templates", "t"),
            ("/console/targets", "Targets", "targets", "r"),
            ("/console/webhooks", "Webhooks", "webhooks", "w"),
            ("/console/bins", "Bins", "bins", "b"),
        ],
    ),
    (
        "Workspace",
        &[
            ("/console/keys", "Keys", "keys", "k"),
            ("/console/domains", "Domains", "domains", "n"),
            ("/console/members", "Members", "members", "p"),
            ("/console/settings", "Settings", "settings", "s"),
            ("/console/audit", "Audit log", "audit", "l"),
        ],
    ),
    ("Help", &[("/console/reference", "API reference", "api", "a")]),
];

/// A page inside the frame: what it is called, where it belongs, and what stands beside its heading.
pub struct Page<'a> {
    /// Its heading and title.
    pub title: &'a str,
    /// Address of its entry in the navigation, such as `/console/inbox`.
    pub nav: &'a str,
    /// The way to it, from the top: `(name, address)`; empty for a page of the navigation.
    pub crumbs: Vec<(&'a str, &'a str)>,
    /// A line below the heading.
    pub lede: Option<Markup>,
    /// Buttons beside the heading.
    pub actions: Option<Markup>,
    /// For forms and texts, which read badly when they are wide.
    pub is_narrow: bool,
    /// The status of the answer.
    pub status: StatusCode,
}

impl<'a> Page<'a> {
    /// A page of the navigation.
    pub fn new(title: &'a str, nav: &'a str) -> Self {
        Self { title, nav, crumbs: Vec::new(), lede: None, actions: None, is_narrow: false, status: StatusCode::OK }
    }

    /// The way to it.
    #[must_use]
    pub fn under(mut self, crumbs: &[(&'a str, &'a str)]) -> Self {
        self.crumbs = crumbs.to_vec();
        self
    }

    /// A line below the heading.
    #[must_use]
    pub fn lede(mut self, lede: Markup) -> Self {
        self.lede = Some(lede);
        self
    }

    /// Buttons beside the heading.
    #[must_use]
    pub fn actions(mut self, actions: Markup) -> Self {
        self.actions = Some(actions);
        self
    }

    /// Not wider than reads well.
    #[must_use]
    pub fn narrow(mut self) -> Self {
        self.is_narrow = true;
        self
    }

    /// With another status: 422 for a form that is shown again.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The whole page for this person.
    pub fn show(self, seat: &Seat, content: Markup) -> Response {
        let flash = seat.query.given("done").and_then(Flash::read);
        let mut way = self.crumbs.clone();
        way.push((self.title, ""));
        let body = html! {
            a.skip href="#main" { "Skip to the page" }
            div.frame {
                (navigation(seat, self.nav))
                (bar(seat, &way))
                main id="main" tabindex="-1" {
                    div.page.(if self.is_narrow { "narrow" } else { "wide" }) {
                        div.page-head {
                            div { h1 { (self.title) } @if let Some(lede) = &self.lede { p.lede { (lede) } } }
                            @if let Some(actions) = &self.actions { div.row { (actions) } }
                        }
                        @if let Some(flash) = flash { (flash.show()) }
                        (content)
                    }
                }
            }
            div.toasts id="toasts" role="status" aria-live="polite" {}
            // What the notices of live parts say, for those who do not see them.
            div.unseen id="news" role="status" {}
            (keys())
        };
        answer(self.status, &document(self.title, seat.theme, body))
    }
}

/// A page outside the frame: log in, set up, errors for strangers.
pub fn door(title: &str, theme: Theme, status: StatusCode, content: Markup) -> Response {
    let body = html! {
        div.door {
            div.brand { img src=(href("icon")) alt="" width="32" height="32"; "Posthaste" }
            main id="main" { h1 { (title) } (content) }
        }
    };
    answer(status, &document(title, theme, body))
}

/// A part of a page with a heading.
pub fn section(title: &str, content: Markup) -> Markup {
    html! { section.panel-box { header { h2 { (title) } } div.body { (content) } } }
}

fn answer(status: StatusCode, page: &Markup) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = [(header::CONTENT_TYPE, fixed("text/html; charset=utf-8")), (header::CACHE_CONTROL, fixed("no-store"))];
    (status, headers, page.0.clone()).into_response()
}

fn document(title: &str, theme: Theme, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme.attribute()] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                meta name="htmx-config" content=r#"{"includeIndicatorStyles":false,"allowEval":false,"historyCacheSize":0,"scrollIntoViewOnBoost":false}"#;
                title { (title) " – Posthaste" }
                link rel="icon" href=(href("icon")) type="image/svg+xml";
                link rel="stylesheet" href=(href("base"));
                link rel="stylesheet" href=(href("parts"));
                script src=(href("console")) defer {}
                script src=(href("live")) defer {}
                script src=(href("htmx")) defer {}
                script src=(href("htmx-sse")) defer {}
            }
            body hx-ext="sse" { (body) }
        }
    }
}

fn navigation(seat: &Seat, current: &str) -> Markup {
    html! {
        nav.nav id="nav" popover aria-label="Console" {
            a.brand href="/console/" { img src=(href("icon")) alt="" width="26" height="26"; "Posthaste" }
            @for (group, entries) in NAV {
                @if !group.is_empty() { p.group id=(format!("nav-{group}")) { (group) } }
                ul aria-labelledby=[(!group.is_empty()).then(|| format!("nav-{group}"))] {
                    @for (address, name, icon_name, key) in entries.iter().filter(|entry| seat.may_see(entry.0)) {
                        li { a href=(address) data-key=(key) aria-current=[(*address == current).then_some("page")] { (icon(icon_name)) (name) } }
                    }
                }
            }
        }
    }
}

fn bar(seat: &Seat, way: &[(&str, &str)]) -> Markup {
    let themes = [("auto", "auto", "As the system"), ("light", "sun", "Light"), ("dark", "moon", "Dark")];
    html! {
        header.bar {
            button.button.quiet.only-icon.nav-open type="button" popovertarget="nav" aria-label="Menu" { (icon("menu")) }
            (crumbs(way))
            @if seat.workspaces.len() > 1 {
                details.menu {
                    summary.button.quiet { (icon("workspace")) span { span.unseen { "Workspace: " } (seat.workspace.name) } (icon("down")) }
                    div.panel {
                        form method="post" action="/console/workspace" {
                            (csrf(&seat.csrf))
                            @for workspace in &seat.workspaces {
                                button type="submit" name="workspace" value=(workspace.id) aria-pressed=(workspace.id == seat.workspace.id) { (workspace.name) }
                            }
                        }
                    }
                }
            } @else {
                span.small.muted.nowrap.workspace-name { (seat.workspace.name) }
            }
            details.menu {
                summary.button.quiet.only-icon aria-label="Theme" title="Theme" { (icon(themes.iter().find(|theme| theme.0 == seat.theme.name()).map_or("auto", |theme| theme.1))) }
                div.panel {
                    form method="post" action="/console/theme" {
                        (csrf(&seat.csrf))
                        input type="hidden" name="back" value=(seat.query.with("done", None));
                        @for (name, icon_name, label) in themes {
                            button type="submit" name="theme" value=(name) aria-pressed=(name == seat.theme.name()) { (icon(icon_name)) (label) }
                        }
                    }
                }
            }
            details.menu {
                summary.button.quiet.only-icon aria-label=(format!("Account of {}", seat.name)) title=(seat.name) { (icon("user")) }
                div.panel {
                    p { strong { (seat.name) } br; span.small.muted { (seat.email) } }
                    hr;
                    a.item href="/console/account" { (icon("lock")) "Password and sessions" }
                    button.item.needs-js type="button" data-dialog="keys" { (icon("help")) "Keyboard shortcuts" }
                    hr;
                    form method="post" action="/console/logout" { (csrf(&seat.csrf)) button type="submit" { (icon("leave")) "Log out" } }
                }
            }
        }
    }
}

fn keys() -> Markup {
    let general = [("?", "this list"), ("/", "search"), ("n", "new"), ("j", "next row"), ("k", "row before"), ("Enter", "open the row")];
    html! {
        dialog id="keys" aria-labelledby="keys-title" {
            div.inner {
                div.row.apart { h2 id="keys-title" { "Keyboard shortcuts" } button.button.quiet.slim type="button" data-close { "Close" } }
                label.check { input type="checkbox" checked data-keys; span { "In use" span.hint { "Kept in this browser. This list is in the menu of your account too." } } }
                div.columns {
                    dl.keys { @for (key, what) in general { dt { kbd { (key) } } dd { (what) } } }
                    dl.keys { @for (_, name, _, key) in NAV.iter().flat_map(|(_, entries)| entries.iter()) { dt { kbd { "g" } " " kbd { (key) } } dd { (name) } } }
                }
            }
        }
    }
}

/// The address of the log-in page, which leads back to where somebody wanted to go.
pub(crate) fn login_href(back: &str) -> String {
    link("/console/login", Some(("back", back)).filter(|(_, back)| *back != "/console/"))
}
