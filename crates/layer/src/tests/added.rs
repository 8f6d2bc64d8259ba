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
    /// The last second whose nanoseconds are a 64-bit number.
    const LAST: i64 = 9_223_372_036;
    // Some file systems know no such late times, and take the last that they know.
    let probe = Tree::new();
    settle(probe.root(), LAST);
    let latest = fs::metadata(probe.root()).unwrap().mtime();
    for (seconds, expected) in [(-5, 0), (7, 7), (LAST, latest), (LAST + 1, 0)] {
        let mtime = Time { seconds, nanoseconds: 0 };
        for entry in [file("f"), dir("f"), symbolic("f", "x")] {
            let found = added(&Tree::new(), &[Entry { mtime, ..entry }], "dest/f").unwrap().mtime();
            assert_eq!(found, expected, "{seconds}");
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

/// An extended header with these records.
fn extended(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let length = (1..).find(|length: &usize| {
            *length == length.to_string().len() + " =\n".len() + key.len() + value.len()
        });
        data.extend(format!("{} {key}={value}\n", length.unwrap()).into_bytes());
    }
    raw(b'x', "PaxHeaders/f", &data)
}

/// One entry as it is, with its content.
fn raw(flag: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_entry_type(tar::EntryType::new(flag));
    header.set_cksum();
    let mut bytes = [header.as_bytes(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A map in front of the data: whole blocks.
fn in_front(map: &str, data: &[u8]) -> Vec<u8> {
    let mut content = map.as_bytes().to_vec();
    content.resize(content.len().next_multiple_of(512), 0);
    [&content, data].concat()
}

/// The keys and values of an extended header.
type Records = Vec<(&'static str, &'static str)>;

/// The records and the content of a file of 3 MiB that has `data` at 1 MiB, in all forms.
fn with_holes(data: &str) -> [(Records, Vec<u8>); 3] {
    let (size, map) = ("3145728", "1048576,13,3145728,0");
    let pairs = [
        ("GNU.sparse.offset", "1048576"),
        ("GNU.sparse.numbytes", "13"),
        ("GNU.sparse.offset", size),
        ("GNU.sparse.numbytes", "0"),
    ];
    let version = |major, minor| vec![("GNU.sparse.major", major), ("GNU.sparse.minor", minor)];
    [
        ([&[("GNU.sparse.size", size), ("GNU.sparse.numblocks", "2")][..], &pairs].concat(), data.into()),
        (vec![("GNU.sparse.size", size), ("GNU.sparse.map", map), ("GNU.sparse.name", "f")], data.into()),
        (
            [version("1", "0"), vec![("GNU.sparse.realsize", size), ("GNU.sparse.name", "f")]].concat(),
            in_front("2\n1048576\n13\n3145728\n0\n", data.as_bytes()),
        ),
    ]
}

#[test]
fn files_with_holes_are_added_with_them() {
    for (records, content) in with_holes("in the middle") {
        let packed = [extended(&records), raw(b'0', "f", &content), vec![0; 1024]].concat();
        let tree = Tree::new();
        extract_archive(&*packed, tree.root(), "", None).unwrap();
        let mut expected = vec![0; 3 << 20];
        expected[1 << 20..][..13].copy_from_slice(b"in the middle");
        assert!(fs::read(tree.path("f")).unwrap() == expected, "{records:?}");
        let scanned = crate::scan_layer(&*packed, crate::Limits::default());
        assert!(scanned.unwrap_err().to_string().contains("sparse"), "{records:?}: in a layer it is refused");
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

#[test]
fn records_about_holes_rename_nothing_else() {
    let rows: [&[(&str, &str)]; 3] = [
        &[("GNU.sparse.name", "other")],
        &[("GNU.sparse.name", "other"), ("GNU.sparse.major", "9")],
        &[("GNU.sparse.name", "other"), ("GNU.sparse.realsize", "5")],
    ];
    for records in rows {
        for flag in [b'0', b'5'] {
            let packed = [extended(records), raw(flag, "f", b""), vec![0; 1024]].concat();
            let tree = Tree::new();
            extract_archive(&*packed, tree.root(), "", None).unwrap();
            assert!(tree.path("f").exists() && !tree.path("other").exists(), "{records:?}");
            let scanned = crate::scan_layer(&*packed, crate::Limits::default());
            assert!(scanned.unwrap_err().to_string().contains("sparse"), "{records:?} in a layer");
        }
    }
    let directory = [extended(&[("GNU.sparse.map", "0,0")]), raw(b'5', "f", b""), vec![0; 1024]].concat();
    assert!(extract_archive(&*directory, Tree::new().root(), "", None).is_err(), "no directory has holes");
}

#[test]
fn maps_that_claim_too_much_are_refused() {
    let in_front_form = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")];
    for (map, reason) in [
        ("", "no count"),
        ("x\n", "not valid"),
        ("-1\n", "not valid"),
        ("9999999\n", "not valid"),
        ("1\n", "bytes in the map"),
        ("1\n0\n", "bytes in the map"),
        ("1\n8\n9\n", "not valid"),
    ] {
        let content = in_front(map, &[0; 2 << 20]);
        let packed = [extended(&in_front_form), raw(b'0', "f", &content), vec![0; 1024]].concat();
        let error = extract_archive(&*packed, Tree::new().root(), "", None).unwrap_err().to_string();
        assert!(error.contains(reason), "{map:?}: {error}");
    }
}

#[test]
fn files_of_holes_count_as_large_as_they_are() {
    // Four are all that may be unpacked.
    let size = (256_u64 << 30).to_string();
    let records = [("GNU.sparse.size", &*size), ("GNU.sparse.map", "0,0")];
    let files = |count: usize| {
        [[extended(&records), raw(b'0', "f", b"")].concat().repeat(count), vec![0; 1024]].concat()
    };
    let limits = crate::Limits::default();
    for (count, fits) in [(4, true), (5, false)] {
        let target = crate::extract::Target::Merged { owner: None };
        let root = crate::root::Root::open(Tree::new().root()).unwrap();
        let mut extractor = crate::extract::Extractor::new(root, target, limits);
        let packed = files(count);
        let mut archive = crate::tar_reader::TarReader::new(&*packed);
        let mut admitted = Ok(());
        while let (Ok(()), Some(entry)) = (&admitted, archive.next_entry().unwrap()) {
            admitted = extractor.admit(&entry).map(drop);
        }
        assert_eq!(admitted.is_ok(), fits, "{count}: {admitted:?}");
    }
}

#[test]
fn the_last_extended_header_counts_and_gnu_names_before_it() {
    for (parts, expected) in [
        (vec![extended(&[("path", "one")]), extended(&[("path", "two")])], "two"),
        (vec![extended(&[("path", "one")]), extended(&[("comment", "no name")])], "f"),
        (vec![raw(b'L', "long", b"gnu\0"), extended(&[("path", "one")])], "gnu"),
        (vec![extended(&[("path", "one")]), raw(b'L', "long", b"gnu\0")], "gnu"),
    ] {
        let packed = [parts.concat(), raw(b'0', "f", b""), vec![0; 1024]].concat();
        assert_eq!(listing(&packed), [expected]);
    }
}

#[test]
fn root_a_device_in_the_place_of_a_directory_is_not_opened() {
    // No driver has this number, so that opening it fails.
    let device = Entry { kind: Kind::Char(4000, 1), ..file("d") };
    let mtime = Time { seconds: 77, nanoseconds: 0 };
    let found =
        added(&Tree::new(), &[Entry { mtime, ..dir("d/") }, Entry { size: 0, ..device }], "dest/d").unwrap();
    assert_eq!(found.mtime(), 77);
}
