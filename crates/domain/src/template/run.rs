//! One rendering: the context that templates and filters see, the output writer with its cap, and the minijinja environment.

use std::io;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use minijinja::value::{Object, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};
use regex::Regex;

use super::Form;
use super::compile::Arrow;
use super::filters::{self, Body};
use super::value::{self, Fault, Meter, Text, marks};

/// Name of the main template in its environment.
pub(super) const MAIN: &str = "main";

/// What belongs to a compiled template besides its instructions.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Arrow functions; number `n` is the template `arrow<n>`.
    pub arrows: Vec<Arrow>,
    /// Patterns of `matches`.
    pub patterns: Vec<Regex>,
}

/// The root context of one rendering.
#[derive(Debug)]
pub(super) struct Run {
    pub form: Form,
    /// What `now` means: the time of receipt, since nothing here reads a clock.
    pub now: Timestamp,
    pub meter: Meter,
    pub parts: Arc<Parts>,
    pub data: Value,
    pub event: Value,
}

/// The name under which filters find the [`Run`].
const RUN: &str = "_run";

impl Object for Run {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "data" => Some(self.data.clone()),
            "event" => Some(self.event.clone()),
            RUN => Some(Value::from_dyn_object(self.clone())),
            _ => None,
        }
    }
}

/// The context of an arrow function: its parameters and what it captured, before the root context.
#[derive(Debug)]
struct ArrowContext {
    run: Arc<Run>,
    arrow: usize,
    values: Vec<Value>,
}

impl Object for ArrowContext {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let names = &self.run.parts.arrows[self.arrow].names;
        match names.iter().position(|name| name == key) {
            Some(at) => self.values.get(at).cloned(),
            None => self.run.get_value_by_str(key),
        }
    }
}

/// Units charged for one evaluation of an arrow function, besides its size.
const ARROW_COST: usize = 200;

/// Calls arrow function `call[0]`, with `call[1..]` as what it captured.
pub(super) fn call_arrow(state: &State<'_, '_>, run: &Arc<Run>, call: &[Value], args: &[Value]) -> Result<Value, Fault> {
    let number = call.first().and_then(Value::as_usize).unwrap_or(usize::MAX);
    let Some(arrow) = run.parts.arrows.get(number) else {
        return Err(Fault::bad("an arrow function is missing"));
    };
    run.meter.take(ARROW_COST + 2 * arrow.cost)?;
    let mut values: Vec<Value> = args.iter().take(arrow.params).cloned().collect();
    values.resize(arrow.params, Value::UNDEFINED);
    values.extend(call[1..].iter().cloned());
    let context = Value::from_object(ArrowContext { run: run.clone(), arrow: number, values });
    let template = state.env().get_template(&arrow_name(number)).map_err(|error| fault_of(&error))?;
    let captured = template.render_captured(context).map_err(|error| fault_of(&error))?;
    Ok(captured.state().lookup("r").unwrap_or(Value::UNDEFINED))
}

/// The template name of an arrow function.
pub(super) fn arrow_name(number: usize) -> String {
    format!("arrow{number}")
}

/// Finds the [`Run`] of a rendering.
fn run_of(state: &State<'_, '_>) -> Result<Arc<Run>, Error> {
    let run = state.lookup(RUN).and_then(|value| value.downcast_object::<Run>());
    run.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the rendering has no context"))
}

/// Wraps a fault for its way through minijinja.
fn wrap(fault: Fault) -> Error {
    Error::new(ErrorKind::InvalidOperation, fault.to_string()).with_source(fault)
}

/// What went wrong, told apart by type: our own faults travel as sources of minijinja's errors.
pub(super) fn fault_of(error: &Error) -> Fault {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(fault) = current.downcast_ref::<Fault>() {
            return fault.clone();
        }
        source = current.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Fault::TooSlow,
        ErrorKind::WriteFailure => Fault::TooLong,
        _ => Fault::bad(error.detail().unwrap_or("the template cannot be rendered")),
    }
}

/// The environment that every template starts from: only our own filters, nothing loaded from anywhere.
pub(super) fn environment() -> Environment<'static> {
    static BASE: OnceLock<Environment<'static>> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut env = Environment::empty();
        env.set_undefined_behavior(UndefinedBehavior::Chainable);
        env.set_keep_trailing_newline(true);
        env.add_function("_namespace", minijinja::functions::namespace);
        env.set_formatter(|out, state, value| {
            let run = run_of(state)?;
            if let Some(text) = value.downcast_object_ref::<Text>() {
                run.meter.take(text.0.len()).map_err(wrap)?;
                return out.write_str(&text.0).map_err(Error::from);
            }
            let text = value::text(value, &run.meter).map_err(wrap)?;
            if text.is_empty() {
                return Ok(());
            }
            let (mut open, mut close) = ([0; 4], [0; 4]);
            out.write_str(marks::OPEN.encode_utf8(&mut open))?;
            out.write_str(&text)?;
            out.write_str(marks::CLOSE.encode_utf8(&mut close))?;
            Ok(())
        });
        for (name, body) in filters::bodies() {
            match body {
                Body::Plain(apply) => {
                    env.add_filter(name, move |state: &State<'_, '_>, args: Rest<Value>| apply(&*run_of(state)?, &args).map_err(wrap))
                }
                Body::Arrow(apply) => {
                    env.add_filter(name, move |state: &State<'_, '_>, args: Rest<Value>| apply(state, &run_of(state)?, &args).map_err(wrap))
                }
            }
        }
        env
    })
    .clone()
}

/// Collects output up to a cap. Marks are not counted.
#[derive(Debug)]
pub(super) struct CappedOutput {
    bytes: Vec<u8>,
    left: usize,
}

impl CappedOutput {
    /// Takes at most `cap` bytes.
    pub fn new(cap: usize) -> Self {
        Self { bytes: Vec::new(), left: cap }
    }

    /// What was written, and how much of the cap is left.
    pub fn finish(self) -> (String, usize) {
        let text = String::from_utf8(self.bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        (text, self.left)
    }
}

impl io::Write for CappedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = [0; 4];
        let is_mark = [marks::OPEN, marks::CLOSE].iter().any(|mark| mark.encode_utf8(&mut buffer).as_bytes() == bytes);
        if !is_mark {
            self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| io::Error::other(Fault::TooLong))?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
