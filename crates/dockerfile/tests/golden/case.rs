//! One case: its files, its options, and the comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gantry_dockerfile::{
    CachePolicy, Conversion, Converted, Error, ImageInfo, Images, NamedContext, Options, ResolveMode, Ulimit,
    convert,
};
use gantry_llb::{Definition, pattern, pb, protojson};
use gantry_oci::{Digest, ImageConfig};
use serde_json::Value;

/// How often a conversion may ask for more images.
const MAX_ROUNDS: usize = 5;

/// BuildKit prints graphs for the builder's platform, whatever platform the build is for.
const GRAPH_PLATFORM: &str = "linux/amd64";

/// A folder.
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: String,
    path: PathBuf,
}

type Checked = Result<(), String>;

impl Case {
    /// All cases, by name.
    pub(crate) fn all() -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
        let mut cases: Vec<Self> = entries
            .filter(|path| path.is_dir())
            .map(|path| Self { name: path.file_name().unwrap().to_string_lossy().into_owned(), path })
            .collect();
        cases.sort_by(|left, right| left.name.cmp(&right.name));
        cases
    }

    /// Converts and compares.
    pub(crate) fn check(&self) -> Checked {
        let options = self.options();
        let for_graph = Options { platform: GRAPH_PLATFORM.parse().unwrap(), ..options.clone() };
        match (self.text("error.txt"), self.convert(&for_graph)) {
            (Some(expected), Err(error)) => check_refusal(&expected, &error),
            (Some(expected), Ok(_)) => Err(format!("converted, where BuildKit says: {}", expected.trim())),
            (None, Err(error)) => Err(format!("refused: {error} (lines {:?})", error.lines)),
            (None, Ok(converted)) => {
                let (graph, config) = (self.json("llb.json"), self.json("config.json"));
                assert!(graph.is_some() || config.is_some(), "{} compares nothing", self.name);
                if let Some(golden) = graph {
                    let own = &converted.definition;
                    let printed = protojson::definition(own);
                    Graphs { golden: &golden, own, printed: &printed, seen: BTreeSet::new() }.check()?;
                }
                let Some(config) = config else { return Ok(()) };
                check_config(&config, &self.convert(&options).expect("it was converted").config)
            }
        }
    }

    fn convert(&self, options: &Options) -> Result<Box<Converted>, Error> {
        let dockerfile = fs::read(self.path.join("Dockerfile")).unwrap();
        let known: Value = json_of(&self.path.with_file_name("images.json")).unwrap();
        let mut images = Images::default();
        for _ in 0..MAX_ROUNDS {
            match convert(&dockerfile, options, &images)? {
                Conversion::Done(converted) => return Ok(converted),
                Conversion::NeedsImages(requests) => {
                    for request in requests {
                        let image = &known[request.reference.to_string()];
                        let config = image["platforms"][request.platform.to_string()].clone();
                        let config: ImageConfig = serde_json::from_value(config)
                            .unwrap_or_else(|_| panic!("{}: {:?} is not known", self.name, request));
                        let digest = image["index"].as_str().unwrap().parse().unwrap();
                        images.insert(request.reference, request.platform, ImageInfo { digest, config });
                    }
                }
                Conversion::NeedsTime(request) => images.insert_time(request.value, None),
            }
        }
        panic!("{}: asks for images without end", self.name)
    }

    fn options(&self) -> Options {
        let arguments = self.json("args.json").unwrap();
        let platform = arguments["platform"].as_str().unwrap().parse().unwrap();
        let mut options = Options::new(platform, "linux/amd64".parse().unwrap());
        options.session = "SESSION".to_owned();
        let ignored = self.text("Dockerfile.dockerignore").or_else(|| self.text(".dockerignore"));
        options.exclude = pattern::read_ignore_file(&ignored.unwrap_or_default()).unwrap();
        let words: Vec<&str> =
            arguments["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let mut words = words.into_iter();
        while let Some(flag) = words.next() {
            match flag {
                "--no-cache" => {
                    options.cache = CachePolicy::Ignore;
                    continue;
                }
                "--pull" => {
                    options.pull = ResolveMode::Pull;
                    continue;
                }
                _ => {}
            }
            set_option(&mut options, flag, words.next().expect("the flag has a value"));
        }
        options
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path.join(name)).ok()
    }

    fn json(&self, name: &str) -> Option<Value> {
        json_of(&self.path.join(name))
    }
}

fn json_of(path: &Path) -> Option<Value> {
    Some(serde_json::from_slice(&fs::read(path).ok()?).unwrap())
}

fn set_option(options: &mut Options, flag: &str, value: &str) {
    let pair =
        |separator| value.split_once(separator).map(|(left, right)| (left.to_owned(), right.to_owned()));
    match flag {
        "--build-arg" => options.build_args.extend(pair('=')),
        "--label" => options.labels.extend(pair('=')),
        "--target" => options.target = Some(value.to_owned()),
        "--no-cache-filter" => options.cache = CachePolicy::IgnoreStages(vec![value.to_owned()]),
        "--network" => options.run.network = Some(pb::NetMode::None),
        "--add-host" => options.run.extra_hosts.extend(pair(':')),
        "--shm-size" => options.run.shm_size = value.strip_suffix('m').unwrap().parse::<u64>().unwrap() << 20,
        "--ulimit" => {
            let (name, limits) = pair('=').unwrap();
            let (soft, hard) = limits.split_once(':').unwrap();
            let (soft, hard) = (soft.parse().unwrap(), hard.parse().unwrap());
            options.run.ulimits.push(Ulimit { name, soft, hard });
        }
        "--build-context" => {
            let (name, value) = pair('=').unwrap();
            let context = match value.strip_prefix("docker-image://") {
                Some(reference) => NamedContext::Image {
                    reference: reference.parse().unwrap(),
                    written: reference.to_owned(),
                },
                None => NamedContext::Local { shared_key: format!("context:{name}"), exclude: Vec::new() },
            };
            options.contexts.insert(name, context);
        }
        "--cgroup-parent" => value.clone_into(&mut options.run.cgroup_parent),
        "--allow" => {}
        other => panic!("what is {other}?"),
    }
}

