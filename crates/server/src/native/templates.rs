//! Templates, and their preview in every form.

use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use posthaste_domain::resource::{Scope, TemplateDoc};
use posthaste_domain::template::{Block, Form, Limits, RenderError, RenderInput, Template, message_page};
use posthaste_engine::Entry;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::api::{Api, Op};
use super::crud::{self, Crud, Family, Meta, shown};
use super::json;
use crate::AppState;
use crate::auth::{Manager, Reader};
use crate::codes::Code;
use crate::cursor::List;
use crate::input::{Input, JsonBytes, check_json, parse_field, raw_fields, read_value};
use crate::problem::Problem;

/// A block of a template.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockInput {
    /// `text` (then with `text`) or `table` (then with `path` and `columns`).
    #[schema(pattern = "^(text|table)$")]
    kind: String,
    /// Of a text block: light Markdown with Twig inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Of a table block: where the list is, such as `data.items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Of a table block: what is shown of each element, left to right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    columns: Option<Vec<ColumnInput>>,
}

/// A column of a table block.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ColumnInput {
    /// Text above the column.
    heading: String,
    /// Field of an element, such as `name` or `product.name`.
    field: String,
}

/// A template as clients write it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateInput {
    /// Display name.
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    /// The message, block by block.
    #[schema(min_items = 1, max_items = 50)]
    blocks: Vec<BlockInput>,
}

/// A template.
#[derive(Serialize, ToSchema)]
#[schema(as = Template)]
pub(crate) struct TemplateView {
    id: String,
    #[serde(flatten)]
    input: TemplateInput,
    #[serde(flatten)]
    meta: Meta,
}

impl Crud for TemplateDoc {
    type Input = TemplateInput;
    type View = TemplateView;
    const NOUN: &'static str = "template";
    const LIST: List = List::Templates;

    fn search_text(&self) -> &str {
        &self.name
    }

    fn input(&self) -> TemplateInput {
        // Only what read_blocks took is ever stored.
        let blocks = serde_json::from_value(self.blocks.clone()).unwrap_or_default();
        TemplateInput { name: self.name.clone(), blocks }
    }

    fn build(_: &AppState, input: TemplateInput, _: Option<&Entry<Self>>) -> Result<Self, Problem> {
        let blocks = read_blocks(input.blocks)?;
        compile(&blocks)?;
        Ok(Self { name: input.name, blocks: serde_json::to_value(blocks).expect("blocks always serialise") })
    }

    async fn view(_: &AppState, entry: &Entry<Self>) -> TemplateView {
        TemplateView { id: entry.id.clone(), input: entry.doc.input(), meta: Meta::of(entry) }
    }
}

/// Blocks with the fields of their kind and no others.
fn read_blocks(inputs: Vec<BlockInput>) -> Result<Vec<Block>, Problem> {
    if inputs.is_empty() {
        return Err(Problem::invalid("blocks", "at least one block is needed"));
    }
    inputs
        .into_iter()
        .enumerate()
        .map(|(index, block)| read_block(block).map_err(|problem| problem.under(&format!("blocks[{index}]"))))
        .collect()
}

fn read_block(block: BlockInput) -> Result<Block, Problem> {
    let missing =
        |field: &'static str, kind: &str| Problem::new(Code::MissingField, format!("{field}: a {kind} block needs this field")).at(field);
    let foreign = |field: &'static str, kind: &str| Problem::invalid(field, format!("a {kind} block has no such field"));
    match block.kind.as_str() {
        "text" => {
            if let Some(field) = block.path.map(|_| "path").or(block.columns.map(|_| "columns")) {
                return Err(foreign(field, "text"));
            }
            Ok(Block::Text { text: block.text.ok_or_else(|| missing("text", "text"))? })
        }
        "table" => {
            if block.text.is_some() {
                return Err(foreign("text", "table"));
            }
            let column = |ColumnInput { heading, field }| posthaste_domain::template::Column { heading, field };
            Ok(Block::Table {
                path: block.path.ok_or_else(|| missing("path", "table"))?,
                columns: block.columns.ok_or_else(|| missing("columns", "table"))?.into_iter().map(column).collect(),
            })
        }
        other => {
            let typed: String = other.chars().take(64).collect();
            Err(Problem::invalid("kind", format!("{typed:?} is no kind of block{}", crate::input::suggestion(&typed, &["text", "table"]))))
        }
    }
}

/// Compiles blocks; a refusal has the block as its field and the line of the block.
fn compile(blocks: &[Block]) -> Result<Template, Problem> {
    Template::compile(blocks).map_err(|error| {
        let line = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let problem = Problem::invalid(format!("blocks[{}]", error.block), format!("{line}{}", error.reason));
        match error.line {
            Some(line) => problem.position(line, 1),
            None => problem,
        }
    })
}

/// Blocks, and an event to render them with.
#[derive(ToSchema)]
struct PreviewInput {
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    blocks: Vec<BlockInput>,
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    event: Option<PreviewEvent>,
}

