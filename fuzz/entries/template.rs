//! Bytes as a template and an event: the text of a block, the event's data, the path of a table and its field, parted by 0xFF.

use posthaste_domain::template::{Block, Column, Form, Limits, RenderInput, Template, message_page, split_for_discord};

const LIMITS: Limits = Limits { max_output_bytes: 4096, max_steps: 20_000, max_work: 64 * 1024, max_table_rows: 20 };
const FORMS: [Form; 6] = [Form::Html, Form::SlackMrkdwn, Form::DiscordMarkdown, Form::Plain, Form::Short, Form::Raw];
/// Bytes that escaping and markup may make of one byte, with much room.
const GROWTH: usize = 64;

/// Whatever compiles must render within its bounds or fail, and must not put a script into HTML.
pub fn check(data: &[u8]) {
    let mut parts = data.splitn(4, |&byte| byte == 0xFF);
    let mut part = || parts.next().unwrap_or_default();
    let (source, json, path, field) = (part(), part(), part(), part());
    let (Ok(source), Ok(path), Ok(field)) = (std::str::from_utf8(source), std::str::from_utf8(path), std::str::from_utf8(field)) else {
        return;
    };
    let mut blocks = vec![Block::Text { text: source.to_owned() }];
    if !path.is_empty() {
        let columns = vec![Column { heading: source.chars().take(20).collect(), field: field.to_owned() }];
        blocks.push(Block::Table { path: path.to_owned(), columns });
    }
    let Ok(template) = Template::compile(&blocks) else { return };
    let input = RenderInput { event_name: field, received_at: 0, data: json, full_message_url: Some("https://example.com/m/1") };
    for form in FORMS {
        let Ok(message) = template.render(&input, form, &LIMITS) else { continue };
        assert!(!message.title.contains(['\n', '\r']) && message.title.chars().count() <= 200, "{:?}", message.title);
        assert!(message.text.len() <= GROWTH * (LIMITS.max_output_bytes + 1024), "{} bytes", message.text.len());
        assert_eq!(message.html.is_some(), form == Form::Html);
        if let Some(html) = &message.html {
            let page = message_page(&message.title, html).to_ascii_lowercase();
            assert!(!page.contains("<script") && !page.contains("href=\"javascript"), "{page}");
        }
        if form == Form::DiscordMarkdown {
            assert!(split_for_discord(&message.text).iter().all(|post| post.chars().count() <= 2000));
        }
    }
}
