//! Forms: fields with hints and errors, choices, buttons, questions.

use maud::{Markup, Render, html};

use super::icon;
use crate::form::{Draft, called, is_secret, reason, sentence};

/// What a field is.
#[derive(Clone, Copy, PartialEq)]
enum Kind<'a> {
    Input(&'a str),
    Area {
        rows: u32,
        is_code: bool,
        has_lines: bool,
    },
    Select(&'a [Choice<'a>]),
    /// A time in the viewer's zone; the form sends RFC 3339.
    Time,
}

/// One of the values of a select or of a group of boxes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Choice<'a> {
    /// What is sent.
    pub value: &'a str,
    /// What is read.
    pub label: &'a str,
    /// More about it; shown beside boxes.
    pub hint: &'a str,
}

impl<'a> Choice<'a> {
    /// A value with its label.
    pub const fn new(value: &'a str, label: &'a str) -> Self {
        Self { value, label, hint: "" }
    }

    /// The same with more about it.
    pub const fn with_hint(self, hint: &'a str) -> Self {
        Self { hint, ..self }
    }
}

/// A field of a form: label, control, hint and error belong together, for eyes and for screen readers. Put it into a page as `(field)`.
///
/// The name is the one of the API's field (`settings.url`), so that a problem document finds it.
pub struct Field<'a> {
    draft: &'a Draft,
    name: &'a str,
    label: &'a str,
    kind: Kind<'a>,
    hint: Option<Markup>,
    placeholder: &'a str,
    autocomplete: Option<&'a str>,
    is_required: bool,
    is_optional: bool,
    is_code: bool,
    has_focus: bool,
    is_search: bool,
    submits: bool,
    shows: Option<&'a str>,
    list: &'a [&'a str],
    class: &'a str,
}

impl<'a> Field<'a> {
    fn new(draft: &'a Draft, name: &'a str, label: &'a str, kind: Kind<'a>) -> Self {
        Self {
            draft,
            name,
            label,
            kind,
            hint: None,
            placeholder: "",
            autocomplete: is_secret(name).then_some("off"),
            is_required: false,
            is_optional: false,
            is_code: false,
            has_focus: false,
            is_search: false,
            submits: false,
            shows: None,
            list: &[],
            class: "",
        }
    }

    /// One line of text.
    pub fn text(draft: &'a Draft, name: &'a str, label: &'a str) -> Self {
        Self::new(draft, name, label, Kind::Input("text"))
    }

    /// One line of another type of HTML: `email`, `password`, `url`, `number`, `search`, …
    pub fn input(draft: &'a Draft, name: &'a str, label: &'a str, kind: &'a str) -> Self {
        Self::new(draft, name, label, Kind::Input(kind))
    }

    /// Several lines of text.
    pub fn area(draft: &'a Draft, name: &'a str, label: &'a str, rows: u32) -> Self {
        Self::new(draft, name, label, Kind::Area { rows, is_code: false, has_lines: false })
    }

    /// Code: JSON, templates. With line numbers.
    pub fn code(draft: &'a Draft, name: &'a str, label: &'a str, rows: u32) -> Self {
        Self::new(draft, name, label, Kind::Area { rows, is_code: true, has_lines: true })
    }

    /// One of several values.
    pub fn select(draft: &'a Draft, name: &'a str, label: &'a str, choices: &'a [Choice<'a>]) -> Self {
        Self::new(draft, name, label, Kind::Select(choices))
    }

    /// A time. The viewer picks it in their own zone, and RFC 3339 is sent; without the script what they pick is UTC ([`crate::form::Form::moment`]).
    pub fn time(draft: &'a Draft, name: &'a str, label: &'a str) -> Self {
        Self { class: "time", ..Self::new(draft, name, label, Kind::Time) }
    }

    /// Words below the field.
    #[must_use]
    pub fn hint(mut self, text: impl Render) -> Self {
        self.hint = Some(text.render());
        self
    }

    /// An example within the empty field. Never the only hint.
    #[must_use]
    pub fn placeholder(mut self, text: &'a str) -> Self {
        self.placeholder = text;
        self
    }

    /// What browsers may fill in (`username`, `current-password`, `off`, …).
    #[must_use]
    pub fn autocomplete(mut self, word: &'a str) -> Self {
        self.autocomplete = Some(word);
        self
    }

    /// The browser asks for it before it sends.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Says that it may stay empty.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.is_optional = true;
        self
    }