/// The line has to be BuildKit's where it names one; the words need not.
fn check_refusal(expected: &str, error: &Error) -> Checked {
    let line = expected.split_once("on line ").and_then(|(_, rest)| rest.split_once(':'));
    let line: Option<u32> = line.map(|(line, _)| line.parse().unwrap());
    if line.is_some_and(|line| *error.lines.start() != line) {
        return Err(format!("refused on lines {:?}: {error}; BuildKit: {expected}", error.lines));
    }
    let suggested = expected.split_once("did you mean ").and_then(|(_, rest)| rest.split_once('?'));
    match suggested {
        Some((word, _)) if !error.hints.iter().any(|hint| hint.contains(&format!("`{word}`"))) => {
            Err(format!("does not suggest `{word}` but {:?}", error.hints))
        }
        _ => Ok(()),
    }
}

fn check_config(golden: &Value, own: &ImageConfig) -> Checked {
    let mut golden = golden.clone();
    let layers = golden.as_object_mut().unwrap().remove("_layers").unwrap();
    let mut own = own.clone();
    for entry in &mut own.history {
        entry.created = None;
    }
    let own_layers = own.history.iter().filter(|entry| !entry.empty_layer).count();
    let mut own = serde_json::to_value(own).unwrap();
    own["rootfs"].as_object_mut().unwrap().remove("diff_ids");
    compare("config", &golden, &own)?;
    compare("layer count", &layers, &own_layers.into())
}

fn compare(what: &str, golden: &Value, own: &Value) -> Checked {
    // Serialised maps of this crate keep their order, the order of members says nothing here.
    let sorted = |value: &Value| serde_json::from_value::<Sorted>(value.clone()).unwrap();
    if sorted(golden) == sorted(own) {
        return Ok(());
    }
    Err(format!("{what}\n  BuildKit {golden}\n  own      {own}"))
}

#[derive(serde::Deserialize, PartialEq)]
#[serde(untagged)]
enum Sorted {
    Map(BTreeMap<String, Self>),
    List(Vec<Self>),
    Leaf(Value),
}

/// Two graphs, walked side by side from their roots.
struct Graphs<'a> {
    golden: &'a Value,
    own: &'a Definition,
    printed: &'a Value,
    seen: BTreeSet<String>,
}

impl Graphs<'_> {
    fn check(&mut self) -> Checked {
        let kinds = ["exec", "source", "file", "merge"];
        let vertices = self.golden["def"].as_object().unwrap();
        let last = vertices.iter().find(|(_, op)| kinds.iter().all(|kind| op.get(kind).is_none()));
        let root = last.and_then(|(_, op)| op["inputs"][0]["digest"].as_str());
        if let Some((last, _)) = last {
            let own = self.printed["metadata"].as_object().unwrap();
            let same = own.values().any(|metadata| *metadata == self.golden["metadata"][last]);
            assert!(same, "the last element has its capabilities");
        }
        match (root, self.own.root()) {
            (Some(golden), Some(own)) => self.vertex(golden, own.vertex).map(drop),
            (None, None) => Ok(()),
            (golden, own) => Err(format!("root {golden:?} is {own:?}")),
        }?;
        let (golden, own) = (vertices.len().saturating_sub(1), self.own.vertices().len());
        if root.is_some() && golden != own {
            return Err(format!("BuildKit has {golden} vertices, we have {own}"));
        }
        Ok(())
    }

    /// Whether a local directory is below.
    fn vertex(&mut self, golden: &str, own: Digest) -> Result<bool, String> {
        let op = &self.golden["def"][golden];
        let vertex = self.own.vertex(&own).unwrap();
        let mut is_local =
            op["source"]["identifier"].as_str().is_some_and(|identifier| identifier.starts_with("local://"));
        let inputs = op["inputs"].as_array().cloned().unwrap_or_default();
        let first = self.seen.insert(golden.to_owned());
        if first {
            let without_inputs = |op: &Value| {
                let mut op = op.clone();
                op.as_object_mut().unwrap().remove("inputs");
                op
            };
            let printed = &self.printed["def"][own.to_string()];
            compare(vertex.name(), &without_inputs(op), &without_inputs(printed))?;
            self.metadata(golden, own)?;
        }
        if inputs.len() != vertex.inputs.len() {
            return Err(format!(
                "`{}` has {} inputs, not {}",
                vertex.name(),
                vertex.inputs.len(),
                inputs.len()
            ));
        }
        for (input, edge) in inputs.iter().zip(&vertex.inputs) {
            is_local |= self.vertex(input["digest"].as_str().unwrap(), edge.vertex)?;
        }
        if !is_local && own.to_string() != golden {
            return Err(format!("`{}` has another digest, but no other content", vertex.name()));
        }
        Ok(is_local)
    }

    /// The id of a progress group is another one each time.
    fn metadata(&self, golden: &str, own: Digest) -> Checked {
        let without_id = |metadata: &Value| {
            let mut metadata = metadata.clone();
            if let Some(group) = metadata.get_mut("progress_group") {
                group.as_object_mut().unwrap().remove("id");
            }
            metadata
        };
        let own = without_id(&self.printed["metadata"][own.to_string()]);
        compare("metadata", &without_id(&self.golden["metadata"][golden]), &own)
    }
}
