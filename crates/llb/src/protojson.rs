//! Definitions as JSON, in the form in which BuildKit prints them (`--call=convertllb,format=json`).
//!
//! ```text
//! { "def": { DIGEST: operation, … }, "metadata": { DIGEST: metadata, … }, "source": sources }
//! ```
//!
//! Operations and sources follow the JSON mapping of protobuf: 64-bit numbers are text, bytes base64, and defaults are
//! left out. The metadata follows the names of the protobuf fields, for in BuildKit that part is a type of Go's.

mod exec;
mod file;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use gantry_oci::Digest;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::definition::Definition;
use crate::members::Members;
use crate::pb;

/// The definition, its last element included, which names the root. One that gives nothing is empty.
pub fn definition(definition: &Definition) -> Value {
    let wire = definition.to_pb();
    let (mut operations, mut all_metadata) = (Map::new(), Map::new());
    for vertex in definition.vertices() {
        operations.insert(vertex.digest.to_string(), operation(&vertex.op));
    }
    if let (Some(root), Some(bytes)) = (definition.root(), wire.def.last()) {
        let input = pb::Input { digest: root.vertex.to_string(), index: root.index.into() };
        let last = pb::Op { inputs: vec![input], ..pb::Op::default() };
        debug_assert_eq!(last.encode_to_vec(), *bytes, "the last element names the root");
        operations.insert(Digest::of(bytes).to_string(), operation(&last));
    }
    for (digest, known) in &wire.metadata {
        all_metadata.insert(digest.clone(), metadata(known));
    }
    json!({ "def": operations, "metadata": all_metadata, "source": source(&definition.source_map()) })
}

fn operation(op: &pb::Op) -> Value {
    let input =
        |input: &pb::Input| Members::default().text("digest", &input.digest).int("index", input.index).done();
    let mut object = Members::default();
    object.value("inputs", list(&op.inputs, input));
    match &op.op {
        Some(pb::op::Op::Exec(exec)) => object.value("exec", Some(exec::exec(exec))),
        Some(pb::op::Op::Source(source)) => object.value("source", Some(source_op(source))),
        Some(pb::op::Op::File(file)) => object.value("file", Some(file::file(file))),
        Some(pb::op::Op::Merge(merge)) => {
            let input = |input: &pb::MergeInput| number("input", input.input);
            object.value("merge", Some(json!({ "inputs": list(&merge.inputs, input) })))
        }
        Some(pb::op::Op::Diff(diff)) => {
            let mut parts = Members::default();
            parts.value("lower", diff.lower.as_ref().map(|lower| number("input", lower.input)));
            parts.value("upper", diff.upper.as_ref().map(|upper| number("input", upper.input)));
            object.value("diff", Some(parts.done()))
        }
        Some(pb::op::Op::Build(build)) => object.value("build", Some(build_op(build))),
        None => &mut object,
    };
    object.value("platform", op.platform.as_ref().map(platform));
    let constraints =
        |constraints: &pb::WorkerConstraints| Members::default().texts("filter", &constraints.filter).done();
    object.value("constraints", op.constraints.as_ref().map(constraints)).done()
}

fn platform(platform: &pb::Platform) -> Value {
    let mut object = Members::default();
    object.text("Architecture", &platform.architecture).text("OS", &platform.os);
    object.text("Variant", &platform.variant).text("OSVersion", &platform.os_version);
    object.texts("OSFeatures", &platform.os_features).done()
}

fn source_op(source: &pb::SourceOp) -> Value {
    let mut object = Members::default();
    object.text("identifier", &source.identifier);
    object.value("attrs", (!source.attrs.is_empty()).then(|| json!(source.attrs))).done()
}

fn build_op(build: &pb::BuildOp) -> Value {
    let inputs: Map<String, Value> =
        build.inputs.iter().map(|(name, input)| (name.clone(), number("input", input.input))).collect();
    let definition = |wire: &pb::Definition| json!({ "def": list(&wire.def, |bytes| json!(BASE64_STANDARD.encode(bytes))) });
    let mut object = Members::default();
    object.int("builder", build.builder);
    object.value("inputs", (!inputs.is_empty()).then_some(Value::Object(inputs)));
    object.value("def", build.def.as_ref().map(definition));
    object.value("attrs", (!build.attrs.is_empty()).then(|| json!(build.attrs))).done()
}

fn metadata(metadata: &pb::OpMetadata) -> Value {
    let group = |group: &pb::ProgressGroup| {
        Members::default().text("id", &group.id).text("name", &group.name).flag("weak", group.weak).done()
    };
    let resources = |resources: &pb::LinuxResources| {
        let mut object = Members::default();
        object.number("memory", resources.memory).number("memorySwap", resources.memory_swap);
        object.value("cpuShares", (resources.cpu_shares != 0).then(|| json!(resources.cpu_shares)));
        object.value("cpuPeriod", (resources.cpu_period != 0).then(|| json!(resources.cpu_period)));
        object.number("cpuQuota", resources.cpu_quota).text("cpusetCpus", &resources.cpuset_cpus);
        object.text("cpusetMems", &resources.cpuset_mems).done()
    };
    let mut object = Members::default();
    object.flag("ignore_cache", metadata.ignore_cache);
    object.value("description", (!metadata.description.is_empty()).then(|| json!(metadata.description)));
    let exported = metadata.export_cache.as_ref();
    object.value("export_cache", exported.map(|cache| Members::default().flag("Value", cache.value).done()));
    object.value("caps", (!metadata.caps.is_empty()).then(|| json!(metadata.caps)));
    object.value("progress_group", metadata.progress_group.as_ref().map(group));
    object.value("linux_resources", metadata.linux_resources.as_ref().map(resources)).done()
}

fn source(source: &pb::Source) -> Value {
    let locations: Map<String, Value> = source
        .locations
        .iter()
        .map(|(digest, at)| {
            let mut object = Members::default();
            (digest.clone(), object.value("locations", list(&at.locations, location)).done())
        })
        .collect();
    let info = |info: &pb::SourceInfo| {
        let mut object = Members::default();
        object.text("filename", &info.filename).text("data", &BASE64_STANDARD.encode(&info.data));
        object.text("language", &info.language).done()
    };
    let mut object = Members::default();
    object.value("locations", (!locations.is_empty()).then_some(Value::Object(locations)));
    object.value("infos", list(&source.infos, info)).done()
}

fn location(location: &pb::Location) -> Value {
    let position = |position: &pb::Position| {
        let mut object = Members::default();
        object.number("line", position.line).number("character", position.character).done()
    };
    let range = |range: &pb::Range| {
        let mut object = Members::default();
        object.value("start", range.start.as_ref().map(position));
        object.value("end", range.end.as_ref().map(position)).done()
    };
    let mut object = Members::default();
    object.number("sourceIndex", location.source_index);
    object.value("ranges", list(&location.ranges, range)).done()
}

fn number(name: &str, number: i64) -> Value {
    Members::default().int(name, number).done()
}

/// The list, unless it is empty.
fn list<T>(items: &[T], value: impl FnMut(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(value).collect())
}
