//! JSON as Go programs write it: what scripts compare byte by byte, and what the digests of indexes depend on.
//!
//! Two spaces of indentation, `<`, `>` and `&` escaped, the keys of a structure in the order of its Go type and those
//! of a map sorted.

use serde_json::{Map, Value};

/// Keys of `Index`, in the order of Go's type.
pub(super) const INDEX: &[&str] =
    &["schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations"];
/// Keys of `Descriptor`.
pub(super) const DESCRIPTOR: &[&str] =
    &["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];
/// Keys of `Platform`.
const PLATFORM: &[&str] = &["architecture", "os", "os.version", "os.features", "variant"];
/// Keys of `Image`, which is the config.
const IMAGE: &[&str] = &[
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
];
/// Keys of `ImageConfig`.
const CONFIG: &[&str] = &[
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
];
/// Keys of `History`.
const HISTORY: &[&str] = &["created", "created_by", "author", "comment", "empty_layer"];
/// Keys of `RootFS`.
const ROOTFS: &[&str] = &["type", "diff_ids"];

/// The document as Go's `json.MarshalIndent` writes it.
pub(super) fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a value is plain data");
    // These stand in strings only.
    let escaped = |c: char| match c {
        '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => Some(format!("\\u{:04x}", u32::from(c))),
        _ => None,
    };
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match escaped(c) {
            Some(escape) => out.push_str(&escape),
            None => out.push(c),
        }
        out
    })
}

/// These keys of an object in this order, where they say something; Go leaves out what is empty.
pub(super) fn structure(value: &Value, keys: &[&str]) -> Value {
    let field =
        |key: &&str| Some(((*key).to_owned(), value.get(*key).filter(|field| !is_empty(field))?.clone()));
    Value::Object(keys.iter().filter_map(field).collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A map with its keys sorted, and what is in it likewise.
pub(super) fn map(value: &Value) -> Value {
    let fields = match value {
        Value::Object(fields) => fields,
        Value::Array(items) => return items.iter().map(map).collect(),
        other => return other.clone(),
    };
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    Value::Object(sorted.into_iter().map(|(key, value)| (key.clone(), map(value))).collect())
}

fn edit(fields: &mut Value, key: &str, change: impl FnOnce(&Value) -> Value) {
    if let Some(field) = fields.get_mut(key) {
        *field = change(field);
    }
}

/// A descriptor.
pub(super) fn descriptor(value: &Value) -> Value {
    let mut fields = structure(value, DESCRIPTOR);
    edit(&mut fields, "annotations", map);
    edit(&mut fields, "platform", |platform| structure(platform, PLATFORM));
    fields
}

/// An index. Its list of entries is there also when it is empty.
pub(super) fn index(value: &Value, keys: &[&str]) -> Value {
    let mut fields: Map<String, Value> = Map::new();
    for key in keys {
        match (*key, value.get(*key)) {
            ("manifests", entries) => {
                let entries = entries.and_then(Value::as_array).cloned().unwrap_or_default();
                fields.insert("manifests".to_owned(), entries.iter().map(descriptor).collect());
            }
            ("annotations", Some(annotations)) if !is_empty(annotations) => {
                fields.insert("annotations".to_owned(), map(annotations));
            }
            ("subject", Some(subject)) if !is_empty(subject) => {
                fields.insert("subject".to_owned(), descriptor(subject));
            }
            (key, Some(field)) if !is_empty(field) => {
                fields.insert(key.to_owned(), field.clone());
            }
            _ => {}
        }
    }
    Value::Object(fields)
}

/// An image config.
pub(super) fn image(value: &Value) -> Value {
    let fields = structure(value, IMAGE);
    // Go's structures inside a structure are there also when they are empty.
    let mut config = structure(value.get("config").unwrap_or(&Value::Null), CONFIG);
    for key in ["ExposedPorts", "Volumes", "Labels"] {
        edit(&mut config, key, map);
    }
    let rootfs = value.get("rootfs").cloned().unwrap_or_default();
    let rootfs: Map<String, Value> =
        ROOTFS.iter().map(|key| ((*key).to_owned(), rootfs.get(*key).cloned().unwrap_or_default())).collect();
    let mut ordered = Map::new();
    for key in IMAGE {
        match *key {
            "config" => ordered.insert("config".to_owned(), config.take()),
            "rootfs" => ordered.insert("rootfs".to_owned(), Value::Object(rootfs.clone())),
            key => fields.get(key).and_then(|field| ordered.insert(key.to_owned(), field.clone())),
        };
    }
    if let Some(history) = ordered.get_mut("history").and_then(Value::as_array_mut) {
        for entry in history {
            *entry = structure(entry, HISTORY);
        }
    }
    Value::Object(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_it() {
        let value = serde_json::json!({ "a": "<&>", "b": [], "c": {}, "d": [1, { "e": null }] });
        let expected = "{\n  \"a\": \"\\u003c\\u0026\\u003e\",\n  \"b\": [],\n  \"c\": {},\n  \"d\": [\n    1,\n    {\n      \"e\": null\n    }\n  ]\n}";
        assert_eq!(pretty(&value), expected);
        let entry = serde_json::json!({ "size": 3, "platform": { "os": "linux", "x": 1, "architecture": "amd64" },
            "annotations": { "z": "1", "a": "2" }, "digest": "d", "unknown": true, "urls": [], "mediaType": "m" });
        assert_eq!(
            serde_json::to_string(&descriptor(&entry)).unwrap(),
            r#"{"mediaType":"m","digest":"d","size":3,"annotations":{"a":"2","z":"1"},"platform":{"architecture":"amd64","os":"linux"}}"#
        );
        let config = serde_json::json!({ "os": "linux", "architecture": "arm", "variant": "v7", "history": [{ "empty_layer": true, "created": "t" }] });
        assert_eq!(
            serde_json::to_string(&image(&config)).unwrap(),
            r#"{"architecture":"arm","os":"linux","variant":"v7","config":{},"rootfs":{"type":null,"diff_ids":null},"history":[{"created":"t","empty_layer":true}]}"#
        );
    }
}
