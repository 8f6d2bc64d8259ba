//! The summary of an image, in columns as Go's `tabwriter` makes them: buildx's users compare whole outputs.

use gantry_oci::Document;
use serde_json::Value;

use crate::image::Place;
use crate::image::source::RawDocument;

/// The summary.
pub(super) fn text(location: &Place, root: &RawDocument) -> String {
    let mut out = String::new();
    let mut table = Table::default();
    table.row("Name:", location);
    table.row("MediaType:", &root.descriptor.media_type);
    table.row("Digest:", root.descriptor.digest);
    table.flush(&mut out);
    if matches!(root.document, Document::Index(_)) {
        let index: Value = serde_json::from_slice(&root.bytes).expect("it was parsed before");
        entries(location, &index, &mut out);
    }
    out
}

fn entries(location: &Place, index: &Value, out: &mut String) {
    let mut table = Table::default();
    table.row("", "");
    table.row("Manifests:", "");
    table.flush(out);
    for (number, entry) in index["manifests"].as_array().into_iter().flatten().enumerate() {
        if number > 0 {
            table.row("", "");
        }
        let digest = entry["digest"].as_str().and_then(|digest| digest.parse().ok());
        table.row(
            "  Name:",
            digest.map_or_else(|| location.to_string(), |digest| location.pinned(digest).to_string()),
        );
        table.row("  MediaType:", entry["mediaType"].as_str().unwrap_or_default());
        if entry["platform"].is_object() {
            details(entry, &mut table, out);
        }
    }
    table.flush(out);
}

fn details(entry: &Value, table: &mut Table, out: &mut String) {
    let platform = &entry["platform"];
    let text = |key: &str| platform[key].as_str().unwrap_or_default();
    let parts = [text("os"), text("architecture"), text("variant")];
    let name: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    table.row("  Platform:", name.join("/"));
    if !text("os.version").is_empty() {
        table.row("  OSVersion:", text("os.version"));
    }
    for (label, list) in [("  OSFeatures:", &platform["os.features"]), ("  URLs:", &entry["urls"])] {
        let items: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !items.is_empty() {
            table.row(label, items.join(", "));
        }
    }
    let annotations = entry["annotations"].as_object().filter(|annotations| !annotations.is_empty());
    if let Some(annotations) = annotations {
        table.row("  Annotations:", "");
        table.flush(out);
        let mut inner = Table::default();
        let mut sorted: Vec<_> = annotations.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        for (key, value) in sorted {
            inner.row(&format!("    {key}:"), value.as_str().unwrap_or_default());
        }
        inner.flush(out);
    }
}

/// Rows of two cells, of which the first is as wide as the widest since the last flush, and a space.
#[derive(Default)]
struct Table(Vec<(String, String)>);

impl Table {
    fn row(&mut self, label: &str, value: impl std::fmt::Display) {
        // What a registry sent does not steer the terminal.
        let value = value.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.0.push((label.to_owned(), value));
    }

    fn flush(&mut self, out: &mut String) {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default() + 1;
        for (label, value) in self.0.drain(..) {
            out.push_str(&format!("{label:<width$}{value}\n"));
        }
    }
}
