//! The files that scripts read: `--metadata-file` with buildx's keys and ours, and `--iidfile`.
//!
//! ```json
//! { "containerimage.digest": "sha256:…",          of the index, or of the manifest of one platform
//!   "containerimage.descriptor": {…},
//!   "containerimage.config.digest": "sha256:…",   one platform only
//!   "image.name": "a:1,b:1",
//!   "buildx.build.provenance": {…},               with "/linux/amd64" and so on behind it for several platforms
//!   "buildx.build.warnings": [{…}],               as `--progress=rawjson` has them; only if there are any
//!   "gantry.platforms": { "linux/amd64": { "manifest": "sha256:…", "config": "sha256:…",
//!                                          "layers": [{ "digest", "size", "mediaType", "diffId" }] } } }
//! ```

use std::path::Path;

use gantry_release::{BuildReport, Class, Error, ProvenanceMode, parse_bool, write_file};
use serde_json::{Map, Value, json};

/// The key of how it was built; for several platforms, each with its own after a slash.
const PROVENANCE: &str = "buildx.build.provenance";

/// How much of that there is, from the value of buildx's `BUILDX_METADATA_PROVENANCE`.
pub(crate) fn provenance_mode(setting: &str) -> Option<ProvenanceMode> {
    match setting {
        "max" => Some(ProvenanceMode::Max),
        "disabled" => None,
        other if parse_bool(other) == Some(false) => None,
        _ => Some(ProvenanceMode::Min),
    }
}

/// Whether there are warnings in it, from the value of buildx's `BUILDX_METADATA_WARNINGS`.
pub(crate) fn with_warnings(setting: &str) -> bool {
    parse_bool(setting) == Some(true)
}

/// Writes the files that were asked for.
pub(crate) fn record(
    metadata_file: Option<&Path>,
    iidfile: Option<&Path>,
    report: &BuildReport,
    warnings: &[Value],
) -> Result<(), Error> {
    if let Some(path) = metadata_file {
        let mut text =
            serde_json::to_string_pretty(&document(report, warnings)).expect("metadata is plain data");
        text.push('\n');
        replace(path, &text)?;
    }
    if let Some(path) = iidfile {
        replace(path, &report.image_id().to_string())?;
    }
    Ok(())
}

fn document(report: &BuildReport, warnings: &[Value]) -> Value {
    let mut document = Map::new();
    if let [one] = report.platforms.as_slice() {
        document.insert("containerimage.config.digest".to_owned(), json!(one.config.digest));
    }
    // As with buildx, the descriptor of a single manifest says for which platform it is.
    let descriptor = match report.platforms.as_slice() {
        [one] if one.manifest.digest == report.root.digest => &one.manifest,
        _ => &report.root,
    };
    document.insert("containerimage.descriptor".to_owned(), json!(descriptor));
    document.insert("containerimage.digest".to_owned(), json!(report.root.digest));
    if !report.names.is_empty() {
        document.insert("image.name".to_owned(), json!(report.names.join(",")));
    }
    for platform in &report.platforms {
        if let Some(provenance) = &platform.provenance {
            let key = match report.platforms.len() {
                1 => PROVENANCE.to_owned(),
                _ => format!("{PROVENANCE}/{}", platform.platform),
            };
            document.insert(key, provenance.clone());
        }
    }
    if !warnings.is_empty() {
        document.insert("buildx.build.warnings".to_owned(), json!(warnings));
    }
    let mut platforms = Map::new();
    for platform in &report.platforms {
        let layers = platform.layers.iter().map(|layer| {
            let descriptor = &layer.descriptor;
            json!({ "digest": descriptor.digest, "size": descriptor.size, "mediaType": descriptor.media_type, "diffId": layer.diff_id })
        });
        let layers: Vec<Value> = layers.collect();
        let entry = json!({ "manifest": platform.manifest.digest, "config": platform.config.digest, "layers": layers });
        platforms.insert(platform.platform.to_string(), entry);
    }
    document.insert("gantry.platforms".to_owned(), Value::Object(platforms));
    Value::Object(document)
}

fn replace(path: &Path, text: &str) -> Result<(), Error> {
    write_file(path, |out| out.write_all(text.as_bytes()))
        .map_err(|error| Error::new(Class::Internal, format!("cannot write `{}`: {error}", path.display())))
}
