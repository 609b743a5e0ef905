//! Splits a Twig source into text, `{{ }}` and `{% %}` and reads the tokens inside, with Twig's own rules for white space:
//! the first newline after `%}` and `#}` is dropped, `-` trims all blanks on its side, `~` trims blanks but no newline.

use super::value::marks;

/// What is wrong with a source and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// From 1.
    pub line: usize,
    /// For the author of the template.
    pub reason: String,
}

impl SyntaxError {
    /// An error at `line`.
    pub fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// A token inside a tag.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name or a word operator (`and`, `is`, …).
    Name(String),
    Int(i64),
    Float(f64),
    Str(String),
    /// An operator or a punctuation mark.
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Name(name) => write!(f, "\"{name}\""),
            Token::Int(number) => write!(f, "{number}"),
            Token::Float(number) => write!(f, "{number}"),
            Token::Str(text) => write!(f, "the text '{text}'"),
            Token::Sign(sign) => write!(f, "\"{sign}\""),
        }
    }
}

/// A token and its line, from 1.
pub(super) type Located = (Token, usize);

/// A piece of a template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// Literal text, white space already trimmed.
    Text(String),
    /// `{{ … }}` that begins on this line.
    Output(Vec<Located>, usize),
    /// `{% … %}` that begins on this line.
    Tag(Vec<Located>, usize),
}

/// Signs, longest first where one begins another.
const SIGNS: [&str; 31] = [
    "<=>", "...", "=>", "==", "!=", "<=", ">=", "..", "**", "//", "??", "<", ">", "*", "/", "%", "+", "-", "~", "?", ":", "=", "|", ".",
    ",", "(", ")", "[", "]", "{", "}",
];

