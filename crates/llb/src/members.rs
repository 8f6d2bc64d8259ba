//! JSON objects as Go's encoders write them: members that have their default value are left out.

use serde_json::{Map, Value, json};

/// An object that grows, in the order in which its members are given.
#[derive(Debug, Default)]
pub struct Members(Map<String, Value>);

impl Members {
    /// A member that is there whatever its value is.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A member that may not be there.
    pub fn value(&mut self, name: &str, value: Option<Value>) -> &mut Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// A text, unless it is empty.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.value(name, (!text.is_empty()).then(|| json!(text)))
    }

    /// A flag, if it is set.
    pub fn flag(&mut self, name: &str, flag: bool) -> &mut Self {
        self.value(name, flag.then(|| json!(true)))
    }

    /// A list, unless it is empty.
    pub fn list<T>(&mut self, name: &str, items: &[T], item: impl FnMut(&T) -> Value) -> &mut Self {
        self.value(name, (!items.is_empty()).then(|| items.iter().map(item).collect()))
    }

    /// The object.
    pub fn done(&mut self) -> Value {
        Value::Object(std::mem::take(&mut self.0))
    }

    /// A list of texts, unless it is empty.
    pub(crate) fn texts(&mut self, name: &str, texts: &[String]) -> &mut Self {
        self.list(name, texts, |text| json!(text))
    }

    /// A number, unless it is 0.
    pub(crate) fn number(&mut self, name: &str, number: impl Into<i64>) -> &mut Self {
        let number = number.into();
        self.value(name, (number != 0).then(|| json!(number)))
    }

    /// A 64-bit number in the JSON mapping of protobuf, which is text, unless it is 0.
    pub(crate) fn int(&mut self, name: &str, number: i64) -> &mut Self {
        self.value(name, (number != 0).then(|| json!(number.to_string())))
    }
}
