//! The blocks of a template as a form: read from it, changed by its buttons, and shown as an editor.
//!
//! Fields are named as the API names them (`blocks[0].text`, `blocks[1].columns[0].field`). Their order in the form is the order of the
//! blocks, whatever the numbers are: a script may move them. Each time the form is shown, they are numbered anew.

use maud::{Markup, html};
use serde_json::{Value, json};

use crate::api::Problem;
use crate::form::{Draft, Form};
use crate::ui::{self, Field};

/// A block that is being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Its number in the form that was sent.
    key: String,
    is_table: bool,
    text: String,
    path: String,
    columns: Vec<Column>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Column {
    key: String,
    heading: String,
    field: String,
}

/// A new text block.
pub(super) fn text_block(text: &str) -> Block {
    Block { text: text.to_owned(), ..Block::default() }
}

fn table_block() -> Block {
    Block { is_table: true, columns: vec![Column::default()], ..Block::default() }
}

/// Takes `[KEY]` off the beginning.
fn index(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('[')?.split_once(']')
}

/// The blocks of a form, in its order.
pub(super) fn of_form(form: &Form) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (name, value) in form.pairs() {
        let Some((key, rest)) = name.strip_prefix("blocks").and_then(index) else { continue };
        let at = blocks.iter().position(|block| block.key == key).unwrap_or_else(|| {
            blocks.push(Block { key: key.to_owned(), ..Block::default() });
            blocks.len() - 1
        });
        let block = &mut blocks[at];
        match rest {
            ".kind" => block.is_table = value == "table",
            ".text" => block.text = value.replace("\r\n", "\n"),
            ".path" => block.path = value.trim().to_owned(),
            _ => {
                let Some((key, rest)) = rest.strip_prefix(".columns").and_then(index) else { continue };
                let at = block.columns.iter().position(|column| column.key == key).unwrap_or_else(|| {
                    block.columns.push(Column { key: key.to_owned(), ..Column::default() });
                    block.columns.len() - 1
                });
                match rest {
                    ".heading" => block.columns[at].heading = value.trim().to_owned(),
                    ".field" => block.columns[at].field = value.trim().to_owned(),
                    _ => {}
                }
            }
        }
    }
    blocks
}

/// The blocks of a template as the API shows them.
pub(super) fn of_api(blocks: &Value) -> Vec<Block> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let column = |value: &Value| Column { key: String::new(), heading: text(&value["heading"]), field: text(&value["field"]) };
    let block = |value: &Value| Block {
        key: String::new(),
        is_table: value["kind"] == "table",
        text: text(&value["text"]),
        path: text(&value["path"]),
        columns: value["columns"].as_array().into_iter().flatten().map(column).collect(),
    };
    blocks.as_array().into_iter().flatten().map(block).collect()
}

/// As the API takes them. Columns that nothing was written in are left out.
pub(super) fn to_api(blocks: &[Block]) -> Value {
    let column = |column: &Column| json!({"heading": column.heading, "field": column.field});
    let filled = |column: &&Column| !(column.heading.is_empty() && column.field.is_empty());
    let block = |block: &Block| match block.is_table {
        true => {
            json!({"kind": "table", "path": block.path, "columns": block.columns.iter().filter(filled).map(column).collect::<Vec<_>>()})
        }
        false => json!({"kind": "text", "text": block.text}),
    };
    blocks.iter().map(block).collect()
}

/// As the preview takes them: a table that is not finished is nothing yet.
pub(super) fn to_preview(blocks: &[Block]) -> Value {
    let is_finished =
        |block: &Block| !block.is_table || !(block.path.is_empty() || block.columns.iter().all(|column| column.field.is_empty()));
    blocks
        .iter()
        .map(|block| if is_finished(block) { block.clone() } else { text_block("") })
        .map(|block| to_api(&[block])[0].take())
        .collect()
}

/// Does what a button of the editor says. Anything else changes nothing.
pub(super) fn act(blocks: &mut Vec<Block>, action: &str) {
    let mut words = action.split(':');
    let verb = words.next().unwrap_or_default();
    let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).unwrap_or(usize::MAX);
    let at = number();
    match verb {
        "add-text" => blocks.push(text_block("")),
        "add-table" => blocks.push(table_block()),
        "up" if at > 0 && at < blocks.len() => blocks.swap(at, at - 1),
        "down" if at < blocks.len().saturating_sub(1) => blocks.swap(at, at + 1),
        "remove" if at < blocks.len() => drop(blocks.remove(at)),
        "column" => {
            if let Some(block) = blocks.get_mut(at) {
                block.columns.push(Column::default());
            }
        }
        "drop" => {
            let column = number();
            if let Some(block) = blocks.get_mut(at).filter(|block| column < block.columns.len()) {
                block.columns.remove(column);
            }
        }
        _ => {}
    }
}

