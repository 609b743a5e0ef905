//! Tables, pages, filters, menus, tabs, facts.

use maud::{Markup, html};

use super::{Step, icon, time};
use crate::query::Query;

/// A column of a table.
pub struct Head<'a> {
    name: &'a str,
    class: &'static str,
    is_unseen: bool,
}

impl<'a> Head<'a> {
    /// A column.
    pub const fn new(name: &'a str) -> Self {
        Self { name, class: "", is_unseen: false }
    }

    /// A column of numbers, at the right. Give its cells the class `num` too.
    pub const fn num(name: &'a str) -> Self {
        Self { name, class: "num", is_unseen: false }
    }

    /// A column that a phone leaves out. Give its cells the class `opt` too.
    pub const fn opt(name: &'a str) -> Self {
        Self { name, class: "opt", is_unseen: false }
    }

    /// A column of buttons, whose name only a screen reader needs.
    pub const fn actions() -> Self {
        Self { name: "Actions", class: "", is_unseen: true }
    }
}

/// A table. `caption` says what it lists; `rows` are `<tr>`s with a link in the first cell (`a.main-link`), so that `j` and `k` work.
///
/// `id` names the body of the table.
pub fn table(id: &str, caption: &str, heads: &[Head<'_>], rows: Markup) -> Markup {
    body(id, caption, heads, rows, None)
}

/// A table to which [`crate::live::events`] adds rows at the top; it keeps `keep` of them. It stands within an element with `sse-connect`.
/// Elements with `data-empty-of="{id}"` are hidden once there is a row.
pub fn live_table(id: &str, caption: &str, heads: &[Head<'_>], rows: Markup, keep: usize) -> Markup {
    body(id, caption, heads, rows, Some(keep))
}

fn body(id: &str, caption: &str, heads: &[Head<'_>], rows: Markup, keep: Option<usize>) -> Markup {
    let id = Some(id).filter(|id| !id.is_empty());
    html! {
        div.table tabindex="0" role="region" aria-label=(caption) {
            table {
                caption.unseen { (caption) }
                thead { tr {
                    @for head in heads {
                        th.(head.class) scope="col" { @if head.is_unseen { span.unseen { (head.name) } } @else { (head.name) } }
                    }
                } }
                tbody id=[id] data-keep=[keep] sse-swap=[keep.map(|_| "event")] hx-swap=[keep.map(|_| "afterbegin")] { (rows) }
            }
        }
    }
}

/// Where a list goes on, by cursor: it works for any number of rows.
pub struct Pager<'a> {
    /// The page's address, with its filters.
    pub query: &'a Query,
    /// The API's cursor of the next page.
    pub next: Option<&'a str>,
    /// Rows on this page.
    pub shown: usize,
    /// What the rows are, in the plural: `events`.
    pub noun: &'a str,
}

/// One of what a noun in the plural names.
fn singular(plural: &str) -> String {
    match plural.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => plural.strip_suffix('s').unwrap_or(plural).to_owned(),
    }
}

/// The foot of a list.
pub fn pager(pager: &Pager<'_>) -> Markup {
    foot(pager, None)
}

/// The foot of a [`live_table`] whose body is `list`: it follows the rows that come and those that leave their place to them.
pub fn live_pager(pager: &Pager<'_>, list: &str) -> Markup {
    foot(pager, Some(list))
}

fn foot(pager: &Pager<'_>, list: Option<&str>) -> Markup {
    let is_first = pager.query.given("cursor").is_none();
    let one = singular(pager.noun);
    html! {
        nav.pager aria-label=(format!("Pages of {}", pager.noun)) data-foot-of=[list] data-one=[list.map(|_| &one)] data-more=[list.map(|_| pager.noun)] {
            span {
                (pager.shown) " " @if pager.shown == 1 { (one) } @else { (pager.noun) }
                @if is_first && pager.next.is_none() { " in all" } @else { " on this page" }
            }
            span.row {
                @if !is_first { a.button.slim href=(pager.query.with("cursor", None)) { "First page" } }
                @let next = pager.next.map(|next| pager.query.with("cursor", Some(next)));
                @if next.is_some() || list.is_some() {
                    a.button.slim href=[&next] rel=[next.as_ref().map(|_| "next")] hidden[next.is_none()] { "Next page" (icon("next")) }
                }
            }
        }
    }
}

/// A bar of filters: a form whose answer is a page with its own address. `fields` are built with [`super::Field`] and a draft of the query.
/// `clear` is the address without filters, given when any is set.
pub fn filters(label: &str, fields: Markup, clear: Option<&str>) -> Markup {
    html! {
        form.filters method="get" role="search" aria-label=(label) {
            (fields)
            button.button type="submit" { (icon("filter")) "Filter" }
            @if let Some(clear) = clear { a.button.quiet href=(clear) { "Clear" } }
        }
    }
}

/// A menu behind a button: links (`a.item`) and forms with one button. Opens without a script.
pub fn menu(label: &str, icon_name: &str, items: Markup) -> Markup {
    html! {
        details.menu {
            summary.button.quiet.slim.only-icon aria-label=(label) title=(label) { (icon(icon_name)) }
            div.panel { (items) }
        }
    }
}

/// Views of one thing, each with its own address.
pub fn tabs(label: &str, current: &str, tabs: &[(&str, String)]) -> Markup {
    html! {
        nav.tabs aria-label=(label) {
            @for (name, href) in tabs { a href=(href) aria-current=[(*name == current).then_some("page")] { (name) } }
        }
    }
}

/// What something is, as name and value.
pub fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! { dl.facts { @for (name, value) in facts { dt { (name) } dd { (value) } } } }
}

/// Where a page is: links from the top down; the last one is the page itself.
pub fn crumbs(crumbs: &[(&str, &str)]) -> Markup {
    html! {
        nav.crumbs aria-label="Where you are" { ol {
            @for (at, (name, href)) in crumbs.iter().enumerate() {
                li { @if at + 1 == crumbs.len() { span aria-current="page" { (name) } } @else { a href=(href) { (name) } } }
            }
        } }
    }
}

/// What happened to something, in its order.
pub fn timeline(label: &str, steps: &[Step]) -> Markup {
    html! {
        ol.timeline aria-label=(label) {
            @for step in steps {
                li {
                    span.dot.(step.tone.class()) { (icon(step.tone.icon())) }
                    div { (step.what) @if let Some(at) = &step.at { div.small.muted { (time(at)) } } }
                }
            }
        }
    }
}

/// Numbers side by side, each with a heading: `(name, value, details)`.
pub fn tiles(tiles: &[(&str, Markup, Markup)]) -> Markup {
    html! {
        div.tiles { @for (name, value, details) in tiles { section.tile { h2 { (name) } div.value { (value) } (details) } } }
    }
}
