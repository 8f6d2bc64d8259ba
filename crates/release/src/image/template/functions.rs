//! The functions that a template may call: Go's own, and `json` with its friends from Docker's commands.

use std::cmp::Ordering;

use serde_json::Value;

use super::TemplateError;
use crate::image::go_json;

/// All of them. `and` and `or` stop at what decides, so they are run with the commands and not here.
const NAMES: [&str; 22] = [
    "json", "index", "len", "print", "println", "printf", "eq", "ne", "lt", "le", "gt", "ge", "not", "and",
    "or", "join", "split", "upper", "lower", "title", "html", "slice",
];

pub(super) fn is_function(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = |reason: &str| TemplateError(format!("error calling {name}: {reason}"));
    Ok(match (name, arguments) {
        ("json", [value]) => Value::String(go_json::pretty(value)),
        ("index", [value, keys @ ..]) => keys
            .iter()
            .try_fold(value.clone(), |value, key| item(&value, key))
            .map_err(|error| wrong(&error))?,
        ("len", [value]) => Value::from(length(value).ok_or_else(|| wrong("the value has no length"))?),
        ("print", values) => Value::String(joined(values, false)),
        ("println", values) => Value::String(joined(values, true) + "\n"),
        ("printf", [Value::String(format), values @ ..]) => Value::String(formatted(format, values)),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            Value::Bool(others.iter().any(|other| equal(first, other)))
        }
        ("ne", [first, second]) => Value::Bool(!equal(first, second)),
        ("lt" | "le" | "gt" | "ge", [first, second]) => {
            let order = compare(first, second).ok_or_else(|| wrong("incompatible types for comparison"))?;
            Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        ("not", [value]) => Value::Bool(!is_true(value)),
        ("join", [Value::Array(items), Value::String(by)]) => {
            Value::String(items.iter().map(shown).collect::<Vec<_>>().join(by))
        }
        ("split", [Value::String(text), Value::String(by)]) => text.split(by.as_str()).collect(),
        ("upper", [value]) => Value::String(shown(value).to_uppercase()),
        ("lower", [value]) => Value::String(shown(value).to_lowercase()),
        ("title", [value]) => Value::String(title(&shown(value))),
        ("html", values) => Value::String(escaped(&joined(values, false))),
        ("slice", [value, bounds @ ..]) => slice(value, bounds).ok_or_else(|| wrong("index out of range"))?,
        _ => return Err(wrong("wrong number or type of arguments")),
    })
}

/// A key of a map, or a place in a list. What a map does not have is nothing, as in Go.
fn item(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Object(fields), Value::String(key)) => Ok(fields.get(key).cloned().unwrap_or_default()),
        (Value::Array(items), Value::Number(at)) => {
            let found = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
            found.cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        (Value::Null, _) => Err("index of untyped nil".to_owned()),
        _ => Err("the value cannot be indexed by that".to_owned()),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Option<Value> {
    let bound = |at: usize, default: usize| match bounds.get(at) {
        None => Some(default),
        Some(value) => usize::try_from(value.as_u64()?).ok(),
    };
    let length = length(value)?;
    let range = bound(0, 0)?..bound(1, length)?;
    match value {
        Value::String(text) => text.get(range).map(Value::from),
        Value::Array(items) => items.get(range).map(|items| Value::Array(items.to_vec())),
        _ => None,
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.len()),
        Value::Array(items) => Some(items.len()),
        Value::Object(fields) => Some(fields.len()),
        _ => None,
    }
}

/// What is not there is equal to what is empty, as JSON leaves out what is empty.
fn equal(first: &Value, second: &Value) -> bool {
    let empty = |value: &Value| value.is_null() || value.as_str() == Some("");
    first == second || (empty(first) && empty(second))
}

fn compare(first: &Value, second: &Value) -> Option<Ordering> {
    match (first, second) {
        (Value::String(first), Value::String(second)) => Some(first.cmp(second)),
        _ => first.as_f64()?.partial_cmp(&second.as_f64()?),
    }
}

/// Whether Go's `if` takes the value for true: whether it is not empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        value => length(value) != Some(0),
    }
}

/// Go's `Sprint` sets a space between two values of which neither is a text, `Sprintln` between any two.
fn joined(values: &[Value], always: bool) -> String {
    let mut text = String::new();
    for (number, value) in values.iter().enumerate() {
        let after_text = number > 0 && (values[number - 1].is_string() || value.is_string());
        if number > 0 && (always || !after_text) {
            text.push(' ');
        }
        text.push_str(&shown(value));
    }
    text
}

/// `%s`, `%v`, `%d`, `%q`, `%x` with flags, width and precision as Go has them for texts and numbers.
fn formatted(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((text, after)) = rest.split_once('%') {
        out.push_str(text);
        let end = after.find(|c: char| !matches!(c, '-' | '+' | '#' | ' ' | '.' | '0'..='9'));
        let Some(end) = end else {
            return out + "%!(NOVERB)";
        };
        let (flags, verb) = (&after[..end], after[end..].chars().next().unwrap_or_default());
        rest = &after[end + verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = values.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        let shown = match verb {
            'q' => Value::String(shown(value)).to_string(),
            _ => shown(value),
        };
        out.push_str(&padded(&shown, flags));
    }
    out + rest
}

fn padded(text: &str, flags: &str) -> String {
    let left = flags.contains('-');
    let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
    let text: String = match precision.parse() {
        Ok(most) => text.chars().take(most).collect(),
        Err(_) => text.to_owned(),
    };
    let width: usize = width.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0).min(1000);
    match left {
        true => format!("{text:<width$}"),
        false => format!("{text:>width$}"),
    }
}

fn title(text: &str) -> String {
    let mut starts = true;
    text.chars()
        .map(|c| {
            let upper = starts;
            starts = !c.is_alphanumeric();
            if upper { c.to_ascii_uppercase() } else { c }
        })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// A value as Go prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields = fields.into_iter().map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", fields.collect::<Vec<_>>().join(" "))
        }
    }
}
