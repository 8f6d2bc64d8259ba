//! Every case of tests/differential/outputs gives the outputs that the reference gives: files, archives, layouts.
//!
//! How an output is described is written here and, independently, in `scripts/differential-outputs`, which records the
//! expectations; a change to one needs the same change to the other.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use flate2::read::GzDecoder;
use gantry_testkit::GantryCommand;
use serde_json::{Map, Value, json};

/// Times between these are `now`.
const NOW: std::ops::Range<i64> = 1_600_000_000..3_786_912_000;
/// The same, as they are written in documents.
const NOW_TEXT: std::ops::Range<&str> = "2020-09".."2090";
const CREATED: &str = "org.opencontainers.image.created";

#[test]
fn root_outputs_are_as_with_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential/outputs");
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    let (cases, expected) = (read("cases.json"), read("expected.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), expected.as_object().unwrap().len(), "a case was not recorded");
    let gantry = GantryCommand::new(env!("CARGO_BIN_EXE_gantry"));
    let mut report = String::new();
    for case in cases {
        let name = text(&case["name"]);
        if let Err(difference) = check(case, &expected[name], &gantry) {
            writeln!(report, "\n{name}: {}\n{difference}", text(&case["about"])).unwrap();
        }
    }
    assert_eq!(report, "");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(text).collect()
}

fn check(case: &Value, expected: &Value, gantry: &GantryCommand) -> Result<(), String> {
    let scratch = tempfile::tempdir().unwrap();
    let work = scratch.path().join("work");
    let context = work.join("context");
    fs::create_dir_all(&context).unwrap();
    let script = format!("set -eu; umask 022\n{}", texts(&case["setup"]).join("\n"));
    assert!(Command::new("sh").args(["-c", &script]).current_dir(&context).status().unwrap().success());
    fs::write(work.join("Dockerfile"), text(&case["dockerfile"])).unwrap();
    let line = ["build", "--progress=plain"].into_iter().chain(texts(&case["arguments"]));
    let line = line.chain(["--file=Dockerfile", "context"]);
    let done = gantry.command(line).current_dir(&work).output().unwrap();
    if done.status.success() == (case["fails"] == true) {
        return Err(format!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr)));
    }
    fs::write(work.join("stdout"), &done.stdout).unwrap();
    let outputs = case["outputs"].as_object().unwrap().iter().map(|(name, how)| {
        let path = work.join(name);
        let described = match text(how) {
            "files" => files(&path),
            "tar" => entries(fs::File::open(path).unwrap()).into(),
            _ => layout(&path),
        };
        (name.clone(), described)
    });
    let found = Value::from(outputs.collect::<Map<_, _>>());
    match found == *expected {
        true => Ok(()),
        false => Err(differences(expected, &found)),
    }
}

/// The lines that only one of them has.
fn differences(expected: &Value, found: &Value) -> String {
    let lines = |value: &Value| -> Vec<String> {
        serde_json::to_string_pretty(value).unwrap().lines().map(str::to_owned).collect()
    };
    let (expected, found) = (lines(expected), lines(found));
    let only = |these: &[String], others: &[String], mark: &str| -> String {
        let lines = these.iter().filter(|line| !others.contains(line));
        lines.map(|line| format!("  {mark} {}\n", line.trim())).collect()
    };
    let differing = only(&expected, &found, "-") + &only(&found, &expected, "+");
    if differing.is_empty() { format!("the order differs: {found:#?}") } else { differing }
}

/// A line for each file of a directory, itself included.
fn files(top: &Path) -> Value {
    let mut listed = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let owner = format!("{}:{}", metadata.uid(), metadata.gid());
        let time = match path == top {
            true => "-".to_owned(),
            false => time(metadata.mtime(), metadata.mtime_nsec()),
        };
        let mut line = format!("{} {owner} {time}", mode(&metadata));
        if kind.is_symlink() {
            write!(line, " {}", fs::read_link(&path).unwrap().display()).unwrap();
        } else if kind.is_file() {
            let content = fs::read_to_string(&path).unwrap();
            write!(line, " {} {}", metadata.nlink(), content.trim()).unwrap();
        } else if kind.is_char_device() {
            let device = metadata.rdev();
            write!(line, " {},{}", major(device), minor(device)).unwrap();
        }
        let name = path.strip_prefix(top).unwrap().display().to_string();
        listed.insert(if name.is_empty() { ".".to_owned() } else { name }, line);
    }
    json!(listed)
}

fn major(device: u64) -> u64 {
    (device >> 8) & 0xfff
}

fn minor(device: u64) -> u64 {
    (device & 0xff) | ((device >> 12) & 0xfff00)
}

