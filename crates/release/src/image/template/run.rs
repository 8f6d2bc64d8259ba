//! Runs a template over a value.

use serde_json::Value;

use super::functions::{call, is_true, shown};
use super::{Base, Command, Node, Operand, Pipeline, TemplateError};

/// The longest text that a template may make: loops in loops over large documents end somewhere.
const LARGEST: usize = 64 * 1024 * 1024;

/// The text that a template makes of a value.
///
/// At the top the value's fields are all there are: another name is a mistake. Further down a field that is not there is
/// empty, since JSON leaves out what is empty.
pub(in crate::image) fn run(template: &[Node], value: &Value) -> Result<String, TemplateError> {
    let mut run = Run { top: value, variables: vec![(String::new(), value.clone())], out: String::new() };
    run.nodes(template, value)?;
    Ok(run.out)
}

struct Run<'a> {
    top: &'a Value,
    /// Innermost last.
    variables: Vec<(String, Value)>,
    out: String,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Run<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        let outer = self.variables.len();
        let mut flow = Flow::On;
        for node in nodes {
            flow = self.node(node, dot)?;
            if flow != Flow::On {
                break;
            }
        }
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.print(text)?,
            Node::Print(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.print(&shown(&value))?;
            }
            Node::Set { name, is_new, value } => {
                let value = self.pipeline(value, dot)?;
                self.set(name, *is_new, value)?;
            }
            Node::If { condition, then, otherwise } => {
                let chosen = if is_true(&self.pipeline(condition, dot)?) { then } else { otherwise };
                return self.nodes(chosen, dot);
            }
            Node::With { value, variable, then, otherwise } => {
                let value = self.pipeline(value, dot)?;
                if !is_true(&value) {
                    return self.nodes(otherwise, dot);
                }
                let outer = self.variables.len();
                self.variables.extend(variable.iter().map(|name| (name.clone(), value.clone())));
                let flow = self.nodes(then, &value)?;
                self.variables.truncate(outer);
                return Ok(flow);
            }
            Node::Range { over, key, value, each, none } => {
                let over = self.pipeline(over, dot)?;
                return self.range(&over, (key.as_deref(), value.as_deref()), (each, none), dot);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        over: &Value,
        (key, value): (Option<&str>, Option<&str>),
        (each, none): (&[Node], &[Node]),
        dot: &Value,
    ) -> Result<Flow, TemplateError> {
        let items: Vec<(Value, Value)> = match over {
            Value::Null => Vec::new(),
            Value::Array(items) => (0_usize..).map(Value::from).zip(items.iter().cloned()).collect(),
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_by_key(|(key, _)| *key);
                fields.into_iter().map(|(key, value)| (Value::from(key.clone()), value.clone())).collect()
            }
            other => return Err(TemplateError(format!("range can't iterate over {}", shown(other)))),
        };
        if items.is_empty() {
            return self.nodes(none, dot);
        }
        for (at, item) in items {
            let outer = self.variables.len();
            self.variables.extend(key.map(|name| (name.to_owned(), at)));
            self.variables.extend(value.map(|name| (name.to_owned(), item.clone())));
            let flow = self.nodes(each, &item)?;
            self.variables.truncate(outer);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn print(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.out.len() + text.len() > LARGEST {
            return Err(TemplateError(format!("its text is longer than {LARGEST} bytes")));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn set(&mut self, name: &str, is_new: bool, value: Value) -> Result<(), TemplateError> {
        if is_new {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        let variable = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        variable.map(|(_, old)| *old = value).ok_or_else(|| undefined(name))
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped: Option<Value> = None;
        for command in pipeline {
            piped = Some(match command {
                Command::Value(operand) => self.operand(operand, dot)?,
                Command::Call { function, arguments } => self.call(function, arguments, piped, dot)?,
            });
        }
        Ok(piped.unwrap_or_default())
    }

    fn call(
        &mut self,
        function: &str,
        arguments: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        if matches!(function, "and" | "or") {
            let mut last = Value::Null;
            for operand in arguments {
                last = self.operand(operand, dot)?;
                if is_true(&last) == (function == "or") {
                    return Ok(last);
                }
            }
            return Ok(piped.unwrap_or(last));
        }
        let mut values =
            arguments.iter().map(|operand| self.operand(operand, dot)).collect::<Result<Vec<_>, _>>()?;
        values.extend(piped);
        call(function, &values)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let value = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Literal(value) => value.clone(),
            Base::Group(pipeline) => self.pipeline(pipeline, dot)?,
            Base::Function(name) => call(name, &[])?,
            Base::Variable(name) => {
                let variable = self.variables.iter().rev().find(|(known, _)| known == name);
                variable.map(|(_, value)| value.clone()).ok_or_else(|| undefined(name))?
            }
        };
        operand.fields.iter().try_fold(value, |value, name| self.field(&value, name))
    }

    fn field(&self, value: &Value, name: &str) -> Result<Value, TemplateError> {
        match value {
            Value::Object(fields) => {
                let found = fields.get(name).or_else(|| {
                    let same = |key: &&String| plain(key) == plain(name);
                    fields.keys().find(same).and_then(|key| fields.get(key))
                });
                match found {
                    Some(found) => Ok(found.clone()),
                    None if std::ptr::eq(value, self.top) || value == self.top => {
                        Err(TemplateError(format!("can't evaluate field {name}")))
                    }
                    None => Ok(Value::Null),
                }
            }
            // What is not there has no fields either.
            Value::Null => Ok(Value::Null),
            other => Err(TemplateError(format!("can't evaluate field {name} in {}", shown(other)))),
        }
    }
}

/// What Go's and JSON's name of a field have in common: `OSVersion` and `os.version`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '.' | '_' | '-')).flat_map(char::to_lowercase).collect()
}

fn undefined(name: &str) -> TemplateError {
    TemplateError(format!("undefined variable \"${name}\""))
}
