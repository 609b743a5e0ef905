//! Table blocks: a path to an array in the event's data and one column per field of its elements.

use minijinja::value::Value;

use super::json;
use super::value::{self, Fault, Meter, View, view};

/// A compiled table block.
#[derive(Debug)]
pub(super) struct Table {
    path: Vec<String>,
    source: String,
    columns: Vec<(String, Field)>,
}

#[derive(Debug)]
struct Field {
    whole: String,
    steps: Vec<String>,
}

/// The content of a table, all of it text from data but the headings.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Grid {
    pub headings: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Rows beyond the limit, which are not shown.
    pub more: usize,
}

/// Most columns of a table.
const MAX_COLUMNS: usize = 30;
/// Longest cell in characters; the rest is cut.
const MAX_CELL: usize = 1_000;

impl Table {
    /// Checks a path and columns.
    ///
    /// # Errors
    /// A reason for the author.
    pub fn compile<'a>(path: &str, columns: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let steps = steps(path).ok_or_else(|| format!("the path \"{path}\" is not understood: write it as data.items"))?;
        if steps.first().map(String::as_str) != Some("data") {
            return Err(format!("the path \"{path}\" must begin with data, as in data.items"));
        }
        let mut compiled = Vec::new();
        for (heading, field) in columns {
            let steps = self::steps(field).ok_or_else(|| format!("the field \"{field}\" is not understood"))?;
            let heading = value::marks::strip(heading).into_owned();
            compiled.push((heading, Field { whole: field.to_owned(), steps }));
        }
        if compiled.is_empty() || compiled.len() > MAX_COLUMNS {
            return Err(format!("a table needs 1 to {MAX_COLUMNS} columns"));
        }
        Ok(Self { path: steps[1..].to_vec(), source: path.to_owned(), columns: compiled })
    }

    /// Fills the table. A missing array is an empty table.
    ///
    /// # Errors
    /// The path leads to something that is not an array; the cells are longer than `max_bytes` together; the meter runs out.
    pub fn fill(&self, data: &Value, max_rows: usize, max_bytes: usize, meter: &Meter) -> Result<Grid, Fault> {
        let target = follow(data, &self.path);
        let rows: Vec<&Value> = match target.as_ref().map(view) {
            None | Some(View::Undefined | View::Null) => Vec::new(),
            Some(View::List(list)) => list.items.iter().collect(),
            Some(View::Map(map)) => map.entries.iter().map(|(_, value)| value).collect(),
            Some(other) => return Err(Fault::bad(format!("{} is {}, not an array", self.source, other.kind()))),
        };
        let mut grid = Grid {
            headings: self.columns.iter().map(|(heading, _)| heading.clone()).collect(),
            rows: Vec::new(),
            more: rows.len().saturating_sub(max_rows),
        };
        let mut bytes = 0usize;
        for row in rows.into_iter().take(max_rows) {
            meter.take(1)?;
            let mut cells = Vec::with_capacity(self.columns.len());
            for (_, field) in &self.columns {
                let cell = cell(&field.of(row), meter)?;
                bytes = bytes.saturating_add(cell.len() + 1);
                if bytes > max_bytes {
                    return Err(Fault::TooLong);
                }
                cells.push(cell);
            }
            grid.rows.push(cells);
        }
        Ok(grid)
    }
}

impl Field {
    /// The field of a row: a key of exactly this name, else the path. An element that is not an array fills its first column.
    fn of(&self, row: &Value) -> Value {
        match view(row) {
            View::Map(map) => match map.get(&self.whole) {
                Some(value) => value.clone(),
                None => follow(row, &self.steps).unwrap_or(Value::UNDEFINED),
            },
            View::List(_) => follow(row, &self.steps).unwrap_or(Value::UNDEFINED),
            _ => row.clone(),
        }
    }
}

fn cell(value: &Value, meter: &Meter) -> Result<String, Fault> {
    let text = match view(value) {
        View::Bool(b) => b.to_string(),
        View::List(_) | View::Map(_) => json::encode(value, meter)?,
        _ => value::text(value, meter)?.into_owned(),
    };
    Ok(match text.char_indices().nth(MAX_CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    })
}

fn follow(from: &Value, steps: &[String]) -> Option<Value> {
    let mut at = from.clone();
    for step in steps {
        at = match view(&at) {
            View::List(list) => list.items.get(step.parse::<usize>().ok()?)?.clone(),
            View::Map(map) => map.get(step)?.clone(),
            _ => return None,
        };
    }
    Some(at)
}

/// The steps of `a.b`, `a['b-c'].d`, `a[0]`.
fn steps(path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path.trim();
    loop {
        if let Some(inside) = rest.strip_prefix('[').filter(|_| !steps.is_empty()) {
            let end = inside.find(']')?;
            let key = inside[..end].trim();
            let quoted = ['\'', '"'].into_iter().find_map(|q| key.strip_prefix(q)?.strip_suffix(q));
            match quoted {
                Some(key) => steps.push(key.to_owned()),
                None if !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) => steps.push(key.to_owned()),
                None => return None,
            }
            rest = &inside[end + 1..];
        } else {
            if !steps.is_empty() {
                rest = rest.strip_prefix('.')?;
            }
            let end = rest.find(['.', '[', ']', '(', ')', '{', '}', '|']).unwrap_or(rest.len());
            let name = rest[..end].trim();
            if name.is_empty() {
                return None;
            }
            steps.push(name.to_owned());
            rest = &rest[end..];
        }
        if rest.is_empty() {
            return Some(steps);
        }
    }
}
