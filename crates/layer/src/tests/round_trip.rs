//! What is written is read back as it was, and written again as the same bytes.

use std::process::{Command, Stdio};

use super::*;
use crate::write_tree;

const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A tree with everything that a layer can hold.
fn rich() -> Tree {
    let tree = Tree::new();
    let long = "n".repeat(200);
    tree.dir("bin").file("bin/su", "setuid").mode("bin/su", 0o4755).hard_link("bin/su", "bin/sudo");
    tree.file("bin/ping", "caps").xattr("bin/ping", "security.capability", CAPABILITY);
    tree.dir("tmp").mode("tmp", 0o1777).dir("shared").mode("shared", 0o2775);
    tree.dir("etc").whiteout("etc/gone").dir("etc/new").xattr("etc/new", "trusted.overlay.opaque", b"y");
    tree.file("etc/new/empty", "").link("../nowhere", "etc/dangling").hard_link("etc/dangling", "etc/twin");
    tree.file("etc/noted", "x").xattr("etc/noted", "user.note", b"binary\0value\n=");
    tree.file("etc/labelled", "x").xattr("etc/labelled", "trusted.other", b"machine");
    tree.dir("dev").node("dev/null", FileType::CharacterDevice, (1, 3));
    tree.node("dev/disk", FileType::BlockDevice, (8, 1)).node("dev/pipe", FileType::Fifo, (0, 0));
    tree.file(&long, "long name").dir("p".repeat(120)).file(format!("{}/split", "p".repeat(120)), "prefix");
    tree.link(&"t".repeat(300), "long-target").file("sp ace\n\u{e9}", "unicode").file(b"\xff\xfe", "bytes");
    tree.file("owned", "x").owner("owned", 1000, 3_000_000_000).file("big", &"0123456789".repeat(100_000));
    tree.settle(1_600_000_000).file("before-1970", "old");
    settle(&tree.path("before-1970"), -5);
    tree
}

#[test]
fn root_a_rich_tree_survives() {
    let tree = rich();
    let mut diff_ids = Vec::new();
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let options = WriteOptions { compression, ..WriteOptions::default() };
        let (written, blob) = tree.write(&options).unwrap();
        assert_eq!((written.digest, written.size), (Digest::of(&blob), blob.len() as u64), "{compression:?}");

        let back = Tree::new();
        let applied =
            crate::apply_layer(&*blob, back.root(), &written.diff_id, &ApplyOptions::default()).unwrap();
        assert_eq!(applied.tar_size, written.tar_size);
        assert_eq!(applied.extracted.skipped_devices, 0);
        assert_eq!(back.write(&options).unwrap().0, written, "{compression:?}");
        diff_ids.push(written.diff_id);
    }
    diff_ids.dedup();
    assert_eq!(diff_ids.len(), 1, "compression must not change the content");
}