    /// In a fixed font.
    #[must_use]
    pub fn mono(mut self) -> Self {
        self.is_code = true;
        self
    }

    /// Has the keyboard when the page opens. One at most on a page.
    #[must_use]
    pub fn focus(mut self) -> Self {
        self.has_focus = true;
        self
    }

    /// The field that `/` goes to; wide in a bar of filters.
    #[must_use]
    pub fn search(mut self) -> Self {
        self.is_search = true;
        self.class = "search";
        self
    }

    /// Sends its form when it changes.
    #[must_use]
    pub fn submits(mut self) -> Self {
        self.submits = true;
        self
    }

    /// Of a select: parts of the page marked `data-when-{part}="value value"` are shown for their values alone. Without the script all are
    /// shown, so the server must ignore what does not belong.
    #[must_use]
    pub fn shows(mut self, part: &'a str) -> Self {
        self.shows = Some(part);
        self
    }

    /// Values that are offered while typing; any other may be typed.
    #[must_use]
    pub fn suggests(mut self, values: &'a [&'a str]) -> Self {
        self.list = values;
        self
    }
}

/// The id of a field's control.
fn control_id(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    format!("f-{}", name.chars().map(safe).collect::<String>())
}

impl Render for Field<'_> {
    fn render(&self) -> Markup {
        let id = control_id(self.name);
        let error = self.draft.error(self.name);
        let (hint_id, error_id) = (format!("{id}-hint"), format!("{id}-error"));
        let described: Vec<&str> =
            [error.as_ref().map(|_| error_id.as_str()), self.hint.as_ref().map(|_| hint_id.as_str())].into_iter().flatten().collect();
        let described = Some(described.join(" ")).filter(|ids| !ids.is_empty());
        let invalid = error.as_ref().map(|_| "true");
        let value = self.draft.text(self.name);
        let class = if self.is_code { "code" } else { "" };
        let list_id = (!self.list.is_empty()).then(|| format!("{id}-list"));
        let search = self.is_search.then_some("");
        let submit = self.submits.then_some("");
        html! {
            div.field.(self.class) {
                label for=(id) { (self.label) @if self.is_optional { span.optional { " (optional)" } } }
                @match self.kind {
                    Kind::Input(kind) => {
                        input.(class) id=(id) name=(self.name) type=(kind) value=[(kind != "password").then_some(value)]
                            placeholder=[Some(self.placeholder).filter(|text| !text.is_empty())] autocomplete=[self.autocomplete]
                            required[self.is_required] autofocus[self.has_focus] aria-invalid=[invalid] aria-describedby=[described]
                            list=[list_id.as_deref()] data-search=[search] data-submit=[submit] step=[(kind == "number").then_some("any")];
                    }
                    Kind::Time => {
                        input id=(id) name=(self.name) type="datetime-local" data-time=(value) value=(value.get(..16).unwrap_or_default())
                            required[self.is_required] aria-invalid=[invalid] aria-describedby=[described] data-submit=[submit];
                    }
                    Kind::Area { rows, is_code, has_lines } => {
                        @let area = html! {
                            // The first line break within the element is the browser's.
                            textarea.(if is_code { "code" } else { class }) id=(id) name=(self.name) rows=(rows) spellcheck=[is_code.then_some("false")]
                                placeholder=[Some(self.placeholder).filter(|text| !text.is_empty())] required[self.is_required]
                                autofocus[self.has_focus] aria-invalid=[invalid] aria-describedby=[described] { "\n" (value) }
                        };
                        @if has_lines { div.editor { div.lines.needs-js aria-hidden="true" {} (area) } } @else { (area) }
                    }
                    Kind::Select(choices) => {
                        select id=(id) name=(self.name) required[self.is_required] aria-invalid=[invalid] aria-describedby=[described]
                            data-submit=[submit] data-shows=[self.shows] {
                            @for choice in choices { option value=(choice.value) selected[choice.value == value] { (choice.label) } }
                        }
                    }
                }
                @if let Some(list_id) = &list_id { datalist id=(list_id) { @for value in self.list { option value=(value) {} } } }
                @if let Some(error) = &error { div.error id=(error_id) { (icon("warn")) span { (error) } } }
                @if let Some(hint) = &self.hint { div.hint id=(hint_id) { (hint) } }
            }
        }
    }
}