/// Where a problem of the API is in the editor: the index of its block, and the field that shows it.
fn place(blocks: &[Block], field: &str) -> Option<(usize, String)> {
    let (number, rest) = field.strip_prefix("blocks").and_then(index)?;
    let at: usize = number.parse().ok()?;
    let block = blocks.get(at)?;
    let rest = match rest {
        "" if block.is_table => ".path",
        "" => ".text",
        rest => rest,
    };
    Some((at, format!("blocks[{at}]{rest}")))
}

/// The same problem, at the field that shows it.
pub(super) fn located(blocks: &[Block], mut problem: Problem) -> Problem {
    if let Some((at, field)) = problem.field.as_deref().and_then(|field| place(blocks, field)) {
        problem.detail = words(at, &field, &problem.detail);
        problem.field = Some(field);
        // The line is in the words, and it is a line of the block.
        (problem.line, problem.column) = (None, None);
    }
    problem
}

/// What is wrong, said with the block's number as people count.
fn words(at: usize, field: &str, detail: &str) -> String {
    let api_name = format!("blocks[{at}]");
    let reason = detail.strip_prefix(field).or_else(|| detail.strip_prefix(&api_name)).unwrap_or(detail);
    let reason = reason.trim_start_matches([':', ' ']);
    if reason.contains(&format!("block {}", at + 1)) {
        return reason.to_owned();
    }
    format!("Block {}: {reason}", at + 1)
}

/// What is wrong with each block, for the places beside them. Their ids are those of the form that was sent, so that a script finds them.
pub(super) fn live_errors(blocks: &[Block], problem: Option<&Problem>) -> Markup {
    let wrong = problem.and_then(|problem| place(blocks, problem.field.as_deref()?));
    html! {
        @for (at, block) in blocks.iter().enumerate() {
            @let is_wrong = wrong.as_ref().is_some_and(|(wrong, _)| *wrong == at);
            div.error id=(format!("wrong-{}", block.key)) role="status" hx-swap-oob="true" {
                @if is_wrong && let Some(problem) = problem { (ui::icon("warn")) span { (problem.detail) } }
            }
        }
    }
}

/// The editor. `action` is the form's address, and `draft` has what is wrong.
pub(super) fn editor(blocks: &[Block], draft: &Draft, action: &str) -> Markup {
    let mut draft = draft.clone();
    for (at, block) in blocks.iter().enumerate() {
        draft = draft.set(&format!("blocks[{at}].text"), &block.text).set(&format!("blocks[{at}].path"), &block.path);
        for (column_at, column) in block.columns.iter().enumerate() {
            let name = format!("blocks[{at}].columns[{column_at}]");
            draft = draft.set(&format!("{name}.heading"), &column.heading).set(&format!("{name}.field"), &column.field);
        }
    }
    let add = |verb: &str, label: &str| {
        html! { button.button.slim type="submit" formnovalidate name="do" value=(verb) formaction=(format!("{action}#block-{}", blocks.len())) { (ui::icon("plus")) (label) } }
    };
    html! {
        ol.blocks {
            @for (at, block) in blocks.iter().enumerate() { (one(&draft, blocks, at, block, action)) }
        }
        p.unseen role="status" data-moved="" {}
        @if blocks.is_empty() { p.muted { "No blocks yet. A message needs one at least." } }
        div.row { (add("add-text", "Text block")) (add("add-table", "Table block")) }
    }
}

fn one(draft: &Draft, blocks: &[Block], at: usize, block: &Block, action: &str) -> Markup {
    let kind = if block.is_table { "Table" } else { "Text" };
    let button = |verb: &str, to: usize, icon: &str, label: &str, is_off: bool| {
        html! {
            button.button.quiet.slim.only-icon type="submit" formnovalidate name="do" value=(format!("{verb}:{at}")) disabled[is_off]
                formaction=(format!("{action}#block-{to}")) aria-label=(format!("{label}: block {}", at + 1)) title=(label) { (ui::icon(icon)) }
        }
    };
    let (text, path) = (format!("blocks[{at}].text"), format!("blocks[{at}].path"));
    html! {
        li.block id=(format!("block-{at}")) tabindex="-1" {
            div.row.apart {
                span.row {
                    span.grip.needs-js data-grip="" draggable="true" title="Drag to move" aria-hidden="true" { (ui::icon("grip")) }
                    strong { span data-number="" { (at + 1) } ". " (kind) }
                }
                span.row.tools {
                    (button("up", at.saturating_sub(1), "up", "Move up", at == 0))
                    (button("down", at + 1, "down", "Move down", at + 1 == blocks.len()))
                    (button("remove", at.saturating_sub(1), "trash", "Remove", false))
                }
            }
            input type="hidden" name=(format!("blocks[{at}].kind")) value=(if block.is_table { "table" } else { "text" });
            @if block.is_table {
                (Field::text(draft, &path, "List").hint("Where the rows are in the event, such as data.items.").placeholder("data.items").mono())
                (columns(draft, at, block, action))
            } @else {
                (Field::code(draft, &text, "Text", 5))
            }
            div.error id=(format!("wrong-{at}")) role="status" {}
        }
    }
}

