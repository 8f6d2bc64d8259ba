//! Mounts on top of the root, and what a run leaves of them in the upper directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use gantry_sandbox::{Exit, Mount, MountKind, Tree, User};

use crate::fixture::{Fixture, bind, file, run};

#[test]
fn root_the_upper_directory_holds_only_what_was_written() {
    let fixture = Fixture::new();
    fs::create_dir(fixture.path("cache")).unwrap();
    let before = fs::metadata(fixture.path("base/etc")).unwrap();

    let mut spec = fixture.shell("cat /etc/hosts /run/secrets/token && echo x > /root/.cache/pip/x && pwd");
    spec.mounts = vec![
        file("/etc/hosts", "hosts\n"),
        file("/etc/resolv.conf", "dns\n"),
        file("/run/secrets/token", "secret\n"),
        bind(fixture.path("cache"), "/root/.cache/pip", false),
    ];
    assert_eq!(run(&spec).unwrap().stdout, "hosts\nsecret\n/\n");
    assert_eq!(fixture.written(), [""; 0]);
    assert_eq!(fs::read_to_string(fixture.path("cache/x")).unwrap(), "x\n");

    // A directory that is copied up looks as it did below.
    spec.process.args[2] =
        "chmod 600 /etc/passwd; rm /bin/ip; echo y > /root/.cache/y; stat -c %Y /etc".into();
    let done = run(&spec).unwrap();
    assert_eq!(done.exit, Exit::Code(0), "{done:?}");
    assert_eq!(done.stdout, format!("{}\n", before.mtime()));
    assert_eq!(
        fixture.written(),
        ["bin", "bin/ip", "etc", "etc/passwd", "root", "root/.cache", "root/.cache/y"]
    );
    let after = fs::metadata(fixture.path("upper/etc")).unwrap();
    assert_eq!((after.mode(), after.mtime()), (before.mode(), before.mtime()));
}

#[test]
fn root_links_of_the_image_stay_in_the_image() {
    let fixture = Fixture::new();
    symlink("../../../../../outside/deep", fixture.path("base/etc/hosts")).unwrap();
    symlink("/", fixture.path("base/sys")).unwrap();
    fs::remove_file(fixture.path("base/sys")).unwrap();
    let mut spec = fixture.shell("cat /outside/deep; ls -l /etc/hosts");
    spec.mounts = vec![file("/etc/hosts", "hosts\n")];
    let done = run(&spec).unwrap();
    assert!(done.stdout.starts_with("hosts\n"), "{done:?}");
    assert!(!std::path::Path::new("/outside").exists());
    assert_eq!(fixture.written(), [""; 0]);

    symlink("/", fixture.path("base/selfish")).unwrap();
    spec.mounts = vec![file("/selfish", "")];
    let error = run(&spec).unwrap_err().to_string();
    assert!(error.contains("\"/selfish\", which is the root"), "{error}");
}

#[test]
fn root_kinds_of_mounts() {
    let fixture = Fixture::new();
    for name in ["one/sub", "two", "ctx/dir"] {
        fs::create_dir_all(fixture.path(name)).unwrap();
    }
    fs::write(fixture.path("one/sub/f"), "one").unwrap();
    fs::write(fixture.path("two/g"), "two").unwrap();
    fs::write(fixture.path("ctx/file"), "file").unwrap();
    symlink("/dir", fixture.path("ctx/link")).unwrap();
    let layers = |selector: &str| MountKind::Bind {
        source: Tree::Layers(vec![fixture.path("one"), fixture.path("two")]),
        selector: PathBuf::from(selector),
        readonly: true,
    };
    let mount = |dest: &str, kind: MountKind| Mount { dest: dest.into(), kind };
    let selected = |selector: &str| MountKind::Bind {
        source: Tree::Directory(fixture.path("ctx")),
        selector: selector.into(),
        readonly: false,
    };

    let mut spec = fixture.shell(
        "cat /layers/sub/f /layers/g /sub/f /file; touch /layers/x || echo ro; touch /sel/made /ctx/new \
         && stat -c '%a %u %g' /token; touch /token && echo writable; stat -c %a /scratch",
    );
    spec.mounts = vec![
        mount("/ctx", selected("")),
        mount("/ctx/tmp/deep", MountKind::Tmpfs { size: Some(4096), readonly: false }),
        mount("/layers", layers("")),
        mount("/sub", layers("/sub")),
        mount("/sel", selected("link")),
        mount("/file", selected("file")),
        mount("/scratch", MountKind::Tmpfs { size: None, readonly: false }),
        file("/token", "t"),
    ];
    let done = run(&spec).unwrap();
    assert_eq!(done.stdout, "onetwoonefilero\n440 7 8\n1777\n", "{done:?}");
    assert!(fixture.path("ctx/dir/made").exists());
    assert!(fixture.path("ctx/new").exists());
    assert!(fixture.path("ctx/tmp/deep").is_dir(), "a mount point inside a writable bind mount stays there");
    assert_eq!(fixture.written(), [""; 0]);
}

