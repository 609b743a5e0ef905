//! Filters on texts.

use minijinja::value::Value;

use super::{Body, elements, integer, optional};
use crate::template::Form;
use crate::template::json;
use crate::template::ops;
use crate::template::run::Run;
use crate::template::value::{self, Fault, View, view};

pub(super) const BODIES: &[(&str, Body)] = &[
    ("upper", Body::Plain(|run, args| changed(run, args, str::to_uppercase))),
    ("lower", Body::Plain(|run, args| changed(run, args, str::to_lowercase))),
    ("title", Body::Plain(|run, args| changed(run, args, title))),
    ("capitalize", Body::Plain(|run, args| changed(run, args, capitalize))),
    ("striptags", Body::Plain(|run, args| changed(run, args, strip_tags))),
    ("nl2br", Body::Plain(nl2br)),
    ("raw", Body::Plain(|_, args| Ok(args[0].clone()))),
    ("escape", Body::Plain(escape)),
    ("trim", Body::Plain(trim)),
    ("replace", Body::Plain(replace)),
    ("split", Body::Plain(split)),
    ("url_encode", Body::Plain(url_encode)),
    ("json_encode", Body::Plain(|run, args| Ok(json::encode(&args[0], &run.meter)?.into()))),
];

/// Units per byte of filters that look at every character.
const SCAN_COST: usize = 4;

fn changed(run: &Run, args: &[Value], change: impl Fn(&str) -> String) -> Result<Value, Fault> {
    let text = value::text(&args[0], &run.meter)?;
    run.meter.take(text.len().saturating_mul(SCAN_COST))?;
    Ok(change(&text).into())
}

fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = c.is_alphanumeric() || (inside && matches!(c, '\'' | '’'));
    }
    out
}

/// Removes everything between `<` and `>` that looks like a tag or a comment.
fn strip_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !tag {
            out.push('<');
            rest = &rest[1..];
            continue;
        }
        let end = if rest.starts_with("<!--") { rest.find("-->").map(|at| at + 3) } else { rest.find('>').map(|at| at + 1) };
        rest = end.map_or("", |at| &rest[at..]);
    }
    out + rest
}

/// In raw output `<br />` before each newline; every other form breaks lines by itself.
fn nl2br(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    if run.form != Form::Raw {
        return Ok(args[0].clone());
    }
    changed(run, args, |text| text.replace('\n', "<br />\n"))
}

/// `html` does nothing where the channel escapes anyway, since escaping twice would show; the others always apply.
fn escape(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let strategy = match optional(args, 1) {
        Some(strategy) => value::text(strategy, &run.meter)?,
        None => "html".into(),
    };
    match &*strategy {
        "html" | "html_attr" if run.form != Form::Raw => Ok(args[0].clone()),
        "html" | "html_attr" => changed(run, args, |text| {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                match c {
                    '&' => out.push_str("&amp;"),
                    '<' => out.push_str("&lt;"),
                    '>' => out.push_str("&gt;"),
                    '"' => out.push_str("&quot;"),
                    '\'' => out.push_str("&#039;"),
                    c => out.push(c),
                }
            }
            out
        }),
        "url" => url_encode(run, args),
        "js" | "css" => Err(Fault::bad(format!("escape(\"{strategy}\") is not available in message templates"))),
        other => Err(Fault::bad(format!("\"{}\" is not a way to escape", ops::excerpt(other)))),
    }
}

fn trim(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let text = value::text(&args[0], &run.meter)?;
    let mask = match optional(args, 1) {
        Some(mask) => value::text(mask, &run.meter)?,
        None => " \t\n\r\0\u{b}".into(),
    };
    run.meter.take(text.len().saturating_mul(mask.len().clamp(1, 64)))?;
    let side = match optional(args, 2) {
        Some(side) => value::text(side, &run.meter)?,
        None => "both".into(),
    };
    let cut = |c: char| mask.contains(c);
    Ok(match &*side {
        "both" => text.trim_matches(cut),
        "left" => text.trim_start_matches(cut),
        "right" => text.trim_end_matches(cut),
        other => return Err(Fault::bad(format!("\"{}\" is not a side: use both, left or right", ops::excerpt(other)))),
    }
    .into())
}

/// Replaces each key of a map by its value, longest key first, without looking at what was put in.
fn replace(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let text = value::text(&args[0], &run.meter)?;
    let View::Map(map) = view(&args[1]) else {
        return Err(Fault::bad("replace needs an object such as {'from': 'to'}"));
    };
    let mut pairs = Vec::with_capacity(map.entries.len());
    for (key, to) in &map.entries {
        if !key.is_empty() {
            pairs.push((&**key, value::text(to, &run.meter)?));
        }
    }
    pairs.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
    run.meter.take(text.len().saturating_mul(1 + pairs.len()))?;
    let mut out = String::new();
    let mut rest = &*text;
    while let Some(c) = rest.chars().next() {
        match pairs.iter().find(|(key, _)| rest.starts_with(key)) {
            Some((key, to)) => {
                run.meter.take(to.len())?;
                out.push_str(to);
                rest = &rest[key.len()..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Ok(out.into())
}

/// Twig's `split`: by a delimiter with PHP's `explode` limit, or into pieces of `limit` characters.
fn split(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    /// Units per piece: each is a value of its own.
    const PIECE_COST: usize = 24;
    let text = value::text(&args[0], &run.meter)?;
    let delimiter = value::text(&args[1], &run.meter)?;
    let limit = integer(args, 2)?;
    let pieces: Vec<Value> = if delimiter.is_empty() {
        let size = usize::try_from(limit.unwrap_or(1).max(1)).unwrap_or(usize::MAX);
        run.meter.take((text.len() / size + 1).saturating_mul(PIECE_COST))?;
        let chars: Vec<char> = text.chars().collect();
        chars.chunks(size).map(|chunk| chunk.iter().collect::<String>().into()).collect()
    } else {
        run.meter.take((text.len() / delimiter.len() + 1).saturating_mul(PIECE_COST))?;
        match limit {
            Some(limit) if limit >= 0 => {
                let limit = usize::try_from(limit.max(1)).unwrap_or(usize::MAX);
                text.splitn(limit, &*delimiter).map(Value::from).collect()
            }
            negative => {
                let mut pieces: Vec<Value> = text.split(&*delimiter).map(Value::from).collect();
                let drop = usize::try_from(negative.unwrap_or(0).unsigned_abs()).unwrap_or(usize::MAX);
                pieces.truncate(pieces.len().saturating_sub(drop));
                pieces
            }
        }
    };
    value::list(pieces)
}

/// Percent-encoding of everything but unreserved characters; a map becomes a query string.
fn url_encode(run: &Run, args: &[Value]) -> Result<Value, Fault> {
    let encode = |value: &Value, out: &mut String| -> Result<(), Fault> {
        let text = value::text(value, &run.meter)?;
        run.meter.take(text.len() * 3)?;
        percent(&text, out);
        Ok(())
    };
    let mut out = String::new();
    if let View::Map(map) = view(&args[0]) {
        for (key, item) in &map.entries {
            if !out.is_empty() {
                out.push('&');
            }
            percent(key, &mut out);
            out.push('=');
            encode(item, &mut out)?;
        }
    } else if let Some(items) = elements(&args[0]) {
        for (at, item) in items.into_iter().enumerate() {
            out.push_str(&format!("{}{at}=", if at > 0 { "&" } else { "" }));
            encode(item, &mut out)?;
        }
    } else {
        encode(&args[0], &mut out)?;
    }
    Ok(out.into())
}

fn percent(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
