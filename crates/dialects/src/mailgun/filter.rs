//! Filter expressions of the Events API (section 10.3): `foo bar`, `foo OR bar`, `"foo bar"`, `NOT foo`, `>100 <200`, parentheses.
//!
//! Pure. Operators are written in capitals; two terms side by side both have to hold; `NOT` binds closest, then `AND`, then `OR`.
//! A term holds when it stands in a value as a whole word or address, letter case aside. Of a field with several values, any one
//! may hold it.

/// Most bytes of an expression.
pub const MAX_BYTES: usize = 2000;
/// Deepest nesting of parentheses and `NOT`.
const MAX_DEPTH: usize = 32;

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Texts.
    Text,
    /// Texts that may be written in angle brackets, which do not count.
    MessageId,
    /// A whole number.
    Number,
}

/// Why an expression cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More than [`MAX_BYTES`], or nested too deep.
    #[error("the expression is too long or nested too deep")]
    TooLarge,
    /// An operator without a term, or a parenthesis or quote without its counterpart.
    #[error("the expression is not complete")]
    Incomplete,
    /// Something else than a number where one has to be.
    #[error("{0:?} is not a number")]
    NotANumber(String),
}

/// A filter on the values of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    kind: FieldKind,
    root: Node,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// In lower case.
    Term(String),
    Number(Compare, i64),
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Less,
    Equal,
    Greater,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    And,
    Or,
    Not,
    /// A word, or what stood between quotes.
    Term(String),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// See [`FilterError`]; a blank expression is incomplete.
    pub fn parse(kind: FieldKind, text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_BYTES {
            return Err(FilterError::TooLarge);
        }
        let mut reader = Reader { kind, tokens: tokens(text)?.into_iter().peekable(), depth: 0 };
        let root = reader.any()?;
        match reader.tokens.next() {
            None => Ok(Self { kind, root }),
            Some(_) => Err(FilterError::Incomplete),
        }
    }

    /// Whether the values of a field fulfil it. A number field has one value, written in digits.
    pub fn matches<S: AsRef<str>>(&self, values: &[S]) -> bool {
        let values: Vec<String> = values.iter().map(|value| self.normal(value.as_ref())).collect();
        self.root.holds(&values)
    }

    fn normal(&self, value: &str) -> String {
        normal(self.kind, value)
    }
}

fn normal(kind: FieldKind, value: &str) -> String {
    let bare = match kind {
        FieldKind::MessageId => value.trim().trim_start_matches('<').trim_end_matches('>'),
        FieldKind::Text | FieldKind::Number => value,
    };
    bare.to_lowercase()
}

impl Node {
    fn holds(&self, values: &[String]) -> bool {
        match self {
            Self::Term(term) => values.iter().any(|value| stands_in(term, value)),
            Self::Number(compare, limit) => values.iter().filter_map(|value| value.parse::<i64>().ok()).any(|value| match compare {
                Compare::Less => value < *limit,
                Compare::Equal => value == *limit,
                Compare::Greater => value > *limit,
            }),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(values)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(values)),
            Self::Not(node) => !node.holds(values),
        }
    }
}

/// Whether a term stands in a value with nothing of a word or address before or behind it.
fn stands_in(term: &str, value: &str) -> bool {
    value.match_indices(term).any(|(at, _)| {
        let before = value[..at].chars().next_back();
        let mut behind = value[at + term.len()..].chars();
        let begins = before.is_none_or(is_separator);
        begins
            && match behind.next() {
                None => true,
                // A full stop or quote at the end of a word is no part of it, within an address it is.
                Some('.' | '\'') => behind.next().is_none_or(is_separator),
                Some(next) => is_separator(next),
            }
    })
}

fn is_separator(char: char) -> bool {
    char.is_whitespace() || matches!(char, '<' | '>' | ',' | ';' | ':' | '"' | '(' | ')' | '[' | ']' | '{' | '}' | '!' | '?' | '/' | '\'')
}

fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                &rest[1..]
            }
            '"' => {
                let (phrase, behind) = rest[1..].split_once('"').ok_or(FilterError::Incomplete)?;
                tokens.push(Token::Term(phrase.to_owned()));
                behind
            }
            '>' | '<' if rest[1..].starts_with(char::is_whitespace) => {
                // `> 100` is `>100`.
                let (number, behind) = word(rest[1..].trim_start());
                tokens.push(Token::Term(format!("{first}{number}")));
                behind
            }
            _ => {
                let (word, behind) = word(rest);
                tokens.push(match word {
                    "AND" => Token::And,
                    "OR" => Token::Or,
                    "NOT" => Token::Not,
                    word => Token::Term(word.to_owned()),
                });
                behind
            }
        }
        .trim_start();
    }
    Ok(tokens)
}

/// The word at the beginning of a text, and what is behind it.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| char.is_whitespace() || matches!(char, '(' | ')' | '"')).unwrap_or(text.len());
    text.split_at(end)
}

struct Reader {
    kind: FieldKind,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    depth: usize,
}

