//! Tables: aligned text for people, rows with names for machines.

use serde_json::{Map, Value, json};

/// A heading, columns, and rows with names.
#[derive(Clone, Debug)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<(String, Vec<Cell>)>,
    /// Lines below it.
    notes: Vec<String>,
}

/// What stands in a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing.
    Empty,
    /// A number: short, with a fraction where it is small.
    Number(f64),
    /// A whole number, with spaces between the thousands.
    Whole(f64),
    /// Words.
    Text(String),
}

impl Cell {
    /// A number, or nothing.
    pub fn of(value: Option<f64>) -> Self {
        value.map_or(Self::Empty, Self::Number)
    }

    /// As it is printed.
    pub fn show(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Number(value) if value.abs() >= 1000.0 => whole(*value),
            Self::Number(value) => short(*value),
            Self::Whole(value) => whole(*value),
            Self::Text(text) => text.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Number(value) | Self::Whole(value) => json!(value),
            Self::Text(text) => json!(text),
        }
    }
}

impl Table {
    /// Without rows.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self { title: title.into(), columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, name: impl Into<String>, cells: Vec<Cell>) {
        self.rows.push((name.into(), cells));
    }

    /// Adds a line below the table.
    pub fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// As text.
    pub fn text(&self) -> String {
        let mut lines = vec![std::iter::once(String::new()).chain(self.columns.iter().cloned()).collect::<Vec<_>>()];
        for (name, cells) in &self.rows {
            let mut line = vec![name.clone()];
            line.extend(cells.iter().map(Cell::show));
            line.resize(lines[0].len().max(line.len()), String::new());
            lines.push(line);
        }
        let mut out = if self.title.is_empty() { String::new() } else { format!("\n{}\n", self.title) };
        out.push_str(&aligned(&lines));
        for note in &self.notes {
            out.push('\n');
            out.push_str(note);
        }
        out
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, cells)| {
            let mut row = Map::new();
            row.insert("name".to_owned(), json!(name));
            for (column, cell) in self.columns.iter().zip(cells) {
                row.insert(column.clone(), cell.json());
            }
            Value::Object(row)
        });
        json!({"title": self.title, "rows": rows.collect::<Vec<_>>(), "notes": self.notes})
    }
}

/// Lines with their first column to the left and the others to the right. The first line has as many cells as any.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let mut text = format!("{:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            text.push_str(&format!("  {cell:>width$}"));
        }
        out.push('\n');
        out.push_str(text.trim_end());
    }
    out
}

/// With spaces between the thousands.
pub fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Three digits or so.
pub fn short(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!((whole(999.4), whole(1_234_567.0), short(0.123)), ("999".into(), "1 234 567".into(), "0.12".into()));
        assert_eq!(
            (whole(-1234.0), Cell::Number(-1.5).show(), Cell::Number(12_345.6).show()),
            ("-1 234".into(), "-1.50".into(), "12 346".into())
        );
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("t", &["a", "bb"]);
        table.row("one", vec![Cell::Number(1.0), Cell::Text("x".into())]);
        table.row("three", vec![Cell::Empty]);
        table.note("that is all");
        assert_eq!(table.text(), "\nt\n\n          a  bb\none    1.00   x\nthree\nthat is all");
        assert_eq!(table.json()["rows"][0], json!({"name": "one", "a": 1.0, "bb": "x"}));
    }
}
