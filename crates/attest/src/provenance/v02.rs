//! The predicate of SLSA v0.2 (`https://slsa.dev/provenance/v0.2`), for what does not read v1 yet.
//!
//! It says the same in other places, as BuildKit converts one to the other:
//!
//! ```json
//! { "builder": { "id" }, "buildType": …, "materials": [ { "uri", "digest" } ],
//!   "invocation": { "configSource": { "uri", "digest", "entryPoint" }, "parameters": request,
//!                   "environment": { "platform" } },
//!   "buildConfig": { "llbDefinition", "digestMapping" },
//!   "metadata": { "buildStartedOn", "buildFinishedOn", "completeness", "reproducible",
//!                 "https://mobyproject.org/buildkit@v1#metadata", "…#hermetic" } }
//! ```

use serde_json::{Map, Value, json};

use super::{Provenance, v1};
use crate::options::Mode;

/// As v1's: what the parameters mean is the same, where they stand is not.
const BUILD_TYPE: &str = "urn:gantry:build-type:llb:v0.2";
const METADATA: &str = "https://mobyproject.org/buildkit@v1#metadata";
const HERMETIC: &str = "https://mobyproject.org/buildkit@v1#hermetic";

pub(super) fn predicate(provenance: &Provenance, mode: Mode) -> Value {
    let mut predicate = Map::new();
    predicate.insert("builder".to_owned(), json!({ "id": provenance.builder_id }));
    predicate.insert("buildType".to_owned(), json!(BUILD_TYPE));
    predicate.insert("materials".to_owned(), Value::Array(provenance.dependencies_json()));
    let invocation = json!({
        "configSource": v1::config_source(provenance, "entryPoint"),
        "parameters": v1::request(provenance, mode),
        "environment": { "platform": provenance.builder_platform.to_string() },
    });
    predicate.insert("invocation".to_owned(), invocation);
    if mode == Mode::Max {
        predicate.insert("buildConfig".to_owned(), v1::build_config(&provenance.details));
    }
    predicate.insert("metadata".to_owned(), metadata(provenance, mode));
    Value::Object(predicate)
}

fn metadata(provenance: &Provenance, mode: Mode) -> Value {
    let mut metadata = Map::new();
    if let Some((started, finished)) = &provenance.times {
        metadata.insert("buildStartedOn".to_owned(), json!(started));
        metadata.insert("buildFinishedOn".to_owned(), json!(finished));
    }
    let complete = json!({
        "parameters": provenance.has_whole_request(mode),
        "environment": true,
        "materials": provenance.has_all_dependencies(),
    });
    metadata.insert("completeness".to_owned(), complete);
    metadata.insert("reproducible".to_owned(), json!(provenance.reproducible));
    metadata.insert(METADATA.to_owned(), v1::extensions(provenance, mode));
    if provenance.is_hermetic() {
        metadata.insert(HERMETIC.to_owned(), json!(true));
    }
    Value::Object(metadata)
}