#[test]
fn root_a_tmpfs_looks_like_what_it_covers() {
    let fixture = Fixture::new();
    fs::set_permissions(fixture.path("base/tmp"), fs::Permissions::from_mode(0o2705)).unwrap();
    let tmpfs =
        |dest: &str, readonly| Mount { dest: dest.into(), kind: MountKind::Tmpfs { size: None, readonly } };
    let mut spec = fixture.shell(
        "stat -c %a /tmp /new /new/er /tmp/in; touch /new/x || echo ro; touch /new/er/x && ls /dev/null /dev/pts/ptmx",
    );
    spec.mounts = vec![
        tmpfs("/dev", false),
        tmpfs("/new", true),
        tmpfs("/new/er", false),
        tmpfs("/tmp", false),
        tmpfs("/tmp/in", false),
    ];
    let done = run(&spec).unwrap();
    assert_eq!(done.stdout, "2705\n1777\n1777\n1777\nro\n/dev/null\n/dev/pts/ptmx\n", "{done:?}");
    assert_eq!(fixture.written(), [""; 0]);
}

#[test]
fn root_what_is_inside_proc_stays() {
    let fixture = Fixture::new();
    symlink("/proc/sys", fixture.path("base/link")).unwrap();
    for dest in ["/proc", "/proc/self/attr", "/proc/sys", "/link"] {
        let mut spec = fixture.shell("true");
        spec.mounts = vec![file(dest, "")];
        let error = run(&spec).unwrap_err().to_string();
        assert!(error.contains("inside /proc"), "{dest}: {error}");
    }
    let mut spec = fixture.shell("cat /proc/uptime");
    spec.mounts = vec![file("/proc/uptime", "for ever\n")];
    assert_eq!(run(&spec).unwrap().stdout, "for ever\n");
}

#[test]
fn root_mount_points_that_were_touched_go_if_they_are_empty() {
    for (script, expected) in [
        ("chmod 700 /a /a/b; touch /a/x; rm /a/x", vec![]),
        ("touch /a/x; chmod 700 /a/b", vec!["a", "a/x"]),
        ("touch /etc/d/x", vec!["etc", "etc/d", "etc/d/x"]),
        ("chmod 700 /etc/d", vec!["etc", "etc/d"]),
    ] {
        let fixture = Fixture::new();
        fs::create_dir(fixture.path("base/etc/d")).unwrap();
        let mut spec = fixture.shell(script);
        spec.mounts = vec![file("/a/b/c/token", ""), file("/etc/d/token", ""), file("/etc/d/e/token", "")];
        assert_eq!(run(&spec).unwrap().exit, Exit::Code(0), "{script}");
        gantry_sandbox::remove_stubs(&spec.root).unwrap();
        assert_eq!(fixture.written(), expected, "{script}");
    }
}

#[test]
fn root_a_missing_working_directory_is_made() {
    let fixture = Fixture::new();
    symlink("/real", fixture.path("base/link")).unwrap();
    let mut spec = fixture.shell("pwd; stat -c '%a %u %g' .");
    spec.process.user = User { uid: 5, gid: 6, groups: vec![6] };
    spec.process.cwd = "/link/deep/er".into();
    assert_eq!(run(&spec).unwrap().stdout, "/real/deep/er\n755 5 6\n");
    assert_eq!(fixture.written(), ["real", "real/deep", "real/deep/er"]);
    // Hidden by a mount, it is made there, and root's.
    spec.mounts =
        vec![Mount { dest: "/real".into(), kind: MountKind::Tmpfs { size: None, readonly: false } }];
    assert_eq!(run(&spec).unwrap().stdout, "/real/deep/er\n755 0 0\n");
    let covered = MountKind::Tmpfs { size: None, readonly: true };
    spec.mounts = vec![Mount { dest: "/real".into(), kind: covered }];
    spec.readonly_root = true;
    spec.process.args[2].push_str("; touch /real/x || touch /x || echo ro");
    assert_eq!(run(&spec).unwrap().stdout, "/real/deep/er\n755 0 0\nro\n");
}

#[test]
fn root_a_read_only_root_takes_no_writes() {
    let fixture = Fixture::new();
    let mut spec = fixture.shell("touch /x || touch /tmp/x || touch /data/x");
    spec.readonly_root = true;
    spec.mounts =
        vec![Mount { dest: "/data".into(), kind: MountKind::Tmpfs { size: None, readonly: false } }];
    let done = run(&spec).unwrap();
    assert_eq!(done.exit, Exit::Code(0), "{done:?}");
    assert_eq!(done.stderr.matches("Read-only file system").count(), 2, "{done:?}");
}

#[test]
fn root_a_root_without_layers() {
    let fixture = Fixture::new();
    let busybox = fixture.path("base/bin/busybox");
    fs::copy(busybox, fixture.path("upper/busybox")).unwrap();
    let mut spec = fixture.spec(&["/busybox", "sh", "-c", "echo x > /new; /busybox ls /proc/self/exe"]);
    spec.root.lower.clear();
    assert_eq!(run(&spec).unwrap().stdout, "/proc/self/exe\n");
    assert_eq!(fixture.written(), ["busybox", "new"]);
}

#[test]
fn root_many_layers() {
    let fixture = Fixture::new();
    let mut spec = fixture.spec(&["ls", "/layers"]);
    for n in 0..300 {
        let layer = fixture.path(&format!("layer{n}"));
        fs::create_dir_all(layer.join("layers")).unwrap();
        fs::write(layer.join("layers").join(n.to_string()), "").unwrap();
        spec.root.lower.push(layer);
    }
    assert_eq!(run(&spec).unwrap().stdout.lines().count(), 300);
    spec.root.lower = vec![fixture.path("base"); 501];
    let error = run(&spec).unwrap_err().to_string();
    assert!(error.contains("limit is 500"), "{error}");
}
