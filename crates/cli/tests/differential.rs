//! Holds gantry against the reference: for every case of `tests/differential` the image that gantry builds must
//! mean the same as the one BuildKit built when `scripts/differential record` ran.
//!
//! Compared are the flattened file system (types, modes, owners, contents, links, devices, extended attributes),
//! the config and the history, as far as they are not the base image's. How an image becomes `expected.json` is
//! written here and, independently, in that script; a change to one needs the same change to the other. The cases
//! share a store, as the builds of one user do. `DIFFERENTIAL_CASES` names the only ones to run.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gantry_oci::{Digest, Document, ImageConfig};
use gantry_testkit::{
    BaseImages, FakeRegistry, FlatFile, FlatImage, FlatKind, FlatTree, GantryCommand, GitServer, ImageTarget,
    Page, WebServer,
};
use serde_json::{Map, Value, json};

/// Two builds at a time also show whether builds that share a store disturb each other.
const WORKERS: usize = 2;

/// A folder that is not found must not pass for one without differences.
const FEWEST_CASES: usize = 250;

const BASE_IMAGES: [&str; 2] = ["busybox", "debian"];

/// When the files of web servers were modified.
const MODIFIED: &str = "Fri, 14 Jul 2017 02:40:00 GMT";

/// The exit codes of a build that cannot be: a step failed, the Dockerfile is wrong, or something is
/// missing or other than pinned.
const REFUSALS: [i32; 4] = [1, 2, 4, 5];

#[test]
fn root_images_are_those_of_the_reference() {
    let cases: Vec<_> = Case::all().into_iter().filter(|case| !case.network).collect();
    assert!(selected().is_some() || cases.len() >= FEWEST_CASES, "only {} cases were found", cases.len());
    hold(cases);
}

#[test]
fn root_network_the_example_is_that_of_the_reference() {
    let cases: Vec<_> = Case::all().into_iter().filter(|case| case.network).collect();
    assert!(selected().is_some() || !cases.is_empty(), "no case was found");
    hold(cases);
}

