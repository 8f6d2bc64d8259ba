//! Archives that want something they must not have. Beside every target lies a canary.

use super::*;
use crate::{Limits, extract_archive};

/// A target inside a directory with a canary, and what the target was made of.
struct Cage {
    outside: Tree,
}

impl Cage {
    fn new() -> Self {
        let outside = Tree::new();
        outside.dir("target").file("canary", "alive").dir("room");
        Self { outside }
    }

    fn target(&self) -> PathBuf {
        self.outside.path("target")
    }

    /// Everything outside the target is as it was.
    fn is_intact(&self) -> bool {
        let mut names: Vec<_> =
            fs::read_dir(self.outside.root()).unwrap().map(|child| child.unwrap().file_name()).collect();
        names.sort();
        names == ["canary", "room", "target"]
            && fs::read(self.outside.path("canary")).unwrap() == b"alive"
            && fs::metadata(self.outside.path("canary")).unwrap().nlink() == 1
            && fs::read_dir(self.outside.path("room")).unwrap().next().is_none()
    }

    /// A path from the target's root to something outside, if names were believed.
    fn absolute(&self, name: &str) -> String {
        self.outside.path(name).to_str().unwrap().to_owned()
    }
}

#[test]
fn names_and_links_stay_inside() {
    type Attack = fn(&Cage) -> Vec<Entry>;
    let attacks: [(&str, Attack); 17] = [
        ("parent", |_| vec![file("../canary")]),
        ("parents", |_| vec![file("../../../../../../../../canary")]),
        ("parent behind a directory", |_| vec![dir("a"), file("a/../../canary")]),
        ("dot parent", |_| vec![file("./../canary")]),
        ("absolute", |cage| vec![file(&cage.absolute("canary"))]),
        ("absolute link, then through it", |cage| {
            vec![symbolic("d", &cage.absolute("room")), file("d/f"), dir("d/e"), symbolic("d/l", "x")]
        }),
        ("relative link, then through it", |_| vec![symbolic("d", "../room"), file("d/f")]),
        ("chain of links", |_| {
            vec![symbolic("a", ".."), symbolic("b", "a/room"), symbolic("c", "b"), file("c/f")]
        }),
        ("link as the file itself", |_| vec![symbolic("f", "../canary"), file("f")]),
        ("link as a directory itself", |_| vec![symbolic("d", "../room"), dir("d"), file("d/f")]),
        ("whiteout of the parent's file", |_| vec![empty("../.wh.canary")]),
        ("whiteout through a link", |_| vec![symbolic("d", ".."), empty("d/.wh.canary")]),
        ("opaque through a link", |_| vec![symbolic("d", "../room"), empty("d/.wh..wh..opq")]),
        ("hard link, then write", |_| vec![hard("h", "../canary"), file("h")]),
        ("absolute hard link", |cage| vec![hard("h", &cage.absolute("canary"))]),
        ("hard link through a link", |_| vec![symbolic("d", ".."), hard("h", "d/canary")]),
        ("hard link to a link, then write", |_| {
            vec![symbolic("s", "../canary"), hard("h", "s"), file("h"), file("s")]
        }),
    ];
    for (name, attack) in attacks {
        let cage = Cage::new();
        let tar = archive(&attack(&cage));
        // Some are refused and some are harmless in the root; nothing may get out in either case.
        let _ = apply(&tar, &cage.target(), &ApplyOptions::default());
        assert!(cage.is_intact(), "{name}: layer");
        let _ = extract_archive(&*tar, &cage.target(), "a/dest", None);
        assert!(cage.is_intact(), "{name}: archive");
    }
}

#[test]
fn a_hostile_tree_does_not_lead_an_archive_out() {
    let cage = Cage::new();
    let link = |target: &str, name: &str| symlink(target, cage.target().join(name)).unwrap();
    link(&cage.absolute("room"), "app");
    link("../room", "up");
    for dest in ["app", "/app/sub", "up", "../room", "/../../room"] {
        extract_archive(&*archive(&[file("f")]), &cage.target(), dest, None).unwrap();
        assert!(cage.is_intact(), "{dest}");
    }
}