/// The ids of what says what is wrong with a group of boxes, for each box.
fn described(draft: &Draft, name: &str) -> (Option<String>, Option<&'static str>) {
    let error = draft.error(name).map(|_| format!("{}-error", control_id(name)));
    let invalid = error.as_ref().map(|_| "true");
    (error, invalid)
}

/// What is wrong with a field whose control cannot say it: a group of boxes, or several of them. Links to the field lead here.
fn wrong(draft: &Draft, name: &str) -> Markup {
    html! { @if let Some(error) = draft.error(name) { div.error id=(format!("{}-error", control_id(name))) { (icon("warn")) span { (error) } } } }
}

/// The same for a field of several groups ([`check_group`]), at their end.
pub fn group_error(draft: &Draft, name: &str) -> Markup {
    html! { @if draft.error(name).is_some() { div.field id=(control_id(name)) tabindex="-1" { (wrong(draft, name)) } } }
}

/// A group of boxes of one name, of which any may be ticked.
pub fn checks(draft: &Draft, name: &str, label: &str, choices: &[Choice<'_>]) -> Markup {
    let (described, invalid) = described(draft, name);
    html! {
        fieldset.field id=(control_id(name)) tabindex="-1" {
            legend { (label) }
            div.checks {
                @for choice in choices {
                    label.check {
                        input type="checkbox" name=(name) value=(choice.value) checked[draft.has(name, choice.value)]
                            aria-invalid=[invalid] aria-describedby=[described.as_deref()];
                        span { (choice.label) @if !choice.hint.is_empty() { span.hint { (choice.hint) } } }
                    }
                }
            }
            (wrong(draft, name))
        }
    }
}

/// One of a few values, all of them in sight.
pub fn radios(draft: &Draft, name: &str, label: &str, choices: &[Choice<'_>]) -> Markup {
    let (described, invalid) = described(draft, name);
    html! {
        fieldset.field id=(control_id(name)) tabindex="-1" {
            legend { (label) }
            div.checks {
                @for choice in choices {
                    label.check {
                        input type="radio" name=(name) value=(choice.value) checked[draft.has(name, choice.value)]
                            aria-invalid=[invalid] aria-describedby=[described.as_deref()];
                        span { (choice.label) @if !choice.hint.is_empty() { span.hint { (choice.hint) } } }
                    }
                }
            }
            (wrong(draft, name))
        }
    }
}

/// A group of boxes with one for all of them. The form sends `{name}_groups` for that one, so it works without the script too.
pub fn check_group(draft: &Draft, name: &str, group: &str, choices: &[Choice<'_>]) -> Markup {
    let (described, invalid) = described(draft, name);
    html! {
        fieldset.field.group {
            legend {
                label.check {
                    input type="checkbox" name=(format!("{name}_groups")) value=(group) checked[draft.has(&format!("{name}_groups"), group)];
                    span { (group) span.unseen { ": all" } }
                }
            }
            div.checks {
                @for choice in choices {
                    label.check {
                        input type="checkbox" name=(name) value=(choice.value) checked[draft.has(name, choice.value)]
                            aria-invalid=[invalid] aria-describedby=[described.as_deref()];
                        span { (choice.label) @if !choice.hint.is_empty() { span.hint { (choice.hint) } } }
                    }
                }
            }
        }
    }
}

/// One box: a yes or no.
pub fn tick(draft: &Draft, name: &str, label: &str, hint: &str) -> Markup {
    let is_on = !matches!(draft.text(name), "" | "false");
    let (described, invalid) = described(draft, name);
    html! {
        div.field {
            label.check {
                input id=(control_id(name)) type="checkbox" name=(name) value="true" checked[is_on] aria-invalid=[invalid]
                    aria-describedby=[described.as_deref()];
                span { (label) @if !hint.is_empty() { span.hint { (hint) } } }
            }
            (wrong(draft, name))
        }
    }
}

/// The token that every form needs which changes something. Its value is [`crate::session::Seat::csrf`].
pub fn csrf(token: &str) -> Markup {
    html! { input type="hidden" name="csrf" value=(token); }
}

/// The field of the form that a field of the API belongs to: headers are one text area, scopes are boxes of one name.
fn control_of<'a>(draft: &Draft, field: &'a str) -> &'a str {
    let parts = field.match_indices(['.', '[']).map(|(at, _)| &field[..at]);
    let is_there = |name: &&str| draft.pairs().any(|(known, _)| known == *name);
    std::iter::once(field).chain(parts.rev()).find(is_there).unwrap_or_else(|| field.split('[').next().unwrap_or_default())
}

/// What the API refused, above a form, with links to the fields. Nothing when nothing was refused.
pub fn errors(draft: &Draft) -> Markup {
    let Some(problem) = &draft.problem else { return html! {} };
    if let Some(version) = problem.stored_version {
        return conflict(version);
    }
    html! {
        div.notice.bad role="alert" {
            span.bad { (icon("bad")) }
            div.text {
                strong { (if problem.detail.is_empty() { problem.title.clone() } else { sentence(problem.field.as_deref(), &problem.detail) }) }
                @if let Some(line) = problem.line { " (line " (line) @if let Some(column) = problem.column { ", column " (column) } ")" }
                @if !problem.errors.is_empty() {
                    ul { @for error in &problem.errors { li { a href=(format!("#{}", control_id(control_of(draft, &error.field)))) { (called(&error.field)) } ": " (reason(&error.field, &error.detail)) } } }
                }
            }
        }
    }
}

/// Somebody else saved while the form was open: theirs, or to save anyway. The form is at the address that shows what is saved.
fn conflict(version: i64) -> Markup {
    html! {
        // Enter in a field asks once more; it never means "anyway".
        button.unseen type="submit" name="do" value="save" tabindex="-1" aria-hidden="true" { "Save" }
        div.notice.warn role="alert" {
            span.warn { (icon("warn")) }
            div.text.stack.tight {
                strong { "Somebody else saved this while you were at it." }
                span { "Nothing of yours is saved yet, and nothing is lost: it is in the form below. " a href="" target="_blank" { "See theirs in a new tab" } "." }
                div.row {
                    button.button type="submit" name="anyway" value=(version) { "Save mine anyway" }
                    a.button.quiet href="" { "Take theirs, drop mine" }
                }
            }
        }
    }
}

/// The main button of a form.
pub fn submit(label: &str) -> Markup {
    html! { button.button.primary type="submit" { (label) } }
}

/// A form of one button that does something: `action` is posted to. `class` is `""`, `primary`, `danger`, `quiet` or `slim`, or several.
pub fn button(token: &str, action: &str, class: &str, icon_name: &str, label: &str) -> Markup {
    html! { form method="post" action=(action) { (csrf(token)) button.button.(class) type="submit" { (icon(icon_name)) (label) } } }
}

/// A link that looks like a button. The one that makes something new should be `primary` and have `data-new`: pass `is_new`.
pub fn button_link(href: &str, class: &str, icon_name: &str, label: &str, is_new: bool) -> Markup {
    html! { a.button.(class) href=(href) data-new=[is_new.then_some("")] { (icon(icon_name)) (label) } }
}

/// The id of the dialog of an action. Another action never has the same: the dialog would ask about another thing than the button.
fn dialog_id(action: &str) -> String {
    let mut id = "ask".to_owned();
    for byte in action.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => id.push(char::from(byte)),
            other => id.push_str(&format!("_{other:02x}")),
        }
    }
    id
}