impl Reader {
    fn any(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.all()?];
        while self.tokens.next_if_eq(&Token::Or).is_some() {
            nodes.push(self.all()?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn all(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.one()?];
        loop {
            match self.tokens.peek() {
                Some(Token::And) => {
                    self.tokens.next();
                }
                None | Some(Token::Or | Token::Close) => return Ok(one_or(nodes, Node::All)),
                Some(_) => {}
            }
            nodes.push(self.one()?);
        }
    }

    fn one(&mut self) -> Result<Node, FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FilterError::TooLarge);
        }
        let node = match self.tokens.next() {
            Some(Token::Not) => Node::Not(Box::new(self.one()?)),
            Some(Token::Open) => {
                let node = self.any()?;
                self.tokens.next_if_eq(&Token::Close).ok_or(FilterError::Incomplete)?;
                node
            }
            Some(Token::Term(term)) => self.term(&term)?,
            None | Some(Token::And | Token::Or | Token::Close) => return Err(FilterError::Incomplete),
        };
        self.depth -= 1;
        Ok(node)
    }

    fn term(&self, term: &str) -> Result<Node, FilterError> {
        if self.kind != FieldKind::Number {
            let term = normal(self.kind, term);
            return if term.trim().is_empty() { Err(FilterError::Incomplete) } else { Ok(Node::Term(term)) };
        }
        let (compare, digits) = match term.split_at_checked(1) {
            Some((">", digits)) => (Compare::Greater, digits),
            Some(("<", digits)) => (Compare::Less, digits),
            _ => (Compare::Equal, term),
        };
        digits.parse().map(|number| Node::Number(compare, number)).map_err(|_| FilterError::NotANumber(term.to_owned()))
    }
}

fn one_or(mut nodes: Vec<Node>, several: fn(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => several(nodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(expression: &str, value: &str) -> bool {
        Expression::parse(FieldKind::Text, expression).expect("an expression").matches(&[value])
    }

    // MAILGUN-148, MAILGUN-149
    #[test]
    fn operators_are_in_capitals() {
        assert!(text("rejected OR failed", "failed") && text("rejected OR failed", "rejected"));
        assert!(!text("rejected OR failed", "delivered"));
        assert!(text("NOT accepted", "failed") && !text("NOT accepted", "accepted") && !text("NOT NOT accepted", "failed"));
        assert!(text("this or that", "That or this") && !text("this or that", "this"));
    }

    // MAILGUN-152
    #[test]
    fn words_and_phrases_differ() {
        assert!(text("foo bar", "a Bar, a foo") && text("foo AND bar", "foo bar") && !text("foo bar", "foo"));
        assert!(text("\"foo bar\"", "A Foo Bar.") && !text("\"foo bar\"", "bar foo") && !text("\"foo bar\"", "foo barn"));
        assert!(text("\"NOT\"", "not"));
    }

    // MAILGUN-151
    #[test]
    fn a_term_is_a_whole_word_or_address() {
        assert!(text("bob@d.test", "Bob <bob@d.test>") && text("bob", "Bob <bob@d.test>") && text("BOB@D.TEST", "bob@d.test"));
        assert!(!text("bob@d.test", "a.bob@d.test") && !text("bob@d.test", "bob@d.test.com") && !text("ob", "Bob"));
        assert!(text("sale", "The 'sale'!") && text("cafe", "caf\u{e9} or CAFE?") && !text("caf", "caf\u{e9}"));
    }

    // MAILGUN-153
    #[test]
    fn parentheses_group() {
        let expression = "(Hello AND NOT Rachel) OR (Farewell AND Monica)";
        assert!(text(expression, "hello Ross") && text(expression, "Farewell, Monica") && text(expression, "Farewell Monica hello"));
        assert!(!text(expression, "hello rachel") && !text(expression, "farewell"));
        assert!(text("a OR b c", "a") && !text("(a OR b) c", "a") && text("NOT(a)b", "b"));
    }

    // MAILGUN-154
    #[test]
    fn numbers_are_compared() {
        let size = |expression: &str, value: i64| {
            Expression::parse(FieldKind::Number, expression).expect("an expression").matches(&[value.to_string()])
        };
        assert!(size(">100 <2000", 101) && !size(">100 <2000", 100) && !size(">100 <2000", 2000));
        assert!(size("> 100 AND < 200", 150) && size("7", 7) && !size("7", 8) && size("NOT >5", 5));
        assert_eq!(Expression::parse(FieldKind::Number, ">big"), Err(FilterError::NotANumber(">big".to_owned())));
        assert!(text(">100", "is >100 big"), "elsewhere it is a word");
    }

    // MAILGUN-155
    #[test]
    fn angle_brackets_of_a_message_id_do_not_count() {
        for expression in ["1.2@d.test", "<1.2@d.test>", "<1.2@D.test> OR x"] {
            let expression = Expression::parse(FieldKind::MessageId, expression).expect("an expression");
            assert!(expression.matches(&["1.2@d.test"]) && !expression.matches(&["11.2@d.test"]));
        }
    }

    // MAILGUN-156
    #[test]
    fn any_value_of_a_list_may_hold_it() {
        let expression = Expression::parse(FieldKind::Text, "a NOT b").expect("an expression");
        assert!(expression.matches(&["c", "a"]) && !expression.matches(&["a", "b"]) && !expression.matches(&[""; 0]));
    }

    #[test]
    fn what_is_not_complete_is_refused() {
        for bad in ["", "  ", "(", ")", "a)", "(a", "a AND", "OR a", "a OR", "NOT", "\"a", "()", "\" \"", "a AND AND b"] {
            assert_eq!(Expression::parse(FieldKind::Text, bad), Err(FilterError::Incomplete), "{bad:?}");
        }
        let deep = format!("{}a{}", "(".repeat(40), ")".repeat(40));
        for large in [deep.as_str(), &"NOT ".repeat(40), &"a ".repeat(MAX_BYTES)] {
            assert_eq!(Expression::parse(FieldKind::Text, large), Err(FilterError::TooLarge));
        }
    }
}
