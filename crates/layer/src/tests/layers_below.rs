//! Layers on layers: what is left out, what is marked, and what an archive leaves to those below.

use super::*;

#[test]
fn files_that_were_only_copied_up_are_left_out() {
    let below = Tree::new();
    below
        .dir("app")
        .file("app/same", "same")
        .file("app/other", "old!")
        .file("app/mode", "x")
        .link("a", "app/link");
    below.dir("quiet").file("quiet/same", "same").settle(1_600_000_000);
    let upper = Tree::new();
    upper
        .dir("app")
        .file("app/same", "same")
        .file("app/other", "new!")
        .file("app/mode", "x")
        .link("b", "app/link");
    upper.mode("app/mode", 0o600).dir("quiet").file("quiet/same", "same").settle(1_600_000_000);
    upper.dir("added");

    let below = || Some(vec![below.root().to_owned()]);
    assert_eq!(upper.listing(below()), ["added/", "app/", "app/link -> b", "app/mode", "app/other"]);
    assert_eq!(upper.listing(None).len(), 8, "without layers below everything counts");
    upper.mode("quiet", 0o700);
    assert_eq!(upper.listing(below()).last().unwrap(), "quiet/");
}

#[test]
fn root_marks_that_hide_nothing_are_left_out() {
    let bottom = Tree::new();
    bottom
        .dir("dir")
        .file("dir/old", "")
        .file("gone", "")
        .file("hidden", "")
        .file("replaced", "")
        .dir("shadowed");
    let middle = Tree::new();
    middle.whiteout("hidden").whiteout("shadowed");
    let upper = Tree::new();
    for name in ["dir", "fresh", "replaced", "shadowed"] {
        upper.dir(name).xattr(name, "trusted.overlay.opaque", b"y").mode(name, 0o711);
    }
    upper.whiteout("gone").whiteout("hidden").whiteout("never");

    let lower = vec![middle.root().to_owned(), bottom.root().to_owned()];
    let expected = [".wh.gone", "dir/", "dir/.wh.old", "fresh/", "replaced/", "shadowed/"];
    assert_eq!(sorted(upper.listing(Some(lower))), expected);
    assert_eq!(upper.listing(Some(Vec::new())), ["dir/", "fresh/", "replaced/", "shadowed/"]);
    assert_eq!(upper.listing(None).len(), 11);
}

#[test]
fn root_a_directory_made_anew_deletes_by_name_what_was_there() {
    let below = Tree::new();
    below.dir("d").file("d/gone", "").dir("d/sub").file("d/sub/old", "").file("d/sub/same", "").dir("d/lost");
    below.file("d/lost/x", "").file("d/was", "");
    let upper = Tree::new();
    upper.dir("d").xattr("d", "trusted.overlay.opaque", b"y");
    upper.dir("d/sub").file("d/sub/same", "other").file("d/sub/new", "").dir("d/was");
    let expected =
        ["d/", "d/.wh.gone", "d/.wh.lost", "d/sub/", "d/sub/.wh.old", "d/sub/new", "d/sub/same", "d/was/"];
    assert_eq!(sorted(upper.listing(Some(vec![below.root().to_owned()]))), expected);
    let empty = Tree::new();
    empty.dir("d").xattr("d", "trusted.overlay.opaque", b"y");
    assert_eq!(empty.listing(Some(vec![upper.root().to_owned()])), ["d/", "d/.wh.sub", "d/.wh.was"]);
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
fn root_files_whose_content_is_elsewhere_are_refused() {
    let (directory, file) = (Tree::new(), Tree::new());
    directory.dir("moved").xattr("moved", "trusted.overlay.redirect", b"/elsewhere");
    file.file("changed", "").xattr("changed", "trusted.overlay.metacopy", b"");
    for upper in [directory, file] {
        let error = upper.write(&WriteOptions::default()).unwrap_err();
        assert!(matches!(error, LayerError::NotStorable { .. }), "{error}");
    }
}

/// A mounted overlay.
struct Mounted(TempDir);

impl Mounted {
    /// Mounts directories, the topmost first; with an upper directory it can be written.
    fn new(lower: &[&Path], upper: Option<(&Path, &Path)>) -> Self {
        let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
        let mut data = format!("lowerdir={}", lower.join(":"));
        if let Some((upper, work)) = upper {
            data += &format!(",redirect_dir=off,upperdir={},workdir={}", upper.display(), work.display());
        }
        let point = tempfile::tempdir().unwrap();
        let data = std::ffi::CString::new(data).unwrap();
        rustix::mount::mount("overlay", point.path(), "overlay", rustix::mount::MountFlags::empty(), &*data)
            .unwrap();
        Self(point)
    }

    fn tree(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        crate::write_tree(self.0.path(), None, &mut tar).unwrap();
        tar
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::empty()).unwrap();
    }
}

