//! Walking the tree, on a budget.

use std::collections::HashMap;
use std::sync::Arc;

use super::value::Loop;
use super::{Expression, Form, Limits, Node, Operator, Reference, RenderError, Step, Value, Variables, number};

pub(super) type Outcome<T> = Result<T, RenderError>;

/// What follows a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    /// Leave the loop.
    Break,
    /// Leave the template.
    Stop,
}

/// One rendering.
pub(super) struct Run<'v> {
    variables: &'v Variables,
    /// What `#set` and `#foreach` made; they hide the event's.
    own: HashMap<Box<str>, Value>,
    innermost: Option<Arc<Loop>>,
    form: Form,
    limits: &'v Limits,
    steps: u64,
    work: u64,
}

impl<'v> Run<'v> {
    pub(super) fn new(variables: &'v Variables, form: Form, limits: &'v Limits) -> Self {
        Self { variables, own: HashMap::new(), innermost: None, form, limits, steps: 0, work: 0 }
    }

    pub(super) fn template(&mut self, nodes: &[Node]) -> Outcome<String> {
        let mut out = String::new();
        self.nodes(nodes, &mut out, self.form)?;
        Ok(out)
    }

    /// Counts parts walked or elements visited.
    pub(super) fn visit(&mut self, count: usize) -> Outcome<()> {
        self.steps = self.steps.saturating_add(count as u64);
        if self.steps > self.limits.max_steps { Err(RenderError::TooSlow) } else { Ok(()) }
    }

    /// Counts bytes written or copied.
    pub(super) fn copy(&mut self, bytes: usize) -> Outcome<()> {
        self.work = self.work.saturating_add(bytes as u64);
        if self.work > self.limits.max_work { Err(RenderError::TooSlow) } else { Ok(()) }
    }

    /// Writes within the bounds.
    pub(super) fn write(&mut self, out: &mut String, text: &str) -> Outcome<()> {
        self.copy(text.len())?;
        if out.len() + text.len() > self.limits.max_output_bytes {
            return Err(RenderError::TooLong { limit: self.limits.max_output_bytes });
        }
        out.push_str(text);
        Ok(())
    }