/// A question before something that cannot be taken back: a button that opens a dialog. Without the script it is a link to `action`, whose
/// `GET` must show [`confirm_page`]; its `POST` does it.
pub fn confirm(token: &str, action: &str, label: &str, title: &str, about: &str) -> Markup {
    let id = dialog_id(action);
    html! {
        a.button.danger href=(action) data-dialog=(id) { (icon("trash")) (label) }
        dialog id=(id) aria-labelledby=(format!("{id}-title")) {
            form method="post" action=(action) {
                (csrf(token))
                h2 id=(format!("{id}-title")) { (title) }
                p { (about) }
                div.row.end {
                    button.button type="button" data-close autofocus { "Keep it" }
                    button.button.danger.primary type="submit" { (label) }
                }
            }
        }
    }
}

/// The same question as the content of a page. `back` is where "Keep it" leads.
pub fn confirm_page(token: &str, action: &str, label: &str, title: &str, about: &str, back: &str) -> Markup {
    super::section(
        title,
        html! {
            form.form method="post" action=(action) {
                (csrf(token))
                p { (about) }
                div.actions { a.button href=(back) { "Keep it" } button.button.danger.primary type="submit" { (label) } }
            }
        },
    )
}

/// Details behind a line that opens.
pub fn fold(is_open: bool, summary: Markup, content: Markup) -> Markup {
    html! { details.fold open[is_open] { summary { (summary) } div.inner { (content) } } }
}

