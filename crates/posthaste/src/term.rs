//! What people see: colours where they help, columns that line up, progress bars.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Whether standard output takes colours: it is a terminal, and nobody said `NO_COLOR`.
fn colours() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()))
}

/// A colour or weight.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// Headings, keys.
    Bold,
    /// Times, ids.
    Dim,
    /// It worked.
    Good,
    /// It did not.
    Bad,
    /// It waits.
    Wait,
}

/// Text in a style, where the terminal shows styles.
pub fn paint(style: Style, text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    if !colours() {
        return text.to_owned();
    }
    let code = match style {
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Good => "32",
        Style::Bad => "31",
        Style::Wait => "33",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Text from strangers made harmless for a terminal: control characters become `·`.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// At most `width` characters of harmless text, the cut shown by `…`.
pub fn cut(text: &str, width: usize) -> String {
    let clean = harmless(text);
    match clean.char_indices().nth(width) {
        None => clean,
        Some(_) => clean.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Prints a line to standard output at once. A reader that went away (`| head`) is no error of ours.
pub fn say(line: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}

/// Prints a line for whoever watches, beside what is printed for good.
pub fn say_aside(line: impl AsRef<str>) {
    let _gone = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
}

/// Prints rows below headings, columns lined up.
pub fn table(headings: &[&str], rows: &[Vec<String>]) {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| cut(cell, 80)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    say(paint(Style::Bold, line(headings.to_vec())));
    for row in &rows {
        say(line(row.iter().map(String::as_str).collect()));
    }
}

/// A bar for work of known length, on standard error; invisible where that is no terminal.
pub fn progress(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
    let style = ProgressStyle::with_template("{prefix} [{bar:32}] {percent:>3} %  {msg}").expect("the template is constant and valid");
    bar.set_style(style.progress_chars("━╸─"));
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\nc"), "a·[2Jb·c");
        assert_eq!((cut("abcdef", 4), cut("abcd", 4)), ("abc…".into(), "abcd".into()));
    }
}