#[test]
fn root_overlayfs_sees_the_same_through_the_layer_as_through_its_own_directory() {
    let bottom = Tree::new();
    bottom
        .dir("etc")
        .file("etc/passwd", "root")
        .file("etc/old", "")
        .dir("etc/conf.d")
        .file("etc/conf.d/a", "a");
    bottom.dir("lib").file("lib/a", "a").file("lib/b", "b").file("same", "same").link("lib", "lib64");
    bottom.settle(1_600_000_000);
    let (upper, work) = (Tree::new(), Tree::new());

    let changed = Mounted::new(&[bottom.root()], Some((upper.root(), work.root())));
    let at = |name: &str| changed.0.path().join(name);
    fs::remove_file(at("etc/old")).unwrap();
    fs::remove_dir_all(at("etc/conf.d")).unwrap();
    fs::create_dir(at("etc/conf.d")).unwrap();
    fs::write(at("etc/conf.d/b"), "b").unwrap();
    fs::remove_dir_all(at("lib")).unwrap();
    fs::write(at("lib"), "a file now").unwrap();
    fs::create_dir_all(at("new/deep")).unwrap();
    std::os::unix::fs::chown(at("same"), Some(0), Some(0)).unwrap();
    settle(&at("new"), 1_600_000_001);
    ["etc/conf.d/b", "etc/conf.d", "etc", "lib"].iter().for_each(|name| settle(&at(name), 1_600_000_002));

    let options = WriteOptions {
        lower: Some(vec![bottom.root().to_owned()]),
        compression: Compression::GZIP,
        clamp_mtime: None,
    };
    let (written, blob) = upper.write(&options).unwrap();
    let expected = [
        "etc/",
        "etc/conf.d/",
        "etc/conf.d/.wh.a",
        "etc/conf.d/b",
        "etc/.wh.old",
        "etc/passwd",
        "lib",
        "new/",
        "new/deep/",
    ];
    assert_eq!(upper.listing(options.lower.clone()), expected);

    let target = Tree::new();
    crate::apply_layer(&*blob, target.root(), &written.diff_id, &ApplyOptions::default()).unwrap();
    let applied = Mounted::new(&[target.root(), bottom.root()], None);
    assert_eq!(listing(&applied.tree()), listing(&changed.tree()));
    assert!(applied.tree() == changed.tree(), "metadata and content must be the same too");
}

#[test]
fn root_directories_that_an_archive_does_not_describe_are_those_below() {
    let below = Tree::new();
    below.dir("tmp").mode("tmp", 0o1777).owner("tmp", 7, 8).settle(1_234_567_890);
    let target = Tree::new();
    let options = ApplyOptions { lower: vec![below.root().to_owned()], ..ApplyOptions::default() };
    apply(&archive(&[file("tmp/new/file")]), target.root(), &options).unwrap();

    let stat = |name: &str| fs::metadata(target.path(name)).unwrap();
    assert_eq!(stat("tmp").mode() & 0o7777, 0o1777);
    assert_eq!((stat("tmp").uid(), stat("tmp").gid(), stat("tmp").mtime()), (7, 8, 1_234_567_890));
    assert_eq!((stat("tmp/new").mode() & 0o7777, stat("tmp/new").mtime()), (0o755, 0));
}

/// What overlayfs finds at a name of an unpacked layer.
fn mark(tree: &Tree, name: &str) -> &'static str {
    let path = tree.path(name);
    let Ok(metadata) = fs::symlink_metadata(&path) else { return "nothing" };
    if crate::overlay::is_whiteout(&metadata) {
        return "whiteout";
    }
    let names = crate::xattr::names(&path).unwrap();
    match crate::overlay::merging(&path, &names).unwrap() {
        crate::overlay::Merging::Opaque => "opaque",
        _ => "plain",
    }
}

#[test]
fn root_whiteouts_hide_what_is_below_whatever_their_order() {
    for (entries, name, expected) in [
        (vec![empty("d/.wh.x")], "d/x", "whiteout"),
        (vec![empty("d/.wh.x")], "d/.wh.x", "nothing"),
        (vec![file("x"), empty(".wh.x")], "x", "plain"),
        (vec![empty(".wh.x"), file("x")], "x", "plain"),
        (vec![dir("x"), empty(".wh.x")], "x", "opaque"),
        (vec![empty(".wh.x"), dir("x")], "x", "opaque"),
        (vec![file("x"), dir("x")], "x", "opaque"),
        (vec![dir("x"), dir("x")], "x", "plain"),
        (vec![dir("x"), file("x/y"), symbolic("x", "y")], "x", "plain"),
        (vec![dir("x"), empty("x/.wh..wh..opq")], "x", "opaque"),
        (vec![empty("x/.wh..wh..opq"), file("x/y")], "x", "opaque"),
        (vec![empty("x/.wh..wh..opq"), file("x/y")], "x/y", "plain"),
        (vec![dir("real"), symbolic("x", "real"), empty("x/.wh.f")], "real/f", "whiteout"),
        (vec![empty(".wh..wh.plnk"), empty(".wh..wh.aufs")], ".wh.plnk", "nothing"),
    ] {
        let target = Tree::new();
        apply(&archive(&entries), target.root(), &ApplyOptions::default()).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
        assert_eq!(mark(&target, name), expected, "{name} of {names:?}");
    }
}

#[test]
fn root_an_opaque_root_hides_every_name_below() {
    let below = Tree::new();
    below.file("old", "").dir("kept");
    let target = Tree::new();
    let options = ApplyOptions { lower: vec![below.root().to_owned()], ..ApplyOptions::default() };
    let tar = archive(&[dir("kept"), empty(".wh..wh..opq"), file("new")]);
    apply(&tar, target.root(), &options).unwrap();
    for (name, expected) in [("old", "whiteout"), ("kept", "opaque"), ("new", "plain")] {
        assert_eq!(mark(&target, name), expected, "{name}");
    }
}

#[test]
fn root_user_namespaces_get_their_own_attributes() {
    let target = Tree::new();
    let options = ApplyOptions { xattrs: crate::OverlayXattrs::User, ..ApplyOptions::default() };
    apply(&archive(&[dir("x"), empty("x/.wh..wh..opq")]), target.root(), &options).unwrap();
    assert_eq!(crate::xattr::names(&target.path("x")).unwrap(), [b"user.overlay.opaque".to_vec()]);
    assert_eq!(target.listing(None), ["x/", "x/.wh..wh..opq"], "and they are no part of the image");
}