    fn nodes(&mut self, nodes: &[Node], out: &mut String, form: Form) -> Outcome<Flow> {
        for node in nodes {
            self.visit(1)?;
            let flow = match node {
                Node::Text(text) => self.write(out, text).map(|()| Flow::On)?,
                Node::Reference(reference) => self.insert(reference, out, form).map(|()| Flow::On)?,
                Node::If { branches, otherwise } => {
                    let mut chosen = otherwise;
                    for (test, body) in branches {
                        if self.is_true(test)? {
                            chosen = body;
                            break;
                        }
                    }
                    self.nodes(chosen, out, form)?
                }
                Node::ForEach { name, elements, body } => self.for_each(name, elements, body, out, form)?,
                Node::Set { name, value } => {
                    // What has no value leaves the variable as it was.
                    if let Some(value) = self.evaluate(value)? {
                        self.own.insert(name.clone(), value);
                    }
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Stop => Flow::Stop,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn for_each(&mut self, name: &str, elements: &Expression, body: &[Node], out: &mut String, form: Form) -> Outcome<Flow> {
        let elements: Vec<Value> = match self.evaluate(elements)? {
            Some(Value::List(list)) => list.items().to_vec(),
            Some(Value::Map(map)) => map.entries().iter().map(|(_, value)| value.clone()).collect(),
            _ => return Ok(Flow::On),
        };
        self.visit(elements.len())?;
        let hidden = self.own.remove(name);
        let parent = self.innermost.take();
        let mut flow = Flow::On;
        for (index, element) in elements.iter().enumerate() {
            self.visit(1)?;
            self.own.insert(name.into(), element.clone());
            self.innermost = Some(Arc::new(Loop { index, count: elements.len(), parent: parent.clone() }));
            flow = self.nodes(body, out, form)?;
            if flow != Flow::On {
                break;
            }
        }
        self.innermost = parent;
        match hidden {
            Some(value) => self.own.insert(name.into(), value),
            None => self.own.remove(name),
        };
        Ok(if flow == Flow::Stop { Flow::Stop } else { Flow::On })
    }

    /// Writes what a reference stands for.
    fn insert(&mut self, reference: &Reference, out: &mut String, form: Form) -> Outcome<()> {
        let value = self.resolve(reference)?;
        let escapes = "\\".repeat(reference.escapes / 2);
        if reference.escapes % 2 == 1 {
            // Escaped, which only a reference with a value can be.
            let before = if value.is_some() { escapes } else { "\\".repeat(reference.escapes) };
            self.write(out, &before)?;
            return self.write(out, &reference.literal);
        }
        let Some(value) = value else {
            self.write(out, &"\\".repeat(reference.escapes))?;
            return if reference.is_quiet { Ok(()) } else { self.write(out, &reference.literal) };
        };
        self.write(out, &escapes)?;
        let is_encoded = &*reference.name == "esc" && matches!(&reference.steps[..], [Step::Method(name, _)] if &**name == "url");
        if form == Form::Raw || is_encoded {
            return self.print(&value, out);
        }
        let mut text = String::new();
        self.print(&value, &mut text)?;
        self.write(out, &super::call::percent_encoded(&text))
    }

    /// The value of a reference, if it has one.
    fn resolve(&mut self, reference: &Reference) -> Outcome<Option<Value>> {
        let Some(mut value) = self.lookup(&reference.name) else { return Ok(None) };
        for step in &reference.steps {
            self.visit(1)?;
            let next = match step {
                Step::Property(name) => self.property(&value, name)?,
                Step::Index(key) => match self.evaluate(key)? {
                    Some(key) => self.element(&value, &key)?,
                    None => None,
                },
                Step::Method(name, arguments) => {
                    let mut given = Vec::with_capacity(arguments.len());
                    for argument in arguments {
                        given.push(self.argument(&value, argument)?);
                    }
                    self.method(&value, name, &given)?
                }
            };
            match next.and_then(Value::known) {
                Some(next) => value = next,
                None => return Ok(None),
            }
        }
        Ok(if matches!(value, Value::Escape | Value::Loop(_)) { None } else { Some(value) })
    }

    /// An argument. The escape tool takes a quiet reference without a value for an empty text.
    fn argument(&mut self, of: &Value, argument: &Expression) -> Outcome<Option<Value>> {
        let value = self.evaluate(argument)?;
        let is_quiet = matches!(argument, Expression::Reference(reference) if reference.is_quiet);
        Ok(if value.is_none() && is_quiet && matches!(of, Value::Escape) { Some(Value::from("")) } else { value })
    }

    fn lookup(&self, name: &str) -> Option<Value> {
        if let Some(own) = self.own.get(name) {
            return own.clone().known();
        }
        let in_loop = |value: fn(&Loop) -> Value| self.innermost.as_deref().map(value);
        match name {
            "foreach" => self.innermost.clone().map(Value::Loop),
            #[expect(clippy::cast_possible_wrap, reason = "counts of elements in memory")]
            "velocityCount" => in_loop(|place| Value::Integer(place.index as i64 + 1)),
            "velocityHasNext" => in_loop(|place| Value::Bool(place.index + 1 < place.count)),
            _ => None,
        }
        .or_else(|| self.variables.get(name))
        .or_else(|| (name == "esc").then_some(Value::Escape))
    }

    fn is_true(&mut self, test: &Expression) -> Outcome<bool> {
        Ok(!matches!(self.evaluate(test)?, None | Some(Value::Bool(false))))
    }

    fn evaluate(&mut self, expression: &Expression) -> Outcome<Option<Value>> {
        self.visit(1)?;
        let value = match expression {
            Expression::Constant(value) => value.clone(),
            Expression::Reference(reference) => return self.resolve(reference),
            Expression::Text(nodes) => {
                let mut text = String::new();
                self.nodes(nodes, &mut text, Form::Raw)?;
                Value::from(text)
            }
            Expression::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    values.push(self.evaluate(item)?.unwrap_or(Value::Null));
                }
                Value::list(values)
            }
            Expression::Map(entries) => {
                let mut values = Vec::with_capacity(entries.len());
                for (name, value) in entries {
                    let name = self.evaluate(name)?.unwrap_or(Value::Null);
                    values.push((name, self.evaluate(value)?.unwrap_or(Value::Null)));
                }
                Value::map(values)
            }
            Expression::Range(ends) => return self.range(&ends.0, &ends.1),
            Expression::Not(inner) => Value::Bool(!self.is_true(inner)?),
            Expression::Chain(first, others) => return self.chain(first, others),
        };
        Ok(value.known())
    }

    fn range(&mut self, first: &Expression, last: &Expression) -> Outcome<Option<Value>> {
        let (first, last) = (self.evaluate(first)?, self.evaluate(last)?);
        let (Some(Value::Integer(first)), Some(Value::Integer(last))) = (first, last) else { return Ok(None) };
        self.visit(usize::try_from(first.abs_diff(last)).unwrap_or(usize::MAX))?;
        let numbers: Vec<Value> =
            if first <= last { (first..=last).map(Value::Integer).collect() } else { (last..=first).rev().map(Value::Integer).collect() };
        Ok(Some(Value::list(numbers)))
    }

    fn chain(&mut self, first: &Expression, others: &[(Operator, Expression)]) -> Outcome<Option<Value>> {
        let mut value = self.evaluate(first)?;
        let mut left = first;
        for (operator, right) in others {
            value = match operator {
                Operator::And | Operator::Or => {
                    let is_true = !matches!(value, None | Some(Value::Bool(false)));
                    let is_decided = is_true == (*operator == Operator::Or);
                    Some(Value::Bool(if is_decided { is_true } else { self.is_true(right)? }))
                }
                _ => {
                    let other = self.evaluate(right)?;
                    self.operate(*operator, (value, left), (other, right))?
                }
            };
            left = right;
        }
        Ok(value)
    }

    /// An operator that needs both sides; each with its expression, whose text stands for a missing part of a joined text.
    fn operate(
        &mut self,
        operator: Operator,
        left: (Option<Value>, &Expression),
        right: (Option<Value>, &Expression),
    ) -> Outcome<Option<Value>> {
        let is_text = |side: &Option<Value>| matches!(side, Some(Value::Text(_)));
        match operator {
            Operator::Equal | Operator::Different => {
                let is_equal = match (&left.0, &right.0) {
                    (Some(left), Some(right)) => self.is_equal(left, right)?,
                    (left, right) => left.is_none() && right.is_none(),
                };
                Ok(Some(Value::Bool(is_equal == (operator == Operator::Equal))))
            }
            Operator::Less | Operator::More | Operator::AtMost | Operator::AtLeast => {
                let order = left.0.zip(right.0).and_then(|(left, right)| number::compare(&left, &right));
                Ok(Some(Value::Bool(order.is_some_and(|order| match operator {
                    Operator::Less => order.is_lt(),
                    Operator::More => order.is_gt(),
                    Operator::AtMost => order.is_le(),
                    _ => order.is_ge(),
                }))))
            }
            Operator::Add if is_text(&left.0) || is_text(&right.0) => {
                let mut text = String::new();
                for (value, expression) in [left, right] {
                    match (value, expression) {
                        (Some(value), _) => self.print(&value, &mut text)?,
                        (None, Expression::Reference(reference)) => self.write(&mut text, &reference.literal)?,
                        (None, _) => self.write(&mut text, "null")?,
                    }
                }
                Ok(Some(Value::from(text)))
            }
            _ => Ok(left.0.zip(right.0).and_then(|(left, right)| number::compute(operator, &left, &right))),
        }
    }
}