/// Builds the cases and panics with all differences.
fn hold(cases: Vec<Case>) {
    let owner = std::fs::metadata("/proc/self").expect("a process has an entry in /proc").uid();
    assert_eq!(owner, 0, "this test makes devices and files of other owners: run it as root");
    let total = cases.len();
    let setting = Setting::new();
    let queue = Mutex::new(cases.into_iter());
    let reports = Mutex::new(BTreeMap::new());
    let work = || {
        let next = || queue.lock().expect("nobody panics while holding it").next();
        while let Some(case) = next() {
            let differences = catch_unwind(AssertUnwindSafe(|| case.differences(&setting)));
            let differences = differences.unwrap_or_else(|panic| vec![message(panic.as_ref())]);
            if !differences.is_empty() {
                let text = format!("{}\n  {}", case.about, differences.join("\n  "));
                reports.lock().expect("nobody panics while holding it").insert(case.name, text);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let reports = reports.into_inner().expect("nobody panics while holding it");
    let text = reports.iter().fold(String::new(), |mut text, (name, report)| {
        let _ = writeln!(text, "\n{name}: {report}");
        text
    });
    assert!(reports.is_empty(), "{} of {total} cases differ from the reference\n{text}", reports.len());
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
}

/// What all cases share.
struct Setting {
    gantry: GantryCommand,
    registry: FakeRegistry,
    /// The digest of busybox's index.
    busybox: Digest,
    /// The base images by their only layer.
    bases: BTreeMap<Digest, String>,
}

impl Setting {
    fn new() -> Self {
        let registry = FakeRegistry::start();
        let images = BaseImages::find();
        let mut bases = BTreeMap::new();
        for name in BASE_IMAGES {
            let repository = format!("library/{name}");
            images.push(name, &registry, &repository, "latest");
            for config in configs(&registry, &repository) {
                let [layer] = config.rootfs.diff_ids[..] else { panic!("{name} has one layer") };
                let platform = config.platform().expect("a base image has a platform");
                bases.insert(layer, format!("{name} {platform}"));
            }
        }
        let (busybox, ..) = registry.manifest("library/busybox", "latest").expect("it was just stored");
        Self { gantry: GantryCommand::new(env!("CARGO_BIN_EXE_gantry")), registry, busybox, bases }
    }

    /// The name of an image's base, and of how many layers and history entries it consists.
    fn base_of(&self, image: &FlatImage) -> (&str, usize) {
        let base = image.diff_ids().first().and_then(|layer| self.bases.get(layer));
        base.map_or(("scratch", 0), |name| (name, 1))
    }
}

/// The configs of all platforms of an image.
fn configs(registry: &FakeRegistry, repository: &str) -> Vec<ImageConfig> {
    let manifest = |reference: &str| {
        let (_, media_type, bytes) = registry.manifest(repository, reference).expect("the image is complete");
        Document::parse(&bytes, Some(&media_type)).expect("a base image is valid")
    };
    let Document::Index(index) = manifest("latest") else { panic!("{repository} has several platforms") };
    let config = |digest: &Digest| {
        let Document::Manifest(manifest) = manifest(&digest.to_string()) else {
            panic!("{digest} is an image")
        };
        let bytes = registry.blob(repository, &manifest.config.digest).expect("the image is complete");
        serde_json::from_slice(&bytes).expect("a config is valid")
    };
    index.manifests.iter().map(|descriptor| config(&descriptor.digest)).collect()
}

/// One case, as `scripts/differential` describes it.
struct Case {
    name: String,
    about: String,
    context: PathBuf,
    expected: Value,
    platforms: Vec<String>,
    arguments: Vec<String>,
    setup: Vec<String>,
    varies: Vec<String>,
    /// Files of the web.
    served: PathBuf,
    /// Repositories by name: the shell lines that make them.
    repositories: Vec<(String, Vec<String>)>,
    network: bool,
}

/// The servers that a case needs.
struct Servers {
    web: Option<WebServer>,
    git: Option<GitServer>,
}

impl Case {
    /// All cases, or those that the environment names.
    fn all() -> Vec<Self> {
        let folder = top().join("tests/differential/cases");
        let names = std::fs::read_dir(&folder).expect("the cases are in the repository").map(|entry| {
            let name = entry.expect("a folder can be listed").file_name();
            name.into_string().expect("cases have plain names")
        });
        let mut names: Vec<_> = names.collect();
        if let Some(selected) = selected() {
            let unknown: Vec<_> = selected.iter().filter(|name| !names.contains(name)).collect();
            assert!(unknown.is_empty(), "there are no cases {unknown:?}");
            names = selected;
        }
        names.sort();
        names.iter().map(|name| Self::read(&folder, name)).collect()
    }

    fn read(folder: &Path, name: &str) -> Self {
        let read = |file: &str| -> Value {
            let path = folder.join(name).join(file);
            let text =
                std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read {name}/{file}: {error}"));
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}/{file} is no JSON: {error}"))
        };
        let case = read("case.json");
        let list = |key: &str| -> Option<Vec<String>> {
            let items = case[key].as_array()?.iter();
            Some(items.map(|item| item.as_str().expect("a list of texts").to_owned()).collect())
        };
        let own_context = folder.join(name).join("context");
        let texts = |value: &Value| -> Vec<String> {
            let items = value.as_array().expect("a list of texts").iter();
            items.map(|item| item.as_str().expect("a list of texts").to_owned()).collect()
        };
        let repositories = case["repositories"].as_object();
        let repositories =
            repositories.into_iter().flatten().map(|(name, lines)| (name.clone(), texts(lines)));
        Self {
            name: name.to_owned(),
            about: case["about"].as_str().expect("a case says what it is about").to_owned(),
            context: case["context"].as_str().map_or(own_context, |path| top().join(path)),
            expected: read("expected.json"),
            platforms: list("platforms").unwrap_or_else(|| vec!["linux/amd64".to_owned()]),
            arguments: list("arguments").unwrap_or_default(),
            setup: list("setup").unwrap_or_default(),
            varies: list("varies").unwrap_or_default(),
            served: folder.join(name).join("served"),
            repositories: repositories.collect(),
            network: case["network"].as_bool().unwrap_or_default(),
        }
    }

    /// One line for each thing that is other than expected.
    fn differences(&self, setting: &Setting) -> Vec<String> {
        let scratch = tempfile::tempdir().expect("a temporary directory can be made");
        let context = scratch.path().join("context");
        self.make_context(&context);
        let archive = scratch.path().join("image.tar");
        let servers = self.servers();
        let output = setting.gantry.run(self.command_line(setting, &servers, &context, &archive));
        if self.expected["fails"] == true {
            let refused = output.status.code().is_some_and(|code| REFUSALS.contains(&code));
            return if refused { Vec::new() } else { vec![format!("it should fail\n{}", output.snapshot())] };
        }
        if !output.status.success() {
            return vec![output.snapshot()];
        }
        let images = FlatImage::read(&archive).into_iter();
        let described = images.map(|(platform, image)| (platform, self.describe(&image, setting)));
        let found = Value::from(described.collect::<Map<_, _>>()).to_string();
        let mut found = found.replace(&setting.registry.host(), "REGISTRY");
        if let Some(web) = &servers.web {
            found = found.replace(web.url("").trim_start_matches("http://"), "WEB");
        }
        if let Some(git) = &servers.git {
            found = found.replace(git.url("").trim_start_matches("git://").trim_end_matches('/'), "GIT");
        }
        compare(&self.expected, &serde_json::from_str(&found).expect("it was JSON before"))
    }

    fn servers(&self) -> Servers {
        let web = self.served.is_dir().then(|| {
            let web = WebServer::start();
            for entry in std::fs::read_dir(&self.served).expect("the case's files can be listed") {
                let entry = entry.expect("a folder can be listed");
                let page = Page::new(std::fs::read(entry.path()).expect("a served file can be read"));
                let name = entry.file_name().into_string().expect("served files have plain names");
                // The address of a blank.
                let path = name.replace(' ', "%20");
                web.put(&format!("/{path}"), page.header("Last-Modified", MODIFIED));
            }
            web
        });
        let git = (!self.repositories.is_empty()).then(|| {
            let git = GitServer::start();
            self.repositories.iter().for_each(|(name, lines)| git.script(name, &lines.join("\n")));
            git
        });
        Servers { web, git }
    }

    fn command_line(
        &self,
        setting: &Setting,
        servers: &Servers,
        context: &Path,
        archive: &Path,
    ) -> Vec<String> {
        let web = servers.web.as_ref().map(|web| web.url("")).unwrap_or_default();
        let git =
            servers.git.as_ref().map(|git| git.url("").trim_end_matches('/').to_owned()).unwrap_or_default();
        let registry = format!("{}/library", setting.registry.host());
        let context = context.to_str().expect("temporary folders have plain names");
        let arguments = self.arguments.iter().map(|argument| {
            let argument = argument.replace("{registry}", &registry).replace("{context}", context);
            let argument = argument.replace("{web}", &web).replace("{git}", &git);
            argument.replace("{busybox_digest}", &setting.busybox.to_string())
        });
        // A context of its own stands last among the arguments.
        let is_context = |argument: &String| argument.starts_with("{web}") || argument.starts_with("{git}");
        let own_context = self.arguments.last().is_some_and(is_context);
        let mut line = vec!["build".to_owned(), format!("--platform={}", self.platforms.join(","))];
        // The reference also makes what we refuse: an image that says one platform and holds another's programs.
        line.push("--verify=report".to_owned());
        line.push(format!("--build-arg=REGISTRY={registry}"));
        line.push(format!("--output=type=oci,dest={}", archive.display()));
        line.extend(arguments);
        if !own_context {
            line.push(context.to_owned());
        }
        line
    }

    /// Copies the context with modes and owners that no checkout changes, then lets the case change them.
    fn make_context(&self, target: &Path) {
        copy(&self.context, target).expect("a context can be copied");
        let script = format!("set -eu; umask 022\n{}", self.setup.join("\n"));
        let done = Command::new("sh").args(["-c", &script]).current_dir(target).output();
        let done = done.expect("there is a shell");
        assert!(done.status.success(), "its set-up failed: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The JSON of one platform's image, as in `expected.json`.
    fn describe(&self, image: &FlatImage, setting: &Setting) -> Value {
        let (base, size) = setting.base_of(image);
        let mut files = changes(image.after(size), image.after(image.layers()));
        for path in &self.varies {
            if let Some(file) = files.get_mut(path).and_then(Value::as_object_mut) {
                file.retain(|key, _| !["size", "sha256", "text"].contains(&key.as_str()));
            }
        }
        let mut config = image.config.clone();
        without_nulls(&mut config);
        let fields = config.as_object_mut().expect("a config is an object");
        fields.retain(|key, _| !["created", "rootfs", "history"].contains(&key.as_str()));
        let history = image.config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        json!({
            "base": base,
            "layers": image.layers() - size,
            "config": config,
            "history": history.iter().skip(size).map(history_entry).collect::<Vec<_>>(),
            "files": files,
        })
    }
}

fn selected() -> Option<Vec<String>> {
    let names = std::env::var("DIFFERENTIAL_CASES").ok()?;
    Some(names.split_whitespace().map(str::to_owned).collect())
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(source: &Path, target: &Path) -> std::io::Result<()> {
    let metadata = source.symlink_metadata()?;
    if metadata.is_symlink() {
        return std::os::unix::fs::symlink(source.read_link()?, target);
    }
    let mode = if metadata.is_dir() || metadata.mode() & 0o100 != 0 { 0o755 } else { 0o644 };
    if metadata.is_dir() {
        std::fs::create_dir(target)?;
        for entry in source.read_dir()? {
            let name = entry?.file_name();
            copy(&source.join(&name), &target.join(&name))?;
        }
    } else {
        std::fs::write(target, std::fs::read(source)?)?;
    }
    std::fs::set_permissions(target, std::fs::Permissions::from_mode(mode))
}

/// The files that differ, as they are after; those that are no more are `"removed"`.
fn changes(before: &FlatTree, after: &FlatTree) -> Map<String, Value> {
    let removed = before.keys().filter(|path| !after.contains_key(*path));
    let changed = after.iter().filter(|(path, file)| before.get(*path) != Some(file));
    let removed = removed.map(|path| (path.clone(), json!("removed")));
    removed.chain(changed.map(|(path, file)| (path.clone(), file_entry(file)))).collect()
}

fn file_entry(file: &FlatFile) -> Value {
    let mut entry = match &file.kind {
        FlatKind::Regular { size, text: Some(text), .. } => {
            json!({"type": "file", "size": size, "text": text})
        }
        FlatKind::Regular { size, sha256, .. } => {
            json!({"type": "file", "size": size, "sha256": sha256.hex()})
        }
        FlatKind::Directory => json!({"type": "directory"}),
        FlatKind::Symlink { target } => json!({"type": "symlink", "target": target}),
        FlatKind::Fifo => json!({"type": "fifo"}),
        FlatKind::Character { major, minor } => {
            json!({"type": "character", "rdev": format!("{major}:{minor}")})
        }
        FlatKind::Block { major, minor } => json!({"type": "block", "rdev": format!("{major}:{minor}")}),
    };
    entry["mode"] = json!(format!("{:04o}", file.mode));
    entry["uid"] = json!(file.owner.0);
    entry["gid"] = json!(file.owner.1);
    if let Some(first) = &file.hard_link {
        entry["hard_link"] = json!(first);
    }
    if !file.xattrs.is_empty() {
        let encoded =
            file.xattrs.iter().map(|(name, value)| (name.clone(), BASE64_STANDARD.encode(value).into()));
        entry["xattrs"] = encoded.collect::<Map<_, _>>().into();
    }
    entry
}

fn history_entry(entry: &Value) -> Value {
    let mut entry = entry.clone();
    let fields = entry.as_object_mut().expect("an entry of a history is an object");
    fields.retain(|key, _| ["created_by", "empty_layer", "comment", "author"].contains(&key.as_str()));
    // How the options are printed differs between versions of BuildKit; the golden conversions hold today's text.
    if fields.get("created_by").and_then(Value::as_str).is_some_and(|text| text.starts_with("HEALTHCHECK ")) {
        fields.insert("created_by".to_owned(), "HEALTHCHECK".into());
    }
    entry
}

/// Absent and null mean the same in a configuration.
fn without_nulls(value: &mut Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(without_nulls);
    }
}

fn compare(expected: &Value, found: &Value) -> Vec<String> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    leaves(expected, "", &mut before);
    leaves(found, "", &mut after);
    let nothing = "nothing".to_owned();
    let additional = after.keys().filter(|path| !before.contains_key(*path));
    let all = before.keys().chain(additional);
    let sides =
        all.map(|path| [path, before.get(path).unwrap_or(&nothing), after.get(path).unwrap_or(&nothing)]);
    let differing = sides.filter(|[_, before, after]| before != after);
    differing.map(|[path, before, after]| format!("{path}: expected {before}, found {after}")).collect()
}

/// The scalars and empty collections of a JSON value, by the keys that lead there.
fn leaves(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(key, field)| leaves(field, &format!("{path} {key}"), into));
        }
        Value::Array(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| leaves(item, &format!("{path} {index}"), into));
        }
        leaf => {
            into.insert(path.trim_start().to_owned(), leaf.to_string());
        }
    }
}
