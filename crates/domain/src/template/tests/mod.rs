//! Tests of templates.

mod bounds;
mod channels;
mod language;
mod save;

use super::*;

/// Received at 2024/05/06 07:08:09.
pub(super) const RECEIVED: i64 = 1_714_979_289_000;

pub(super) fn text(source: &str) -> Block {
    Block::Text { text: source.to_owned() }
}

pub(super) fn table(path: &str, columns: &[(&str, &str)]) -> Block {
    let column = |(heading, field): &(&str, &str)| Column { heading: (*heading).to_owned(), field: (*field).to_owned() };
    Block::Table { path: path.to_owned(), columns: columns.iter().map(column).collect() }
}

pub(super) fn input(data: &str) -> RenderInput<'_> {
    RenderInput {
        event_name: "Order received",
        received_at: RECEIVED,
        data: data.as_bytes(),
        full_message_url: Some("https://ph.example/m/tok"),
    }
}

pub(super) fn render(blocks: &[Block], data: &str, form: Form) -> Rendered {
    let template = Template::compile(blocks).unwrap_or_else(|error| panic!("{error}"));
    template.render(&input(data), form, &Limits::DEFAULT).unwrap_or_else(|error| panic!("{error}"))
}

/// One text block, exactly as rendered.
pub(super) fn raw(source: &str, data: &str) -> String {
    render(&[text(source)], data, Form::Raw).text
}

pub(super) fn fails(source: &str, data: &str) -> RenderError {
    let template = Template::compile(&[text(source)]).unwrap_or_else(|error| panic!("{error}"));
    template.render(&input(data), Form::Raw, &Limits::DEFAULT).unwrap_err()
}

pub(super) fn refused(source: &str) -> TemplateError {
    Template::compile(&[text(source)]).map(|_| source).unwrap_err()
}
