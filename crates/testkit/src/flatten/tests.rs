use std::collections::BTreeMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gantry_oci::{Descriptor, Digest, Index, Manifest, media_type};
use tempfile::TempDir;

use super::{FlatImage, FlatKind, clean, printable};

#[derive(Clone, Copy)]
struct Entry {
    path: &'static [u8],
    kind: tar::EntryType,
    mode: u32,
    link: &'static [u8],
    content: &'static str,
    xattr: Option<(&'static str, &'static [u8])>,
}

const FILE: Entry =
    Entry { path: b"", kind: tar::EntryType::Regular, mode: 0o644, link: b"", content: "", xattr: None };

fn file(path: &'static str, content: &'static str) -> Entry {
    Entry { path: path.as_bytes(), content, ..FILE }
}

fn other(path: &'static str, kind: tar::EntryType, mode: u32) -> Entry {
    Entry { path: path.as_bytes(), kind, mode, ..FILE }
}

fn dir(path: &'static str, mode: u32) -> Entry {
    other(path, tar::EntryType::Directory, mode)
}

fn link(path: &'static str, kind: tar::EntryType, target: &'static str) -> Entry {
    Entry { path: path.as_bytes(), kind, mode: 0o777, link: target.as_bytes(), ..FILE }
}

fn layer(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries {
        if let Some((name, value)) = entry.xattr {
            archive.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(3_000_000_000);
        header.set_gid(7);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_size(entry.content.len() as u64);
        header.as_ustar_mut().unwrap().name[..entry.path.len()].copy_from_slice(entry.path);
        header.as_ustar_mut().unwrap().linkname[..entry.link.len()].copy_from_slice(entry.link);
        header.set_cksum();
        archive.append(&header, entry.content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A layout with one image for `linux/arm/v7`, its odd layers packed.
fn layout(layers: &[Vec<u8>]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let store = |media_type: &str, bytes: &[u8]| {
        let descriptor = Descriptor::of(media_type, bytes);
        std::fs::write(blobs.join(descriptor.digest.hex()), bytes).unwrap();
        descriptor
    };
    let packed = |(index, layer): (usize, &Vec<u8>)| match index % 2 {
        0 => store(media_type::LAYER_TAR, layer),
        _ => {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(layer).unwrap();
            store(media_type::LAYER_GZIP, &gzip.finish().unwrap())
        }
    };
    let descriptors = layers.iter().enumerate().map(packed).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "arm", "variant": "v7", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let manifest = Manifest::new(store(media_type::CONFIG, config.to_string().as_bytes()), descriptors);
    let manifest = store(media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap());
    let index = store(media_type::INDEX, &serde_json::to_vec(&Index::new(vec![manifest])).unwrap());
    let top = serde_json::to_vec(&Index::new(vec![index])).unwrap();
    std::fs::write(folder.path().join("index.json"), top).unwrap();
    folder
}

fn image(layers: &[Vec<u8>]) -> FlatImage {
    let layout = layout(layers);
    let mut images = FlatImage::read(layout.path());
    assert_eq!(images.keys().collect::<Vec<_>>(), ["linux/arm/v7"]);
    images.remove("linux/arm/v7").unwrap()
}

fn names(image: &FlatImage, layers: usize) -> Vec<&str> {
    image.after(layers).keys().map(String::as_str).collect()
}

#[test]
fn whiteouts_concern_lower_layers_only() {
    let lower = layer(&[dir("d", 0o755), file("d/old", ""), file("d/sub/x", ""), file("gone", "")]);
    let cases: [(&str, Vec<Entry>, &[&str]); 6] = [
        ("a file", vec![file(".wh.gone", "")], &["/", "d", "d/old", "d/sub", "d/sub/x"]),
        ("a directory", vec![file("d/.wh.sub", "")], &["/", "d", "d/old", "gone"]),
        ("what is not there", vec![file("d/.wh.none", "")], &["/", "d", "d/old", "d/sub", "d/sub/x", "gone"]),
        (
            "opaque, first",
            vec![dir("d", 0o755), file("d/.wh..wh..opq", ""), file("d/new", "")],
            &["/", "d", "d/new", "gone"],
        ),
        ("opaque, last", vec![file("d/new", ""), file("d/.wh..wh..opq", "")], &["/", "d", "d/new", "gone"]),
        (
            "after its replacement",
            vec![dir("d/sub", 0o700), file("d/.wh.sub", "")],
            &["/", "d", "d/old", "d/sub", "gone"],
        ),
    ];
    for (what, entries, expected) in cases {
        let image = image(&[lower.clone(), layer(&entries)]);
        assert_eq!(names(&image, 2), expected, "{what}");
        assert_eq!(
            names(&image, 1),
            ["/", "d", "d/old", "d/sub", "d/sub/x", "gone"],
            "{what}: the lower layer"
        );
        assert_eq!(names(&image, 0), ["/"], "{what}: no layer");
    }
}

#[test]
fn kinds_replace_each_other_and_directories_merge() {
    let lower =
        layer(&[dir("a", 0o700), file("a/x", ""), file("b", ""), dir("c", 0o755), file("c/kept", "")]);
    let upper = layer(&[file("./a", ""), dir("b/", 0o755), file("b/y", ""), dir("c", 0o711)]);
    let image = image(&[lower, upper]);
    assert_eq!(names(&image, 2), ["/", "a", "b", "b/y", "c", "c/kept"]);
    assert_eq!(image.after(2)["c"].mode, 0o711);
}

#[test]
fn every_kind_keeps_what_it_has() {
    use tar::EntryType as Type;
    let capability =
        Entry { xattr: Some(("security.capability", b"\x01\x00\xff")), ..file("capable", "abc") };
    let entries = [
        capability,
        other("null", Type::Char, 0o666),
        other("loop", Type::Block, 0o4600),
        other("pipe", Type::Fifo, 0o644),
        link("link", Type::Symlink, "/a/b"),
        Entry { path: b"latin\xe9", ..FILE },
    ];
    let image = image(&[layer(&entries)]);
    let tree = image.after(image.layers());
    let kinds: BTreeMap<_, _> = tree.iter().map(|(path, file)| (path.as_str(), &file.kind)).collect();
    assert_eq!(
        kinds["capable"],
        &FlatKind::Regular { size: 3, sha256: Digest::of("abc"), text: Some("abc".to_owned()) }
    );
    assert_eq!(kinds["null"], &FlatKind::Character { major: 1, minor: 3 });
    assert_eq!(kinds["loop"], &FlatKind::Block { major: 1, minor: 3 });
    assert_eq!(kinds["pipe"], &FlatKind::Fifo);
    assert_eq!(kinds["link"], &FlatKind::Symlink { target: "/a/b".to_owned() });
    assert_eq!(
        kinds["latin\\xe9"],
        &FlatKind::Regular { size: 0, sha256: Digest::of(""), text: Some(String::new()) }
    );
    assert_eq!(tree["capable"].xattrs["security.capability"], b"\x01\x00\xff");
    assert_eq!((tree["loop"].mode, tree["loop"].owner), (0o4600, (3_000_000_000, 7)));
}

#[test]
fn only_what_is_short_and_utf_8_is_kept_as_text() {
    let long: &'static str = "x".repeat(1025).leak();
    let image = image(&[layer(&[file("short", &long[1..]), file("long", long)])]);
    let text = |path: &str| match &image.after(1)[path].kind {
        FlatKind::Regular { text, .. } => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text("short").as_deref(), Some(&long[1..]));
    assert_eq!(text("long"), None);
}

#[test]
fn hard_links_are_groups_until_one_is_replaced() {
    let hard = |path, target| link(path, tar::EntryType::Link, target);
    let image = image(&[
        layer(&[file("b", "one"), hard("a", "b"), file("alone", "one")]),
        layer(&[hard("c", "./a")]),
        layer(&[file("a", "two")]),
    ]);
    let groups = |layers| -> Vec<Option<&str>> {
        let tree = image.after(layers);
        ["a", "b", "c", "alone"].map(|name| tree.get(name).and_then(|file| file.hard_link.as_deref())).into()
    };
    assert_eq!(groups(1), [Some("a"), Some("a"), None, None]);
    assert_eq!(groups(2), [Some("a"), Some("a"), Some("a"), None]);
    assert_eq!(groups(3), [None, Some("b"), Some("b"), None]);
}

#[test]
fn an_archive_is_read_like_a_folder() {
    let folder = layout(&[layer(&[file("a", "1")]), layer(&[file("a", "2"), dir(".", 0o711)])]);
    let archive = tempfile::NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(archive.as_file());
    tar.append_dir_all(".", folder.path()).unwrap();
    tar.finish().unwrap();
    let [from_folder, from_archive] =
        [folder.path(), archive.path()].map(|path| FlatImage::read(path).remove("linux/arm/v7").unwrap());
    assert_eq!(from_folder.config, from_archive.config);
    assert_eq!(from_folder.diff_ids().len(), 2);
    for layers in 0..=2 {
        assert_eq!(from_folder.after(layers), from_archive.after(layers));
    }
    assert_eq!(from_folder.after(2)["/"].mode, 0o711);
}

#[test]
fn a_layer_that_is_not_what_the_config_says_is_refused() {
    let folder = layout(&[layer(&[file("a", "1")])]);
    let blobs = folder.path().join("blobs/sha256");
    let digest = Digest::of(layer(&[file("a", "1")]));
    std::fs::write(blobs.join(digest.hex()), layer(&[file("a", "2")])).unwrap();
    let panic = std::panic::catch_unwind(|| FlatImage::read(folder.path())).unwrap_err();
    let message = panic.downcast_ref::<String>().expect("it panics with a sentence");
    assert!(message.contains("does not have its diff id"), "{message}");
}

#[test]
fn paths_have_one_form() {
    for (path, expected) in
        [("./", ""), (".", ""), ("/", ""), ("./a/", "a"), ("/a/b", "a/b"), (".a", ".a"), ("..", "..")]
    {
        assert_eq!(clean(path.as_bytes()), expected, "{path}");
    }
    assert_eq!(printable(b"\xff\xc3\xa9\xe9."), "\\xffé\\xe9.");
}
