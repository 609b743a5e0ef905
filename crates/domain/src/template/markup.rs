//! Formatted text: the light Markdown of text blocks, read from rendered text in which runs of data are marked.
//!
//! `**bold**`, `*italic*`, `_italic_`, `` `code` ``, `[label](url)`, lines beginning with `- `, and `\` before any of these signs.
//! Only the author's text makes markup; a data run is one opaque piece, whatever it contains. Reading is linear in the
//! length of a line per level of nesting.

use super::value::marks;

/// A line of a text block.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// It began with `- `.
    pub bullet: bool,
    pub content: Vec<Inline>,
}

impl Line {
    /// Nothing on it, or only blanks.
    pub fn is_blank(&self) -> bool {
        !self.bullet
            && self.content.iter().all(|part| match part {
                Inline::Text(text) | Inline::Data(text) => text.trim().is_empty(),
                _ => false,
            })
    }
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Inline {
    /// The author's text.
    Text(String),
    /// Data of the event: may hold newlines and anything else.
    Data(String),
    Bold(Vec<Inline>),
    Italic(Vec<Inline>),
    Code(String),
    /// The URL is one of [`safe_url`].
    Link {
        url: String,
        label: Vec<Inline>,
    },
}

/// Deepest nesting of bold, italic and links.
const MAX_NESTING: usize = 6;

/// Reads one rendered text block.
pub(super) fn parse(rendered: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut pieces = Vec::new();
    for piece in pieces_of(rendered) {
        if matches!(piece, Piece::Char('\n')) {
            lines.push(line(&pieces));
            pieces.clear();
        } else {
            pieces.push(piece);
        }
    }
    lines.push(line(&pieces));
    lines
}

/// The text of a rendered block without marks.
pub(super) fn unmarked(rendered: &str) -> String {
    marks::strip(rendered).into_owned()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece<'a> {
    Char(char),
    Data(&'a str),
}

fn pieces_of(rendered: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = rendered;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == marks::OPEN {
            let end = rest.find(marks::CLOSE).unwrap_or(rest.len());
            pieces.push(Piece::Data(&rest[..end]));
            rest = rest[end..].strip_prefix(marks::CLOSE).unwrap_or("");
        } else if !marks::is_mark(c) {
            pieces.push(Piece::Char(c));
        }
    }
    pieces
}

fn line(pieces: &[Piece<'_>]) -> Line {
    let indent = pieces.iter().take_while(|p| matches!(p, Piece::Char(' ' | '\t'))).count();
    match &pieces[indent..] {
        [Piece::Char('-'), Piece::Char(' '), rest @ ..] => Line { bullet: true, content: inlines(rest, 0) },
        _ => Line { bullet: false, content: inlines(pieces, 0) },
    }
}

/// Which closing signs are known not to come any more on this line, so that nothing is looked for twice.
#[derive(Default)]
struct Missing {
    code: bool,
    bold: bool,
    star: bool,
    underscore: bool,
    /// A blank or a parenthesis after which a URL would end.
    url_end: bool,
}

fn inlines(pieces: &[Piece<'_>], nesting: usize) -> Vec<Inline> {
    let mut out = Vec::new();
    let mut missing = Missing::default();
    let mut at = 0;
    while at < pieces.len() {
        let (part, used) = match pieces[at] {
            Piece::Data(data) => (Some(Inline::Data(data.to_owned())), 1),
            Piece::Char('\\') if matches!(pieces.get(at + 1), Some(Piece::Char(c)) if "\\*_`[]()-".contains(*c)) => {
                at += 1;
                (None, 1)
            }
            Piece::Char('`') => code(pieces, at, &mut missing),
            _ if nesting >= MAX_NESTING => (None, 1),
            Piece::Char('*') if pieces.get(at + 1) == Some(&Piece::Char('*')) => bold(pieces, at, nesting, &mut missing),
            Piece::Char('*') => italic(pieces, at, nesting, &mut missing.star),
            Piece::Char('_') => italic(pieces, at, nesting, &mut missing.underscore),
            Piece::Char('[') => link(pieces, at, nesting, &mut missing.url_end),
            Piece::Char(_) => (None, 1),
        };
        match (part, pieces[at]) {
            (Some(part), _) => out.push(part),
            (None, Piece::Char(c)) => match out.last_mut() {
                Some(Inline::Text(text)) => text.push(c),
                _ => out.push(Inline::Text(c.to_string())),
            },
            (None, Piece::Data(_)) => {}
        }
        at += used;
    }
    out
}

fn is_space(piece: Option<&Piece<'_>>) -> bool {
    match piece {
        None => true,
        Some(Piece::Char(c)) => c.is_whitespace(),
        Some(Piece::Data(_)) => false,
    }
}

fn is_word(piece: Option<&Piece<'_>>) -> bool {
    match piece {
        None => false,
        Some(Piece::Char(c)) => c.is_alphanumeric(),
        Some(Piece::Data(_)) => true,
    }
}

fn raw(pieces: &[Piece<'_>]) -> String {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Char(c) => out.push(*c),
            Piece::Data(data) => out.push_str(data),
        }
    }
    out
}

fn code(pieces: &[Piece<'_>], at: usize, missing: &mut Missing) -> (Option<Inline>, usize) {
    if missing.code {
        return (None, 1);
    }
    match pieces[at + 1..].iter().position(|p| *p == Piece::Char('`')) {
        Some(len) if len > 0 => (Some(Inline::Code(raw(&pieces[at + 1..at + 1 + len]))), len + 2),
        Some(_) => (None, 1),
        None => {
            missing.code = true;
            (None, 1)
        }
    }
}

fn bold(pieces: &[Piece<'_>], at: usize, nesting: usize, missing: &mut Missing) -> (Option<Inline>, usize) {
    let from = at + 2;
    if missing.bold || is_space(pieces.get(from)) {
        return (None, 1);
    }
    let star = |at: usize| pieces.get(at) == Some(&Piece::Char('*'));
    let close = (from + 1..pieces.len()).find(|&j| star(j) && star(j + 1) && !is_space(pieces.get(j - 1)));
    match close {
        Some(close) => {
            // `**a *b***`: the last two stars close the bold.
            let close = if star(close + 2) { close + 1 } else { close };
            (Some(Inline::Bold(inlines(&pieces[from..close], nesting + 1))), close + 2 - at)
        }
        None => {
            missing.bold = true;
            (None, 1)
        }
    }
}

fn italic(pieces: &[Piece<'_>], at: usize, nesting: usize, missing: &mut bool) -> (Option<Inline>, usize) {
    let sign = pieces[at];
    let underscore = sign == Piece::Char('_');
    let from = at + 1;
    // An underscore inside a word is part of the word: snake_case.
    let inside_word = underscore && at > 0 && is_word(pieces.get(at - 1));
    if *missing || inside_word || is_space(pieces.get(from)) || pieces[from] == sign {
        return (None, 1);
    }
    let mut close = from + 1;
    while close < pieces.len() {
        if pieces[close] != sign {
            close += 1;
        } else if !underscore && pieces.get(close + 1) == Some(&sign) {
            close += 2;
        } else if is_space(pieces.get(close - 1)) || (underscore && is_word(pieces.get(close + 1))) {
            close += 1;
        } else {
            return (Some(Inline::Italic(inlines(&pieces[from..close], nesting + 1))), close + 1 - at);
        }
    }
    *missing = true;
    (None, 1)
}

fn link(pieces: &[Piece<'_>], at: usize, nesting: usize, missing: &mut bool) -> (Option<Inline>, usize) {
    // No bracket inside a label, no blank inside a URL: so every place is looked at once.
    let label_len = pieces[at + 1..].iter().position(|p| matches!(p, Piece::Char('[' | ']')));
    let Some(close) = label_len.map(|len| at + 1 + len) else { return (None, 1) };
    if pieces[close] != Piece::Char(']') || pieces.get(close + 1) != Some(&Piece::Char('(')) {
        return (None, 1);
    }
    let url_from = close + 2;
    if *missing {
        return (None, 1);
    }
    let stop = pieces[url_from..].iter().position(|p| matches!(p, Piece::Char(c) if *c == ')' || c.is_whitespace()));
    *missing = stop.is_none();
    let Some(end) = stop.map(|len| url_from + len).filter(|&end| pieces[end] == Piece::Char(')')) else { return (None, 1) };
    let mut label = inlines(&pieces[at + 1..close], nesting + 1);
    let used = end + 1 - at;
    match safe_url(&raw(&pieces[url_from..end])) {
        Some(url) => {
            if label.is_empty() {
                label.push(Inline::Data(url.clone()));
            }
            (Some(Inline::Link { url, label }), used)
        }
        // Not a link that may be followed: only its label is shown.
        None => (Some(Inline::Data(plain(&label))), used),
    }
}

/// A URL that may be linked to: `http`, `https` or `mailto`, with every character that a URL cannot hold percent-encoded.
pub(super) fn safe_url(url: &str) -> Option<String> {
    let url = url.trim();
    let scheme = ["http://", "https://", "mailto:"]
        .into_iter()
        .find(|scheme| url.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))?;
    if url.len() == scheme.len() {
        return None;
    }
    let mut out = String::with_capacity(url.len());
    for c in url.chars() {
        if c.is_whitespace() || c.is_control() || "\"<>\\^`{|}'".contains(c) {
            for byte in c.to_string().bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    Some(out)
}

/// The text of parts without any markup; a link is followed by its URL.
pub(super) fn plain(parts: &[Inline]) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            Inline::Text(text) | Inline::Data(text) | Inline::Code(text) => out.push_str(text),
            Inline::Bold(inner) | Inline::Italic(inner) => out.push_str(&plain(inner)),
            Inline::Link { url, label } => {
                let label = plain(label);
                out.push_str(&label);
                if label != *url {
                    out.push_str(&format!(" ({url})"));
                }
            }
        }
    }
    out
}