/// [`fold`] in a live part: it stays as somebody left it, wherever it stands when the part is written anew. `name` is its own within the part.
pub fn named_fold(name: &str, is_open: bool, summary: Markup, content: Markup) -> Markup {
    html! { details.fold open[is_open] data-fold=(name) { summary { (summary) } div.inner { (content) } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FieldProblem, Problem};
    use crate::form::Form;

    #[test]
    fn errors_lead_to_the_fields_of_the_form() {
        let draft = Draft::from(Form::parse(b"settings.headers=X%3A+y&scopes=read&name="));
        let fields = ["settings.headers.x", "scopes[0]", "event_types[3]", "name"];
        let errors = fields.map(|field| FieldProblem { field: field.into(), detail: "is wrong".into() }).to_vec();
        let draft = draft.with_problem(Problem { errors, ..Problem::default() });
        let page = errors_and_boxes(&draft);
        for id in ["f-settings-headers", "f-scopes", "f-event_types", "f-name"] {
            assert!(page.contains(&format!("href=\"#{id}\"")) && page.contains(&format!("id=\"{id}\"")), "{id}: {page}");
            assert!(
                page.contains(&format!("aria-describedby=\"{id}-error\"")) && page.contains(&format!("id=\"{id}-error\"")),
                "{id}: {page}"
            );
        }
    }

    fn errors_and_boxes(draft: &Draft) -> String {
        let choices = [Choice::new("read", "Read")];
        let page = html! {
            (errors(draft))
            (Field::area(draft, "settings.headers", "Headers", 2))
            (Field::text(draft, "name", "Name"))
            (checks(draft, "scopes", "Scopes", &choices))
            (check_group(draft, "event_types", "All", &choices))
            (group_error(draft, "event_types"))
        };
        page.into_string()
    }
}
