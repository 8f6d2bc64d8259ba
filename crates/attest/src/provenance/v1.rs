//! The predicate of SLSA v1 (`https://slsa.dev/provenance/v1`) with BuildKit's extensions.
//!
//! ```json
//! { "buildDefinition": {
//!     "buildType": …,
//!     "externalParameters": { "configSource": { "uri", "digest", "path" },
//!                             "request": { "frontend", "args", "secrets", "ssh", "locals" } },
//!     "internalParameters": { "buildConfig": { "llbDefinition", "digestMapping" }, "builderPlatform" },
//!     "resolvedDependencies": [ { "uri", "digest" } ] },
//!   "runDetails": {
//!     "builder": { "id" },
//!     "metadata": { "startedOn", "finishedOn", "buildkit_metadata": { "vcs", "source", "layers" },
//!                   "buildkit_hermetic", "buildkit_completeness", "buildkit_reproducible" } } }
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Details, Provenance, Secret, is_private};
use crate::options::Mode;
use crate::redact;

/// What the parameters of this predicate mean: those of BuildKit's Dockerfile front end, run by gantry.
const BUILD_TYPE: &str = "urn:gantry:build-type:llb:v1";

pub(super) fn predicate(provenance: &Provenance, mode: Mode) -> Value {
    let mut definition = Map::new();
    definition.insert("buildType".to_owned(), json!(BUILD_TYPE));
    definition.insert(
        "externalParameters".to_owned(),
        json!({ "configSource": config_source(provenance, "path"), "request": request(provenance, mode) }),
    );
    definition.insert("internalParameters".to_owned(), internal_parameters(provenance, mode));
    definition.insert("resolvedDependencies".to_owned(), Value::Array(provenance.dependencies_json()));
    json!({
        "buildDefinition": definition,
        "runDetails": {
            "builder": { "id": provenance.builder_id },
            "metadata": metadata(provenance, mode),
        },
    })
}

/// Where the Dockerfile came from; the versions differ in what they call its name.
pub(super) fn config_source(provenance: &Provenance, name: &str) -> Value {
    let mut source = Map::new();
    if let Some(context) = &provenance.request.context {
        source.insert("uri".to_owned(), json!(context.uri));
        if let Some(digest) = context.digest_json() {
            source.insert("digest".to_owned(), digest);
        }
    }
    if !provenance.request.filename.is_empty() {
        source.insert(name.to_owned(), json!(provenance.request.filename));
    }
    Value::Object(source)
}

/// What was asked for, as far as the mode tells it.
pub(super) fn request(provenance: &Provenance, mode: Mode) -> Value {
    let asked = &provenance.request;
    let mut request = Map::new();
    if !asked.frontend.is_empty() {
        request.insert("frontend".to_owned(), json!(asked.frontend));
    }
    let args = asked.args.iter().filter(|(name, _)| mode == Mode::Max || !is_private(name));
    let args: Map<_, _> = args.map(|(name, value)| (name.clone(), json!(value))).collect();
    if !args.is_empty() {
        request.insert("args".to_owned(), Value::Object(args));
    }
    if mode == Mode::Max {
        for (name, secrets) in [("secrets", &asked.secrets), ("ssh", &asked.ssh)] {
            if !secrets.is_empty() {
                request.insert(name.to_owned(), secrets.iter().map(secret).collect());
            }
        }
    }
    if !asked.locals.is_empty() {
        request
            .insert("locals".to_owned(), asked.locals.iter().map(|name| json!({ "name": name })).collect());
    }
    Value::Object(request)
}

fn secret(secret: &Secret) -> Value {
    match secret.optional {
        true => json!({ "id": secret.id, "optional": true }),
        false => json!({ "id": secret.id }),
    }
}

fn internal_parameters(provenance: &Provenance, mode: Mode) -> Value {
    let mut parameters = Map::new();
    if mode == Mode::Max {
        parameters.insert("buildConfig".to_owned(), build_config(&provenance.details));
    }
    parameters.insert("builderPlatform".to_owned(), json!(provenance.builder_platform.to_string()));
    Value::Object(parameters)
}

/// The graph: its steps by number, and which digest has which number.
pub(super) fn build_config(details: &Details) -> Value {
    let number = |digest| details.steps.iter().position(|step| step.digest == digest);
    let input =
        |(digest, index): &(_, u32)| number(*digest).map(|number| json!(format!("step{number}:{index}")));
    let steps = details.steps.iter().enumerate().map(|(number, step)| {
        let inputs: Vec<Value> = step.inputs.iter().filter_map(input).collect();
        match inputs.is_empty() {
            true => json!({ "id": format!("step{number}"), "op": step.op }),
            false => json!({ "id": format!("step{number}"), "op": step.op, "inputs": inputs }),
        }
    });
    let steps: Vec<Value> = steps.collect();
    let mut mapping: Vec<_> =
        details.steps.iter().enumerate().map(|(number, step)| (step.digest.to_string(), number)).collect();
    mapping.sort();
    let mapping: Map<_, _> =
        mapping.into_iter().map(|(digest, number)| (digest, json!(format!("step{number}")))).collect();
    json!({ "llbDefinition": steps, "digestMapping": mapping })
}

fn metadata(provenance: &Provenance, mode: Mode) -> Value {
    let mut metadata = Map::new();
    if let Some((started, finished)) = &provenance.times {
        metadata.insert("startedOn".to_owned(), json!(started));
        metadata.insert("finishedOn".to_owned(), json!(finished));
    }
    metadata.insert("buildkit_metadata".to_owned(), extensions(provenance, mode));
    if provenance.is_hermetic() {
        metadata.insert("buildkit_hermetic".to_owned(), json!(true));
    }
    let complete = json!({
        "request": provenance.has_whole_request(mode),
        "resolvedDependencies": provenance.has_all_dependencies(),
    });
    metadata.insert("buildkit_completeness".to_owned(), complete);
    if provenance.reproducible {
        metadata.insert("buildkit_reproducible".to_owned(), json!(true));
    }
    Value::Object(metadata)
}

/// BuildKit's own metadata: the repository, and for mode `max` the files that the steps come from and the layers.
pub(super) fn extensions(provenance: &Provenance, mode: Mode) -> Value {
    let mut extensions = Map::new();
    if !provenance.vcs.is_empty() {
        extensions.insert("vcs".to_owned(), json!(provenance.vcs));
    }
    if mode == Mode::Max {
        let details = &provenance.details;
        extensions.insert("source".to_owned(), source(details));
        if let Some((digest, index, layers)) = &details.layers
            && let Some(number) = details.steps.iter().position(|step| step.digest == *digest)
        {
            extensions.insert("layers".to_owned(), json!({ format!("step{number}:{index}"): [layers] }));
        }
    }
    Value::Object(extensions)
}

fn source(details: &Details) -> Value {
    let mut locations = Map::new();
    for (number, step) in details.steps.iter().enumerate() {
        if let Some(location) = details.locations.get(&step.digest) {
            locations.insert(format!("step{number}"), location.clone());
        }
    }
    let infos = details.sources.iter().map(|file| {
        let data = STANDARD.encode(redact::text(&file.text));
        json!({ "filename": file.filename, "language": file.language, "data": data })
    });
    json!({ "locations": locations, "infos": infos.collect::<Vec<_>>() })
}
