//! Archives unpacked as ADD does it, down to what the reference does with odd ones.

use super::*;
use crate::{extract_archive, is_archive};

#[test]
fn archives_are_added_with_an_owner_and_without_whiteouts() {
    let user = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let foreign = Entry { uid: 4_000_000, gid: 4_000_000, ..file("sub/.wh.kept") };
    let tar = archive(&[
        dir("./"),
        foreign,
        symbolic("up", "/etc"),
        dir("etc"),
        file("up/inside"),
        hard("twin", "sub/.wh.kept"),
    ]);
    let tree = Tree::new();
    tree.dir("real").link("/real", "opt");
    let done = extract_archive(&*tar, tree.root(), "/opt/app/", Some(user)).unwrap();
    assert_eq!(done.entries, 6);
    let stat = |name: &str| fs::symlink_metadata(tree.path(name)).unwrap();
    assert_eq!((stat("real/app/sub/.wh.kept").uid(), stat("real/app/sub/.wh.kept").gid()), user);
    assert_eq!(stat("real/app/twin").ino(), stat("real/app/sub/.wh.kept").ino());
    assert_eq!(fs::read(tree.path("real/app/etc/inside")).unwrap(), b"bytes", "links end in the destination");
    assert!(!tree.path("etc").exists());
}

#[test]
fn archives_are_added_whatever_their_compression() {
    let tar = archive(&[file("f")]);
    for compression in [Compression::None, Compression::GZIP, Compression::ZSTD] {
        let mut packed = Vec::new();
        crate::compression::compress(compression, &mut packed, |sink| {
            sink.write_all(&tar).map_err(LayerError::Output)
        })
        .unwrap();
        let tree = Tree::new();
        extract_archive(&*packed, tree.root(), "", None).unwrap();
        assert_eq!(fs::read(tree.path("f")).unwrap(), b"bytes", "{compression:?}");
    }
}

/// What is at a path of the tree after an archive with these entries was unpacked into its `dest`.
fn added(tree: &Tree, entries: &[Entry], path: &str) -> Result<fs::Metadata, String> {
    extract_archive(&*archive(entries), tree.root(), "dest", None).map_err(|error| error.to_string())?;
    fs::symlink_metadata(tree.path(path)).map_err(|error| error.to_string())
}

#[test]
fn the_destination_is_the_root_of_an_archive() {
    for (name, path) in
        [("../../f", "dest/f"), ("/abs/f", "dest/abs/f"), ("a/../../f", "dest/f"), ("./a//f", "dest/a/f")]
    {
        let tree = Tree::new();
        assert!(added(tree.dir("dest"), &[file(name)], path).unwrap().is_file(), "{name}");
    }
    let linked = Tree::new();
    let entries = [dir("real"), symbolic("link", "/real"), file("link/f"), hard("h", "../../link/f")];
    assert_eq!(added(&linked, &entries, "dest/real/f").unwrap().nlink(), 2);
}

#[test]
fn a_link_that_leads_nowhere_is_no_directory() {
    for path in ["link/f", "link/deeper/f"] {
        assert!(added(&Tree::new(), &[symbolic("link", "none"), file(path)], "dest/none").is_err(), "{path}");
    }
}

#[test]
fn an_archive_describes_its_destination_by_the_root_only() {
    for (name, changed) in [(".", false), ("./", false), ("a/..", false), ("/", true), ("..", true)] {
        let tree = Tree::new();
        tree.dir("dest");
        let before = fs::metadata(tree.path("dest")).unwrap().mode() & 0o7777;
        let mode = added(&tree, &[Entry { mode: 0o711, ..dir(name) }], "dest").unwrap().mode() & 0o7777;
        assert_eq!(mode, if changed { 0o711 } else { before }, "{name}");
    }
    assert!(added(&Tree::new(), &[file("/")], "dest").is_err(), "a file cannot take its place");
}

