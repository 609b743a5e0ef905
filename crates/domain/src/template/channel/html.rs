//! HTML for e-mail and for the public page of a message. Everything that is not a tag written here is escaped.

use super::{Part, visible};
use crate::template::markup::{Inline, Line};
use crate::template::table::Grid;

const BODY: &str = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:15px;line-height:1.5;color:#1c2430";
const CELL: &str = "border:1px solid #d5dae1;padding:6px 10px;text-align:left;vertical-align:top";
const CODE: &str = "font-family:Menlo,Consolas,monospace;background:#f1f3f6;padding:1px 4px;border-radius:3px";

/// A self-contained `<div>` with inline styles only.
pub(super) fn fragment(parts: &[Part]) -> String {
    let mut out = format!("<div style=\"{BODY}\">");
    for part in parts {
        match part {
            Part::Text { lines, .. } => text(lines, &mut out),
            Part::Table(grid) => table(grid, &mut out),
        }
    }
    out.push_str("</div>");
    out
}

fn escape(text: &str, out: &mut String) {
    for c in visible(text) {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push_str("<br>\n"),
            c => out.push(c),
        }
    }
}

fn text(lines: &[Line], out: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let run = |same: fn(&Line) -> bool| lines[at..].iter().take_while(|line| same(line)).count();
        if lines[at].is_blank() {
            at += 1;
        } else if lines[at].bullet {
            let end = at + run(|line| line.bullet);
            out.push_str("<ul style=\"margin:0 0 12px;padding-left:22px\">");
            for line in &lines[at..end] {
                out.push_str("<li>");
                inline(&line.content, out);
                out.push_str("</li>");
            }
            out.push_str("</ul>\n");
            at = end;
        } else {
            let end = at + run(|line| !line.bullet && !line.is_blank());
            out.push_str("<p style=\"margin:0 0 12px\">");
            for (index, line) in lines[at..end].iter().enumerate() {
                if index > 0 {
                    out.push_str("<br>\n");
                }
                inline(&line.content, out);
            }
            out.push_str("</p>\n");
            at = end;
        }
    }
}

fn inline(parts: &[Inline], out: &mut String) {
    for part in parts {
        match part {
            Inline::Text(text) | Inline::Data(text) => escape(text, out),
            Inline::Bold(inner) => tagged("strong", inner, out),
            Inline::Italic(inner) => tagged("em", inner, out),
            Inline::Code(text) => {
                out.push_str(&format!("<code style=\"{CODE}\">"));
                escape(text, out);
                out.push_str("</code>");
            }
            Inline::Link { url, label } => {
                out.push_str("<a style=\"color:#0b62d6\" rel=\"noopener noreferrer\" href=\"");
                escape(url, out);
                out.push_str("\">");
                inline(label, out);
                out.push_str("</a>");
            }
        }
    }
}

fn tagged(tag: &str, inner: &[Inline], out: &mut String) {
    out.push_str(&format!("<{tag}>"));
    inline(inner, out);
    out.push_str(&format!("</{tag}>"));
}

fn table(grid: &Grid, out: &mut String) {
    if grid.rows.is_empty() {
        return;
    }
    out.push_str("<table style=\"border-collapse:collapse;margin:0 0 12px\"><thead><tr>");
    for heading in &grid.headings {
        out.push_str(&format!("<th style=\"{CELL};background:#f1f3f6\">"));
        escape(heading, out);
        out.push_str("</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in &grid.rows {
        out.push_str("<tr>");
        for cell in row {
            out.push_str(&format!("<td style=\"{CELL}\">"));
            escape(cell, out);
            out.push_str("</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table>\n");
    if grid.more > 0 {
        out.push_str(&format!("<p style=\"margin:0 0 12px\">… and {} more</p>\n", grid.more));
    }
}

/// A whole HTML page around `html_fragment`, which must be [`Rendered::html`](crate::template::Rendered::html): for e-mail bodies and for the
/// public page of a message. It runs no script, loads nothing, sends no referrer and asks not to be indexed; `title` is escaped.
pub fn message_page(title: &str, html_fragment: &str) -> String {
    let mut escaped = String::new();
    escape(title, &mut escaped);
    let escaped = escaped.replace("<br>\n", " ");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"referrer\" content=\"no-referrer\"><meta name=\"robots\" content=\"noindex\">\
         <title>{escaped}</title></head>\
         <body style=\"margin:0;background:#fff\"><div style=\"max-width:680px;margin:0 auto;padding:24px\">\n{html_fragment}\n</div></body></html>\n"
    )
}