/// Splits `source`. Line ends are normalised to `\n` and reserved code points removed.
///
/// # Errors
/// Unclosed tags, comments, strings and brackets, and characters that no token begins with.
pub(super) fn split(source: &str) -> Result<Vec<Piece>, SyntaxError> {
    let source = marks::strip(source).replace("\r\n", "\n").replace('\r', "\n");
    let mut lexer = Lexer { rest: &source, line: 1 };
    let mut pieces = Vec::new();
    let mut text = String::new();
    while let Some(start) = lexer.next_tag() {
        text.push_str(lexer.take(start));
        let kind = lexer.take(2);
        trim_end(&mut text, lexer.take_trim());
        if kind == "{#" {
            let line = lexer.line;
            let end = lexer.rest.find("#}").ok_or_else(|| SyntaxError::new(line, "the comment \"{#\" is never closed"))?;
            let inside = lexer.take(end);
            let trim = if inside.ends_with('-') {
                Trim::All
            } else if inside.ends_with('~') {
                Trim::Blanks
            } else {
                Trim::None
            };
            lexer.take(2);
            lexer.after_tag(trim, true);
            continue;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        let line = lexer.line;
        let (tokens, trim) = lexer.tokens(if kind == "{{" { "}}" } else { "%}" })?;
        lexer.after_tag(trim, kind == "{%");
        if kind == "{{" {
            pieces.push(Piece::Output(tokens, line));
        } else if matches!(&tokens[..], [(Token::Name(name), _)] if name == "verbatim") {
            text.push_str(&lexer.verbatim(line)?);
        } else {
            pieces.push(Piece::Tag(tokens, line));
        }
    }
    text.push_str(lexer.rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

#[derive(Clone, Copy, PartialEq)]
enum Trim {
    None,
    All,
    Blanks,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\0' | '\u{b}')
}

fn trim_end(text: &mut String, trim: Trim) {
    let kept = match trim {
        Trim::None => text.len(),
        Trim::All => text.trim_end().len(),
        Trim::Blanks => text.trim_end_matches(is_blank).len(),
    };
    text.truncate(kept);
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn next_tag(&self) -> Option<usize> {
        let bytes = self.rest.as_bytes();
        bytes.windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
    }

    fn take_trim(&mut self) -> Trim {
        match self.rest.as_bytes().first() {
            Some(b'-') => {
                self.take(1);
                Trim::All
            }
            Some(b'~') => {
                self.take(1);
                Trim::Blanks
            }
            _ => Trim::None,
        }
    }

    /// Drops the white space that a tag's end swallows.
    fn after_tag(&mut self, trim: Trim, newline: bool) {
        let kept = match trim {
            Trim::All => self.rest.trim_start(),
            Trim::Blanks => self.rest.trim_start_matches(is_blank),
            Trim::None if newline => self.rest.strip_prefix('\n').unwrap_or(self.rest),
            Trim::None => self.rest,
        };
        self.take(self.rest.len() - kept.len());
    }

    /// The text up to `{% endverbatim %}`, which is consumed.
    fn verbatim(&mut self, line: usize) -> Result<String, SyntaxError> {
        let mut text = String::new();
        loop {
            let start = self.rest.find("{%").ok_or_else(|| SyntaxError::new(line, "\"{% verbatim %}\" is never closed"))?;
            text.push_str(self.take(start));
            let mut probe = Lexer { rest: self.rest, line: self.line };
            probe.take(2);
            let before = probe.take_trim();
            probe.take(probe.rest.len() - probe.rest.trim_start().len());
            if let Some(rest) = probe.rest.strip_prefix("endverbatim") {
                let rest = rest.trim_start();
                let (rest, after) = match rest.strip_prefix('-') {
                    Some(rest) => (rest, Trim::All),
                    None => (rest, Trim::None),
                };
                if let Some(rest) = rest.strip_prefix("%}") {
                    trim_end(&mut text, before);
                    self.take(self.rest.len() - rest.len());
                    self.after_tag(after, true);
                    return Ok(text);
                }
            }
            text.push_str(self.take(2));
        }
    }

    /// Tokens up to and including `end`.
    fn tokens(&mut self, end: &str) -> Result<(Vec<Located>, Trim), SyntaxError> {
        let opened = self.line;
        let mut tokens: Vec<Located> = Vec::new();
        let mut brackets: Vec<(&'static str, usize)> = Vec::new();
        loop {
            let blanks = self.rest.len() - self.rest.trim_start().len();
            self.take(blanks);
            if brackets.is_empty() {
                for (sign, trim) in [("", Trim::None), ("-", Trim::All), ("~", Trim::Blanks)] {
                    if self.rest.strip_prefix(sign).is_some_and(|rest| rest.starts_with(end)) {
                        self.take(sign.len() + end.len());
                        return Ok((tokens, trim));
                    }
                }
            }
            let Some(first) = self.rest.chars().next() else {
                return Err(match brackets.pop() {
                    Some((bracket, line)) => SyntaxError::new(line, format!("\"{bracket}\" is never closed")),
                    None => SyntaxError::new(opened, format!("a tag is never closed with \"{end}\"")),
                });
            };
            let line = self.line;
            let after_dot = matches!(tokens.last(), Some((Token::Sign("."), _)));
            let token = if first.is_ascii_digit() {
                self.number(after_dot)?
            } else if first == '_' || first.is_alphabetic() {
                let name = self.rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(self.rest.len());
                Token::Name(self.take(name).to_owned())
            } else if first == '"' || first == '\'' {
                Token::Str(self.string(first)?)
            } else {
                let sign = SIGNS.into_iter().find(|sign| self.rest.starts_with(sign));
                let sign = sign.ok_or_else(|| SyntaxError::new(line, format!("unexpected character \"{first}\"")))?;
                self.take(sign.len());
                balance(sign, line, &mut brackets)?;
                Token::Sign(sign)
            };
            tokens.push((token, line));
        }
    }

    fn number(&mut self, integer_only: bool) -> Result<Token, SyntaxError> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let mut len = digits(0);
        let mut float = false;
        if !integer_only && bytes.get(len) == Some(&b'.') && digits(len + 1) > 0 {
            len += 1 + digits(len + 1);
            float = true;
        }
        if !integer_only
            && matches!(bytes.get(len), Some(b'e' | b'E'))
            && matches!(bytes.get(len + 1), Some(b'+' | b'-'))
            && digits(len + 2) > 0
        {
            len += 2 + digits(len + 2);
            float = true;
        }
        let line = self.line;
        let text = self.take(len);
        if let (false, Ok(number)) = (float, text.parse()) {
            return Ok(Token::Int(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Token::Float(number)),
            _ => Err(SyntaxError::new(line, format!("the number {text} is too large"))),
        }
    }

    /// A quoted string with C-style escapes.
    fn string(&mut self, quote: char) -> Result<String, SyntaxError> {
        let line = self.line;
        self.take(1);
        let mut out = String::new();
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(SyntaxError::new(line, format!("the text that begins with {quote} is never closed")));
            };
            self.take(c.len_utf8());
            if c == quote {
                return Ok(out);
            }
            if c == '#' && quote == '"' && self.rest.starts_with('{') {
                return Err(SyntaxError::new(line, "\"#{…}\" inside a text is not available: join with ~ instead"));
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            let Some(escaped) = self.rest.chars().next() else { continue };
            self.take(escaped.len_utf8());
            out.push(match escaped {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'f' => '\u{c}',
                'v' => '\u{b}',
                other => other,
            });
        }
    }
}

fn balance(sign: &'static str, line: usize, brackets: &mut Vec<(&'static str, usize)>) -> Result<(), SyntaxError> {
    let opener = match sign {
        "(" | "[" | "{" => {
            brackets.push((sign, line));
            return Ok(());
        }
        ")" => "(",
        "]" => "[",
        "}" => "{",
        _ => return Ok(()),
    };
    match brackets.pop() {
        Some((open, _)) if open == opener => Ok(()),
        Some((open, opened)) => Err(SyntaxError::new(opened, format!("\"{open}\" is never closed"))),
        None => Err(SyntaxError::new(line, format!("unexpected \"{sign}\""))),
    }
}