fn columns(draft: &Draft, at: usize, block: &Block, action: &str) -> Markup {
    let here = format!("{action}#block-{at}");
    html! {
        fieldset.field {
            legend { "Columns" }
            @for column in 0..block.columns.len() {
                @let (heading, field) = (format!("blocks[{at}].columns[{column}].heading"), format!("blocks[{at}].columns[{column}].field"));
                div.column {
                    (Field::text(draft, &heading, "Heading"))
                    (Field::text(draft, &field, "Field").placeholder("name").mono())
                    button.button.quiet.only-icon type="submit" formnovalidate name="do" value=(format!("drop:{at}:{column}")) formaction=(here)
                        aria-label=(format!("Remove column {} of block {}", column + 1, at + 1)) title="Remove the column" { (ui::icon("bad")) }
                }
            }
            div { button.button.slim type="submit" formnovalidate name="do" value=(format!("column:{at}")) formaction=(here) { (ui::icon("plus")) "Column" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(blocks: &[Block]) -> Vec<&str> {
        blocks.iter().map(|block| if block.is_table { "table" } else { block.text.as_str() }).collect()
    }

    #[test]
    fn the_order_of_the_form_counts_whatever_the_numbers_are() {
        let form = "blocks[7].kind=text&blocks[7].text=b&blocks[0].kind=table&blocks[0].path=+data.items+&blocks[0].columns[3].heading=N\
                    &blocks[0].columns[3].field=n&blocks[0].columns[1].heading=&blocks[0].columns[1].field=&other=x&blocks[=y";
        let blocks = of_form(&Form::parse(form.as_bytes()));
        let expected = json!([
            {"kind": "text", "text": "b"},
            {"kind": "table", "path": "data.items", "columns": [{"heading": "N", "field": "n"}]},
        ]);
        assert_eq!(to_api(&blocks), expected);
        assert_eq!(to_api(&of_api(&expected)), expected);
    }

    #[test]
    fn buttons_move_add_and_remove() {
        let mut blocks = vec![text_block("a"), text_block("b"), text_block("c")];
        for (action, expected) in [
            ("up:2", vec!["a", "c", "b"]),
            ("up:0", vec!["a", "c", "b"]),
            ("down:0", vec!["c", "a", "b"]),
            ("down:2", vec!["c", "a", "b"]),
            ("down:9", vec!["c", "a", "b"]),
            ("remove:1", vec!["c", "b"]),
            ("remove:2", vec!["c", "b"]),
            ("add-table", vec!["c", "b", "table"]),
            ("nonsense", vec!["c", "b", "table"]),
        ] {
            act(&mut blocks, action);
            assert_eq!(texts(&blocks), expected, "{action}");
        }
        act(&mut blocks, "column:2");
        assert_eq!(blocks[2].columns.len(), 2);
        act(&mut blocks, "drop:2:0");
        act(&mut blocks, "drop:2:7");
        assert_eq!(blocks[2].columns.len(), 1);
    }

    #[test]
    fn problems_are_told_at_the_block() {
        let blocks = vec![text_block("a"), table_block()];
        let problem =
            |field: &str, detail: &str| Problem { field: Some(field.into()), detail: detail.into(), line: Some(2), ..Problem::default() };
        let first = located(&blocks, problem("blocks[0]", "blocks[0]: line 2: no such filter"));
        assert_eq!(
            (first.field.as_deref(), first.detail.as_str(), first.line),
            (Some("blocks[0].text"), "Block 1: line 2: no such filter", None)
        );
        let second = located(&blocks, problem("blocks[1]", "blocks[1]: the path is empty"));
        assert_eq!(second.field.as_deref(), Some("blocks[1].path"));
        let other = located(&blocks, problem("name", "name: too long"));
        assert_eq!(other.field.as_deref(), Some("name"));
    }
}