/// The event of a preview. Every field may be left out.
#[derive(ToSchema)]
struct PreviewEvent {
    /// `event.name`.
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    type_name: Option<String>,
    /// `data`.
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    data: Option<Value>,
    /// `event.receivedAt`; now if absent.
    #[schema(format = DateTime)]
    #[expect(dead_code, reason = "describes what is read from the raw body")]
    received_at: Option<String>,
}

/// The message in every form.
#[derive(Serialize, ToSchema)]
struct PreviewView {
    /// Subject of the e-mail.
    subject: String,
    /// HTML part of the e-mail.
    html: String,
    /// Plain part of the e-mail, and every plain text.
    plain: String,
    /// Slack mrkdwn.
    slack: String,
    /// Discord Markdown.
    discord: String,
    /// Short text with a link to the full message.
    short: String,
    /// Text blocks as rendered, without any markup.
    raw: String,
    /// The page that the short text links to.
    page: String,
}

/// Adds the operations.
pub(super) fn operations(api: &mut Api) {
    api.tag("templates", "Messages, written once and rendered per channel.");
    api.add(
        Op::post("/templates", "createTemplate", "Create")
            .about("A template that cannot work is refused with the block and the line.")
            .scope(Scope::Manage)
            .body::<TemplateInput>()
            .answer::<TemplateView>(StatusCode::CREATED, "It can be used."),
        create,
    );
    crud::routes::<TemplateDoc>(
        api,
        &Family {
            all: "/templates",
            one: "/templates/{id}",
            ids: ["listTemplates", "readTemplate", "replaceTemplate", "changeTemplate", "deleteTemplate"],
        },
    );
    api.add(
        Op::post("/templates/preview", "previewTemplate", "Render blocks in every form")
            .about("Nothing is stored. A template that fails on this event is refused with the reason.")
            .scope(Scope::Read)
            .body::<PreviewInput>()
            .answer::<PreviewView>(StatusCode::OK, "The message."),
        preview,
    );
}

async fn create(State(state): State<AppState>, Manager(caller): Manager, Input(input): Input<TemplateInput>) -> Result<Response, Problem> {
    let doc = TemplateDoc::build(&state, input, None)?;
    let entry = state.by(&caller).engine.create(caller.workspace(), doc).await?;
    Ok(shown(&state, StatusCode::CREATED, &*entry).await)
}

async fn preview(State(state): State<AppState>, Reader(_): Reader, JsonBytes(body): JsonBytes) -> Result<Response, Problem> {
    check_json(&body)?;
    let fields = raw_fields(&body, &["blocks", "event"])?;
    let inputs = read_value(parse_field("blocks", fields.need("blocks")?)?).map_err(|error| error.under("blocks"))?;
    let template = compile(&read_blocks(inputs)?)?;
    let event = match fields.get("event").filter(|raw| *raw != b"null") {
        Some(raw) => raw_fields(raw, &["type", "data", "received_at"]).map_err(|problem| problem.under("event"))?,
        None => raw_fields(b"{}", &[])?,
    };
    let text = |name: &'static str| -> Result<Option<String>, Problem> {
        let parsed = event.get(name).map(serde_json::from_slice::<Option<String>>).transpose();
        parsed.map(Option::flatten).map_err(|_| Problem::invalid(format!("event.{name}"), "expected a string"))
    };
    let name = text("type")?.unwrap_or_else(|| "sample".to_owned());
    let received_at = match text("received_at")? {
        Some(text) => jiff::Timestamp::from_str(&text)
            .map_err(|_| Problem::invalid("event.received_at", "expected an RFC 3339 time such as 2026-11-21T12:00:00Z"))?
            .as_millisecond(),
        None => state.engine.now_ms(),
    };
    let data = event.get("data").unwrap_or(b"{}");
    let url = format!("{}/m/example", state.engine.settings().public_base_url);
    let input = RenderInput { event_name: &name, received_at, data, full_message_url: Some(&url) };
    let render = |form: Form| {
        let rendered = template.render(&input, form, &Limits::DEFAULT);
        rendered.map_err(|error| match &error {
            RenderError::Failed { block, line, .. } => {
                let problem = Problem::invalid(format!("blocks[{block}]"), error.to_string());
                line.map(|line| problem.clone().position(line, 1)).unwrap_or(problem)
            }
            _ => Problem::new(Code::InvalidField, format!("blocks: {error}")).at("blocks"),
        })
    };
    let mail = render(Form::Html)?;
    let html = mail.html.unwrap_or_default();
    let view = PreviewView {
        page: message_page(&mail.title, &html),
        subject: mail.title,
        html,
        plain: render(Form::Plain)?.text,
        slack: render(Form::SlackMrkdwn)?.text,
        discord: render(Form::DiscordMarkdown)?.text,
        short: render(Form::Short)?.text,
        raw: render(Form::Raw)?.text,
    };
    Ok(json(StatusCode::OK, &view))
}