#[test]
fn root_files_come_back_with_all_they_have() {
    let tree = rich();
    let (written, blob) = tree.write(&WriteOptions::default()).unwrap();
    let back = Tree::new();
    crate::apply_layer(&*blob, back.root(), &written.diff_id, &ApplyOptions::default()).unwrap();

    let stat = |name: &str| fs::symlink_metadata(back.path(name)).unwrap();
    for (name, mode) in
        [("bin/su", 0o4755), ("tmp", 0o1777), ("shared", 0o2775), ("dev/null", 0o640), ("dev/pipe", 0o640)]
    {
        assert_eq!(
            stat(name).mode() & 0o7777,
            fs::metadata(tree.path(name)).unwrap().mode() & 0o7777,
            "{name}"
        );
        assert!(name.starts_with("dev") || stat(name).mode() & 0o7777 == mode, "{name}");
    }
    assert_eq!(stat("bin/su").ino(), stat("bin/sudo").ino());
    assert_eq!(stat("etc/dangling").ino(), stat("etc/twin").ino());
    assert_eq!(stat("dev/null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(stat("etc/gone").rdev(), 0);
    assert_eq!((stat("owned").uid(), stat("owned").gid()), (1000, 3_000_000_000));
    assert_eq!((stat("etc").mtime(), stat("bin/su").mtime()), (1_600_000_000, 1_600_000_000));
    assert_eq!(stat("before-1970").mtime(), -5);
    assert_eq!(fs::read(back.path(b"\xff\xfe")).unwrap(), b"bytes");

    let attributes = |name: &str| crate::xattr::names(&back.path(name)).unwrap();
    assert_eq!(attributes("bin/ping"), [b"security.capability".to_vec()]);
    assert_eq!(attributes("etc/new"), [b"trusted.overlay.opaque".to_vec()]);
    assert!(attributes("etc/noted").is_empty(), "archives hold capabilities, as the reference writes them");
    assert!(attributes("etc/labelled").is_empty(), "what describes the machine stays on it");
}

#[test]
fn order_of_creation_does_not_matter() {
    let [one, other] = [false, true].map(|reverse| {
        let tree = Tree::new();
        let mut names: Vec<String> = (0..50).map(|n| format!("file-{}", n * 7919 % 101)).collect();
        names.sort();
        if reverse {
            names.reverse();
        }
        for name in &names {
            tree.file(name, name);
        }
        tree.settle(1_500_000_000).write(&WriteOptions::default()).unwrap().0
    });
    assert_eq!(one, other);
}

#[test]
fn entries_come_in_the_order_of_a_walk() {
    let tree = Tree::new();
    tree.dir("a").file("a/z", "").file("a.txt", "").dir("B").file("b", "").link("b", "c").hard_link("b", "d");
    assert_eq!(tree.listing(None), ["B/", "a/", "a/z", "a.txt", "b", "c -> b", "d -> b"]);
}

#[test]
fn times_are_whole_seconds_and_can_be_clamped() {
    let tree = Tree::new();
    tree.file("old", "").file("new", "");
    for (name, seconds) in [("old", 100), ("new", 300)] {
        let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(999_999_999);
        let times = FileTimes::new().set_modified(time);
        File::options().write(true).open(tree.path(name)).unwrap().set_times(times).unwrap();
    }
    let options = WriteOptions { compression: Compression::None, lower: None, clamp_mtime: Some(200) };
    let (_, tar) = tree.write(&options).unwrap();
    let mut archive = crate::tar_reader::TarReader::new(&*tar);
    for (name, seconds) in [("new", 200), ("old", 100)] {
        let entry = archive.next_entry().unwrap().unwrap();
        assert_eq!((&*entry.name, entry.mtime), (name.as_bytes(), Time { seconds, nanoseconds: 0 }));
    }
}

#[test]
fn times_of_a_whole_tree_are_rounded_or_all_the_same() {
    let tree = Tree::new();
    for (name, nanoseconds) in [("a", 499_999_999), ("b", 500_000_000)] {
        tree.file(name, "");
        let time = UNIX_EPOCH + Duration::new(100, nanoseconds);
        let file = File::options().write(true).open(tree.path(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
    for (epoch, times) in [(None, [100, 101]), (Some(700), [700, 700]), (Some(-7), [-7, -7])] {
        let mut tar = Vec::new();
        write_tree(tree.root(), epoch, &mut tar).unwrap();
        let mut archive = crate::tar_reader::TarReader::new(&*tar);
        for seconds in times {
            let entry = archive.next_entry().unwrap().unwrap();
            assert_eq!(entry.mtime, Time { seconds, nanoseconds: 0 }, "{epoch:?}");
        }
    }
}

#[test]
fn a_file_that_would_delete_another_is_refused() {
    let tree = Tree::new();
    tree.dir("dir").file("dir/.wh.passwd", "mine");
    let error = tree.write(&WriteOptions::default()).unwrap_err();
    assert!(error.to_string().contains("dir/.wh.passwd"), "{error}");

    let mut tar = Vec::new();
    write_tree(tree.root(), None, &mut tar).unwrap();
    assert_eq!(listing(&tar), ["dir/", "dir/.wh.passwd"], "a tree has no whiteouts");
}

#[test]
fn sockets_are_left_out() {
    let tree = Tree::new();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path("socket")).unwrap();
    assert_eq!(tree.file("x", "").listing(None), ["x"]);
}

#[test]
fn root_the_tar_tool_reads_what_is_written() {
    let tree = rich();
    let options = WriteOptions { compression: Compression::None, ..WriteOptions::default() };
    let (_, tar) = tree.write(&options).unwrap();
    let mut tool = Command::new("tar")
        .args(["--list", "--quoting-style=literal", "--show-transformed-names"])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = tool.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || input.write_all(&tar).map(|()| tar));
    let output = tool.wait_with_output().unwrap();
    let tar = feeder.join().unwrap().unwrap();
    assert!(output.status.success());

    let mut ours = Vec::new();
    let mut archive = crate::tar_reader::TarReader::new(&*tar);
    while let Some(entry) = archive.next_entry().unwrap() {
        ours.extend_from_slice(&entry.name);
        ours.push(b'\n');
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&ours));
}

#[test]
fn root_the_index_is_the_same_whichever_way_a_layer_goes() {
    let tree = rich();
    for compression in [Compression::None, Compression::GZIP] {
        let mut blob = Vec::new();
        let options = WriteOptions { compression, ..WriteOptions::default() };
        let written = crate::write_layer(tree.root(), &options, &mut blob).unwrap();
        let back = Tree::new();
        let diff_id = written.digests.diff_id;
        let applied = crate::apply_layer(&*blob, back.root(), &diff_id, &ApplyOptions::default()).unwrap();
        let scanned = crate::scan_layer(&*blob, crate::Limits::default()).unwrap();
        assert_eq!((scanned.diff_id, scanned.tar_size), (diff_id, written.digests.tar_size));
        assert_eq!(scanned.index, written.index);
        assert_eq!(applied.index, written.index);
        assert_eq!(crate::FileTree::merge(&[written.index]).get(b"bin/su").unwrap().mode, 0o4755);
    }
}