/// As `ls` shows it.
fn mode(metadata: &fs::Metadata) -> String {
    let (kind, mode) = (metadata.file_type(), metadata.mode());
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_fifo() => 'p',
        () if kind.is_char_device() => 'c',
        () => '-',
    };
    let mut shown = letter.to_string();
    for (shift, special, with, without) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        shown.push(if bits & 4 == 0 { '-' } else { 'r' });
        shown.push(if bits & 2 == 0 { '-' } else { 'w' });
        shown.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    shown
}

fn time(seconds: i64, nanoseconds: i64) -> String {
    if NOW.contains(&seconds) {
        return "now".to_owned();
    }
    let text = format!("{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A line for each entry of an archive.
fn entries(archive: impl Read) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let line = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        // Times before 1970 are in records of their own.
        let recorded = entry.pax_extensions().unwrap().and_then(|mut records| {
            records.find_map(|record| {
                let record = record.unwrap();
                (record.key() == Ok("mtime")).then(|| record.value().unwrap().parse::<i64>().unwrap())
            })
        });
        let header = entry.header();
        let seconds = recorded.unwrap_or_else(|| i64::try_from(header.mtime().unwrap()).unwrap());
        let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
        let line = format!(
            "{} {} {:04o} {}:{} {} {link}",
            entry.path().unwrap().display(),
            char::from(header.entry_type().as_byte()),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            time(seconds, 0),
        );
        line.trim_end().to_owned()
    };
    archive.entries().unwrap().map(line).collect()
}

/// The entries of the index with the documents that they name, and what the archive around them is like.
fn layout(path: &Path) -> Value {
    let mut contents = BTreeMap::new();
    let (mut heads, mut others) = (Vec::new(), Vec::new());
    if path.is_dir() {
        read_all(path, path, &mut contents);
        others =
            fs::read_dir(path).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        others.sort();
    } else {
        heads = entries(fs::File::open(path).unwrap());
        heads.retain(|line| !line.contains("sha256/"));
        let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            contents.insert(name, bytes);
        }
    }
    let index: Value = serde_json::from_slice(&contents["index.json"]).unwrap();
    let described = |entry| described(entry, &contents);
    let described: Vec<_> = index["manifests"].as_array().unwrap().iter().map(described).collect();
    let mut result = json!({ "heads": heads, "others": others, "entries": described });
    if let Some(manifest) = contents.get("manifest.json") {
        let manifest: Value = serde_json::from_slice(manifest).unwrap();
        let layers = manifest[0]["Layers"].as_array().unwrap().len();
        result["docker"] = json!([manifest[0]["RepoTags"], layers]);
    }
    result
}

fn read_all(top: &Path, directory: &Path, contents: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_all(top, &path, contents),
            false => {
                let name = path.strip_prefix(top).unwrap().display().to_string();
                contents.insert(name, fs::read(path).unwrap());
            }
        }
    }
}

/// A descriptor with what it names, without digests and sizes.
fn described(descriptor: &Value, contents: &BTreeMap<String, Vec<u8>>) -> Value {
    let content = &contents[&format!("blobs/{}", text(&descriptor["digest"]).replace(':', "/"))];
    let kind = text(&descriptor["mediaType"]);
    let mut annotations = map_of(&descriptor["annotations"]);
    if let Some(created) = annotations.get_mut(CREATED) {
        *created = moment(created);
    }
    let mut result = json!({ "type": kind, "annotations": annotations });
    if let Some(platform) = descriptor.get("platform") {
        result["platform"] = platform.clone();
    }
    if kind.contains("tar") {
        result["layer"] = layer(content).into();
        return result;
    }
    let document: Value = serde_json::from_slice(content).unwrap();
    if document.get("rootfs").is_some() {
        let history = document["history"].as_array().into_iter().flatten();
        result["created"] = moment(&document["created"]);
        result["history"] = history.map(|entry| moment(&entry["created"])).collect();
        result["labels"] = map_of(&document["config"]["Labels"]).into();
        return result;
    }
    result["document"] =
        json!({ "type": document["mediaType"], "annotations": map_of(&document["annotations"]) });
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let config = document.get("config").cloned();
    let parts = config.into_iter().chain(list("layers")).chain(list("manifests"));
    result["parts"] = parts.map(|part| described(&part, contents)).collect();
    result
}

fn map_of(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn moment(time: &Value) -> Value {
    match time.as_str() {
        Some(text) if NOW_TEXT.contains(&text) => "now".into(),
        _ => time.clone(),
    }
}

fn layer(blob: &[u8]) -> Vec<String> {
    let (name, entries) = match blob {
        [0x1f, 0x8b, ..] => ("gzip", entries(GzDecoder::new(blob))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", Vec::new()),
        _ => ("tar", entries(blob)),
    };
    [name.to_owned()].into_iter().chain(entries).collect()
}
