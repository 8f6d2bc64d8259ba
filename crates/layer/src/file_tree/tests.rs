//! The merged view against another implementation of the same rules, and its own corner cases.

use std::collections::{BTreeMap, BTreeSet};

use gantry_testkit::{Entry, FlatImage, FlatKind, ImageBuilder, LayoutDirectory};
use proptest::prelude::*;

use super::*;
use crate::{Limits, Program, scan_layer};

fn indexes(layers: &[Vec<Entry>]) -> Vec<LayerIndex> {
    let builder = layers.iter().fold(ImageBuilder::new("linux/amd64"), |image, layer| image.layer(layer));
    let image = builder.build();
    let blobs = image.blobs.iter().take(layers.len());
    blobs.map(|blob| scan_layer(&**blob, Limits::default()).unwrap().index).collect()
}

fn tree(layers: &[Vec<Entry>]) -> FileTree {
    FileTree::merge(&indexes(layers))
}

fn names(tree: &FileTree) -> Vec<String> {
    tree.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect()
}

/// An action of a layer on a path.
#[derive(Debug, Clone, Copy)]
enum Act {
    File(u8),
    Link,
    Directory,
    Opaque,
    Whiteout,
    HardLink,
}

fn acts() -> impl Strategy<Value = Vec<Vec<(usize, Act)>>> {
    let act = prop_oneof![
        3 => any::<u8>().prop_map(Act::File),
        1 => Just(Act::Link),
        2 => Just(Act::Directory),
        1 => Just(Act::Opaque),
        2 => Just(Act::Whiteout),
        1 => Just(Act::HardLink),
    ];
    proptest::collection::vec(proptest::collection::vec((0..PATHS.len(), act), 0..12), 1..5)
}

/// Directories have names that start with `d`, so that nothing else ever stands in the way of a path.
const PATHS: [&str; 12] =
    ["d0", "d0/d1", "d0/d1/a", "d0/b", "d1", "d1/c", "d1/d2/e", "f", "g", "x", "d0/x", "d1/d2"];

/// A layer as a writer of layers makes it: each path once, parents first, nothing both hidden and there.
fn layer(acts: &[(usize, Act)]) -> Vec<Entry> {
    let unique: BTreeMap<&str, Act> = acts.iter().map(|(path, act)| (PATHS[*path], *act)).collect();
    let kept: BTreeMap<&str, Act> = unique.iter().map(|(path, act)| (*path, *act)).collect();
    let holds = |path: &str| kept.keys().any(|other| other.starts_with(&format!("{path}/")));
    let is_directory = |path: &str| path.rsplit('/').next().unwrap().starts_with('d');
    let mut entries = Vec::new();
    let mut first: Option<&str> = None;
    for (path, act) in &unique {
        match (is_directory(path), act) {
            (_, Act::Whiteout) if !holds(path) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                entries.push(Entry::file(format!("{parent}/.wh.{name}").trim_start_matches('/'), ""));
            }
            (true, Act::Opaque) => {
                entries.push(Entry::dir(path).mode(0o700));
                entries.push(Entry::file(&format!("{path}/.wh..wh..opq"), ""));
            }
            (true, _) => entries.push(Entry::dir(path).mode(0o750).owner(1, 2)),
            (false, Act::Link) => entries.push(Entry::symlink(path, "d0/b")),
            (false, Act::Directory) if *path == "x" => entries.push(Entry::dir(path)),
            (false, Act::HardLink) if first.is_some() => {
                entries.push(Entry::hard_link(path, first.unwrap()));
            }
            (false, _) => {
                let Act::File(byte) = act else { continue };
                first = Some(path);
                entries.push(Entry::file(path, vec![*byte; usize::from(*byte)]).mode(0o600));
            }
        }
    }
    entries
}

/// Type and size or target, mode, owner, and the first name of each file.
type Facts = BTreeMap<String, (String, u32, (u64, u64), String)>;