#[test]
fn refusals_name_the_entry() {
    for (entries, part) in [
        (vec![empty("a/.wh.")], "whiteout of no name"),
        (vec![empty("a/.wh..")], "whiteout of no name"),
        (vec![empty("a/.wh...")], "whiteout of no name"),
        (vec![hard("h", "later"), file("later")], "`later`, which is not in this archive"),
        (vec![hard("h", "usr/bin/below")], "`usr/bin/below`, which is not in this archive"),
        (vec![dir("d"), hard("h", "d")], "hard link to a directory"),
        (vec![file("f"), hard("f", "f")], "to itself"),
        (vec![hard("h", "../..")], "not in this archive"),
        (vec![file("f"), file("f/g")], "one of its directories is a file"),
        (vec![symbolic("l", "l"), file("l/f")], "`l/f`"),
        (vec![file(&"n".repeat(300))], "cannot make"),
        (vec![file(&"d/".repeat(3000))], "more than 400 directories"),
        (vec![Entry { uid: u32::MAX, ..empty("o") }], "owner is not a valid number"),
        // A name of this length goes into an extended header, where a NUL is not the end.
        (vec![file(&format!("\u{1b}[31m\0{}", "n".repeat(100)))], "NUL"),
    ] {
        let cage = Cage::new();
        let error = apply(&archive(&entries), &cage.target(), &ApplyOptions::default()).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert!(cage.is_intact(), "{part}");
    }
}

#[test]
fn overlay_attributes_cannot_be_smuggled_in() {
    let attributes =
        ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.redirect", "user.fine"];
    let xattrs = attributes.iter().map(|name| (name.as_bytes().to_vec(), b"y".to_vec())).collect();
    let tree = Tree::new();
    apply(&archive(&[Entry { xattrs, ..dir("d") }]), tree.root(), &ApplyOptions::default()).unwrap();
    assert_eq!(crate::xattr::names(&tree.path("d")).unwrap(), [b"user.fine".to_vec()]);
}

#[test]
fn the_last_of_several_entries_wins() {
    let (file_then, link_then) = (Tree::new(), Tree::new());
    apply(
        &archive(&[symbolic("x", "y"), file("y"), file("./x")]),
        link_then.root(),
        &ApplyOptions::default(),
    )
    .unwrap();
    assert!(fs::symlink_metadata(link_then.path("x")).unwrap().is_file());
    apply(&archive(&[file("x"), symbolic("/x", "y")]), file_then.root(), &ApplyOptions::default()).unwrap();
    assert!(fs::symlink_metadata(file_then.path("x")).unwrap().is_symlink());
}

#[test]
fn a_directory_is_looked_up_again_when_its_path_has_changed() {
    let tree = Tree::new();
    // The second entry replaces the very link through which its own directory was found.
    let tar = archive(&[symbolic("l", "."), dir("l/l"), file("l/f")]);
    // The directory cannot be found again at the end, for its time.
    extract_archive(&*tar, tree.root(), "", None).unwrap_err();
    assert!(tree.path("l/f").is_file() && !tree.path("f").exists());
}

#[test]
fn limits_hold() {
    let tar = archive(&[dir("a"), dir("a/b"), file("a/b/c"), file("a/b/d")]);
    for limits in [
        Limits { bytes: 2048, ..Limits::default() },
        Limits { entries: 3, ..Limits::default() },
        Limits { depth: 2, ..Limits::default() },
    ] {
        let options = ApplyOptions { limits, ..ApplyOptions::default() };
        let error = apply(&tar, Tree::new().root(), &options).unwrap_err();
        assert!(matches!(error, LayerError::Limit { .. }), "{limits:?}: {error}");
    }
    let options = ApplyOptions {
        limits: Limits { entries: 4, depth: 3, ..Limits::default() },
        ..ApplyOptions::default()
    };
    apply(&tar, Tree::new().root(), &options).unwrap();
}

#[test]
fn content_that_is_not_the_promised_one_is_an_error() {
    let tree = Tree::new();
    let tar = archive(&[file("f")]);
    let error =
        crate::apply_layer(&*tar, tree.root(), &Digest::of("else"), &ApplyOptions::default()).unwrap_err();
    assert!(matches!(error, LayerError::DiffId { found, .. } if found == Digest::of(&tar)), "{error}");
    let mut longer = tar;
    longer.extend_from_slice(&[7; 3000]);
    apply(&longer, Tree::new().root(), &ApplyOptions::default()).unwrap();
}