#[test]
fn times_out_of_bounds_are_the_epoch() {
    for (seconds, expected) in [(-5, 0), (7, 7), (9_223_372_036, 9_223_372_036), (9_223_372_037, 0)] {
        let mtime = Time { seconds, nanoseconds: 0 };
        for entry in [file("f"), dir("f"), symbolic("f", "x")] {
            let found = added(&Tree::new(), &[Entry { mtime, ..entry }], "dest/f").unwrap().mtime();
            // Some file systems know no later times than these.
            assert!(found == expected || expected > i64::from(u32::MAX), "{seconds} became {found}");
        }
    }
}

#[test]
fn directories_on_the_way_inherit_as_others_do() {
    let tree = Tree::new();
    tree.dir("dest");
    fs::set_permissions(tree.path("dest"), fs::Permissions::from_mode(0o2755)).unwrap();
    assert_eq!(added(&tree, &[file("a/f")], "dest/a").unwrap().mode() & 0o7777, 0o2755);
}

#[test]
fn what_follows_the_end_of_an_archive_is_not_read() {
    let mut packed = Vec::new();
    let tar = archive(&[file("f")]);
    crate::compression::compress(Compression::GZIP, &mut packed, |sink| {
        sink.write_all(&tar).and_then(|()| sink.write_all(&[0; 100_000])).map_err(LayerError::Output)
    })
    .unwrap();
    packed.truncate(packed.len() - 12);
    packed.extend(b"no compression at all");
    let tree = Tree::new();
    extract_archive(&*packed, tree.root(), "", None).unwrap();
    assert_eq!(fs::read(tree.path("f")).unwrap(), b"bytes");
}

#[test]
fn an_archive_whose_first_entry_is_refused_is_one() {
    let mut tar = archive(&[file("f")]);
    let mut header = tar::Header::from_byte_slice(&tar[..512]).clone();
    for flag in [b'7', b'S', b'Q'] {
        header.set_entry_type(tar::EntryType::new(flag));
        header.set_cksum();
        tar[..512].copy_from_slice(header.as_bytes());
        assert!(is_archive(&*tar), "{}", char::from(flag));
        assert!(extract_archive(&*tar, Tree::new().root(), "", None).is_err(), "{}", char::from(flag));
    }
    assert!(!is_archive(&[0; 1024][..]), "without an entry it is a file");
}

#[test]
fn files_with_holes_are_added_with_them() {
    let place = tempfile::tempdir().unwrap();
    let sparse = File::create(place.path().join("f")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 1 << 20).unwrap();
    for version in ["0.0", "0.1", "1.0"] {
        let packed = std::process::Command::new("tar")
            .args(["--sparse", "--format=posix", "--sparse-version", version, "-cf", "-", "f"])
            .current_dir(place.path())
            .output()
            .unwrap()
            .stdout;
        assert!(packed.len() < 1 << 20, "{version}: tar did not see the holes");
        let tree = Tree::new();
        extract_archive(&*packed, tree.root(), "", None).unwrap();
        let found = fs::read(tree.path("f")).unwrap();
        assert!(found == fs::read(place.path().join("f")).unwrap(), "{version}");
        let blocks = fs::metadata(tree.path("f")).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{version}: {blocks} blocks are written");
        let scanned = crate::scan_layer(&*packed, crate::Limits::default());
        assert!(scanned.unwrap_err().to_string().contains("sparse"), "{version}: in a layer it is refused");
    }
}

#[test]
fn an_archive_with_nothing_but_a_global_header_is_one() {
    let tar = archive(&[]);
    assert!(!is_archive(&*tar), "without an entry it is a file");
    let record = b"52 comment=0123456789abcdef0123456789abcdef01234567\n";
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XGlobalHeader);
    header.set_size(record.len() as u64);
    header.set_cksum();
    let global = [&header.as_bytes()[..], record, &[0; 512 - 52]].concat();
    for tar in [global.clone(), [global.clone(), tar].concat()] {
        assert!(is_archive(&*tar));
        let tree = Tree::new();
        extract_archive(&*tar, tree.root(), "", None).unwrap();
        assert_eq!(fs::read_dir(tree.root()).unwrap().count(), 0);
    }
    assert!(!is_archive(&global[..600]), "it is cut off");
}