fn facts_of(tree: &FileTree) -> Facts {
    let mut first_names = BTreeMap::new();
    let mut facts = Facts::new();
    for (path, node) in tree.iter() {
        let path = String::from_utf8(path.to_vec()).unwrap();
        let kind = match &node.kind {
            NodeKind::File(content) => format!("file {}", content.size),
            NodeKind::Symlink(target) => format!("link {}", String::from_utf8_lossy(target)),
            NodeKind::Directory => "directory".to_owned(),
            NodeKind::Special => "special".to_owned(),
        };
        let first = first_names.entry(node.file).or_insert_with(|| path.clone()).clone();
        facts.insert(path, (kind, node.mode, (node.uid.into(), node.gid.into()), first));
    }
    facts
}

fn flattened(layers: &[Vec<Entry>]) -> Facts {
    let directory = tempfile::tempdir().unwrap();
    let target = LayoutDirectory::create(directory.path());
    let builder = layers.iter().fold(ImageBuilder::new("linux/amd64"), |image, layer| image.layer(layer));
    builder.build().push(&target, "image", Some("latest"));
    let images = FlatImage::read(directory.path());
    let image = &images["linux/amd64"];
    let named = image.after(layers.len()).iter().filter(|(path, _)| *path != "/");
    let facts = named.map(|(path, file)| {
        let kind = match &file.kind {
            FlatKind::Regular { size, .. } => format!("file {size}"),
            FlatKind::Symlink { target } => format!("link {target}"),
            FlatKind::Directory => "directory".to_owned(),
            _ => "special".to_owned(),
        };
        let first = file.hard_link.clone().unwrap_or_else(|| path.clone());
        (path.clone(), (kind, file.mode, file.owner, first))
    });
    facts.collect()
}

proptest! {
    #[test]
    fn the_view_is_that_of_the_flattened_layers(acts in acts()) {
        let layers: Vec<_> = acts.iter().map(|acts| layer(acts)).collect();
        prop_assert_eq!(facts_of(&tree(&layers)), flattened(&layers));
    }

    #[test]
    fn merging_what_was_stored_changes_nothing(acts in acts()) {
        let layers: Vec<_> = acts.iter().map(|acts| layer(acts)).collect();
        let indexes = indexes(&layers);
        let stored: Vec<_> =
            indexes.iter().map(|index| LayerIndex::decode(&index.encode().unwrap()).unwrap()).collect();
        prop_assert_eq!(stored, indexes);
    }
}

#[test]
fn links_are_followed_inside_the_root() {
    let tree = tree(&[vec![
        Entry::dir("usr/bin"),
        Entry::symlink("bin", "usr/bin"),
        Entry::file("usr/bin/busybox", "x"),
        Entry::symlink("usr/bin/sh", "/bin/busybox"),
        Entry::symlink("up", "../../../usr/bin/sh"),
        Entry::symlink("loop", "loop/x"),
        Entry::symlink("one", "other"),
        Entry::symlink("other", "one"),
    ]]);
    let resolved =
        |path: &str| tree.resolve(path.as_bytes()).map(|(path, _)| String::from_utf8(path).unwrap());
    for path in ["/bin/sh", "bin/sh", "up", "usr/bin/../bin/./busybox", "bin/../../bin/sh"] {
        assert_eq!(resolved(path).as_deref(), Some("usr/bin/busybox"), "{path}");
    }
    for path in ["loop", "one", "nothing", "bin/nothing", "", "/", ".."] {
        assert_eq!(resolved(path), None, "{path}");
    }
    let listed: Vec<_> = tree.list(b"bin").map(|(path, _)| path).collect();
    assert_eq!(listed, [&b"usr/bin/busybox"[..], b"usr/bin/sh"]);
    assert_eq!(tree.list(b"/").count(), 6);
}

#[test]
fn a_layer_that_writes_through_a_link_writes_behind_it() {
    let tree = tree(&[
        vec![Entry::dir("usr/bin"), Entry::symlink("bin", "usr/bin"), Entry::file("usr/bin/sh", "old")],
        vec![Entry::file("bin/sh", "newer")],
        vec![Entry::file("bin/.wh.sh", ""), Entry::file("bin/ls", "")],
    ]);
    assert_eq!(names(&tree), ["bin", "usr", "usr/bin", "usr/bin/ls"]);
}

#[test]
fn programs_scripts_and_kept_files_are_known() {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[18] = 62;
    let status = "Package: base-files\n".repeat(1000);
    let layers = [
        vec![
            Entry::file("bin/true", &elf),
            Entry::file("bin/cut", b"\x7fEL"),
            Entry::file("bin/run", "#! /usr/bin/env python3 \nprint()\n"),
            Entry::file("var/lib/dpkg/status", "old"),
            Entry::file("var/lib/dpkg/status.d/base", "Package: base\n"),
            Entry::file("var/lib/dpkg/available", "no"),
            Entry::file("usr/lib/os-release", "ID=debian\n"),
            Entry::symlink("etc/os-release", "../usr/lib/os-release"),
        ],
        vec![Entry::file("var/lib/dpkg/status", &status)],
    ];
    let tree = tree(&layers);
    let program = |path: &str| tree.get(path.as_bytes()).unwrap().content().unwrap().program.clone();
    assert!(
        matches!(program("bin/true").as_deref(), Some(Program::Elf(elf)) if elf.architecture() == Some("amd64"))
    );
    assert_eq!(program("bin/run").as_deref(), Some(&Program::Script(b"/usr/bin/env python3".to_vec())));
    assert_eq!(program("bin/cut"), None);
    assert_eq!(tree.kept(b"var/lib/dpkg/status"), Some(status.as_bytes()));
    assert_eq!(tree.kept(b"/etc/os-release"), Some(&b"ID=debian\n"[..]));
    assert_eq!(tree.kept(b"var/lib/dpkg/available"), None);
    assert_eq!(tree.kept(b"var/lib/dpkg/status.d/base"), Some(&b"Package: base\n"[..]));
}

#[test]
fn hostile_archives_are_bounded() {
    let many: Vec<_> = (0..1000).map(|number| Entry::file(&format!("d/{number}"), "")).collect();
    let image = ImageBuilder::new("linux/amd64").layer(&many).build();
    let scan = |limits| scan_layer(&*image.blobs[0], limits).unwrap_err().to_string();
    for (limits, message) in [
        (Limits { entries: 999, ..Limits::default() }, "more than 999 entries"),
        (Limits { names: 4000, ..Limits::default() }, "more than 4000 bytes of names"),
        (Limits { depth: 1, ..Limits::default() }, "more than 1 directories in a path"),
        (Limits { bytes: 100_000, ..Limits::default() }, "more than 100000 bytes"),
    ] {
        let found = scan(limits);
        assert!(found.contains(message), "{found}");
    }
    let nameless = ImageBuilder::new("linux/amd64").layer(&[Entry::file("a/.wh...", "")]).build();
    assert!(scan_layer(&*nameless.blobs[0], Limits::default()).unwrap_err().to_string().contains("no name"));
    let seen: BTreeSet<_> = names(&tree(&[many])).into_iter().collect();
    assert_eq!(seen.len(), 1001);
}

/// The same bytes over and over.
struct Endless {
    bytes: Vec<u8>,
    at: usize,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

#[test]
fn an_archive_without_end_is_given_up() {
    let mut header = tar::Header::new_ustar();
    header.set_path("d/file").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let endless = Endless { bytes: header.as_bytes().to_vec(), at: 0 };
    let error = scan_layer(endless, Limits { entries: 10_000, ..Limits::default() }).unwrap_err();
    assert!(error.to_string().contains("more than 10000 entries"), "{error}");
}
