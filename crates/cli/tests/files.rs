//! Files of all shapes on their way from a context into an image or a user's directory: with holes, deep, with long names,
//! under access lists, and half-written when the build is killed.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use gantry_testkit::FlatImage;

#[path = "support/poll.rs"]
#[expect(dead_code, reason = "nobody here looks for the processes of steps")]
mod poll;
#[path = "support/world.rs"]
mod world;

use poll::wait_for;
use world::World;

/// Far more than a small build takes, on a machine that does a lot besides.
const PATIENCE: Duration = Duration::from_secs(60);

/// The modes in an image, by path.
fn modes(world: &World, archive: &str) -> BTreeMap<String, u32> {
    let images = FlatImage::read(&world.gantry.directory().join(archive));
    let image = images.into_values().next().unwrap();
    image.after(image.layers()).iter().map(|(path, file)| (path.clone(), file.mode)).collect()
}

/// An access list of version 2 that lets a user do everything.
fn access_list() -> Vec<u8> {
    const NOBODY_IN_PARTICULAR: u32 = u32::MAX;
    // The owner, user 1000, the group, the mask, others.
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 7, NOBODY_IN_PARTICULAR),
        (0x02, 7, 1000),
        (0x04, 5, NOBODY_IN_PARTICULAR),
        (0x10, 7, NOBODY_IN_PARTICULAR),
        (0x20, 0, NOBODY_IN_PARTICULAR),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set_access_list(path: &Path, kind: &str) {
    let name = format!("system.posix_acl_{kind}");
    rustix::fs::setxattr(path, name, &access_list(), rustix::fs::XattrFlags::empty()).unwrap();
}

#[test]
fn root_access_lists_of_the_machine_do_not_show() {
    let world = World::new(
        "FROM BASE\nRUN umask 027; echo a > /made; mkdir /dir\nCOPY --chmod=600 listed /exact\nCOPY listed /as-it-is\nCOPY d /d\n",
    );
    // All that the store makes would inherit this.
    set_access_list(world.gantry.home(), "default");
    world.gantry.write("listed", "listed");
    world.gantry.write("d/f", "f");
    let directory = world.gantry.directory();
    set_access_list(&directory.join("listed"), "access");
    set_access_list(&directory.join("d"), "default");
    let _ = world.build(&["--output=type=oci,dest=image.tar"]).success();
    let modes = modes(&world, "image.tar");
    // The mask of an access list is shown in the place of the group's permissions.
    for (path, mode) in [("made", 0o640), ("dir", 0o750), ("exact", 0o600), ("as-it-is", 0o770)] {
        assert_eq!(modes[path] & 0o7777, mode, "{path} has {:o}", modes[path]);
    }
    assert_eq!(modes["d/f"] & 0o7777, 0o644);
}

#[test]
fn root_holes_stay_holes() {
    const SIZE: u64 = 1 << 30;
    let world =
        World::bare("FROM scratch AS files\nCOPY large /\nFROM scratch\nCOPY --from=files large /copy/\n");
    let large = File::create(world.gantry.directory().join("large")).unwrap();
    large.set_len(SIZE).unwrap();
    large.write_all_at(b"in the middle", SIZE / 2).unwrap();
    let _ = world.build(&["--output=type=local,dest=out"]).success();
    let copy = File::open(world.gantry.directory().join("out/copy/large")).unwrap();
    let mut bytes = [0; 13];
    copy.read_exact_at(&mut bytes, SIZE / 2).unwrap();
    assert_eq!((copy.metadata().unwrap().len(), &bytes), (SIZE, b"in the middle"));
    let used = fs::read_dir(world.store().join("snapshots")).unwrap().count();
    assert_eq!(used, 2, "a layer for each copy");
    let du =
        Command::new("du").arg("-sk").args([world.store(), world.gantry.directory().join("out")]).output();
    for line in String::from_utf8(du.unwrap().stdout).unwrap().lines() {
        let kilobytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        assert!(kilobytes << 10 < SIZE / 16, "{line}");
    }
}

#[test]
fn root_trees_that_are_too_deep_are_an_error() {
    const DEPTH: usize = 1900;
    let world = World::bare("FROM scratch\nCOPY . /\n");
    let deep = "d/".repeat(DEPTH);
    fs::create_dir_all(world.gantry.directory().join(&deep)).unwrap();
    let output = world.build(&["--output=type=oci,dest=image.tar"]).code(1);
    assert!(output.stderr.contains("is nested too deeply"), "{}", output.stderr);
    world.assert_nothing_left();
    // More than the library can remove with as many files as a process may have open.
    let removed = Command::new("rm").arg("-rf").arg(world.gantry.directory().join("d")).status().unwrap();
    assert!(removed.success());
}

#[test]
fn root_the_longest_names() {
    let world = World::bare("FROM scratch\nCOPY . /d/\n");
    let long = |letter: &str| letter.repeat(255);
    let path = format!("{}/{}", long("a"), long("b"));
    world.gantry.write(&path, "long");
    let archive = long("c");
    for _ in 0..2 {
        let _ = world.build(&["--output", &format!("type=oci,dest=../{archive}")]).success();
        assert!(modes(&world, &format!("../{archive}")).contains_key(&format!("d/{path}")));
    }
}

#[test]
fn root_a_killed_output_leaves_nothing() {
    let world = World::new("FROM BASE\nRUN truncate -s 1G /large\n");
    let _ = world.build(&["--output=type=cacheonly"]).success();
    let out = world.gantry.directory().join("out");
    fs::create_dir(&out).unwrap();
    let mut command = world.gantry.command(world.arguments(&["--output=type=tar,dest=out/files.tar"]));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let descriptors = format!("/proc/{}/fd", child.id());
    let is_written = || {
        let open = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        let mut files = open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(&out)));
        files.any(|entry| fs::metadata(entry.path()).is_ok_and(|file| file.len() > 0)).then_some(())
    };
    wait_for("the output", PATIENCE, is_written);
    child.kill().unwrap();
    child.wait().unwrap();
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn root_directories_that_were_there_have_their_own_times() {
    let world = World::bare("FROM scratch\nCOPY files /\n");
    for file in ["files/f", "files/there/f", "files/new/f", "out/there/old", "out/own/old"] {
        world.gantry.write(file, file);
    }
    let directory = world.gantry.directory();
    let (old, now) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1), SystemTime::now());
    for path in ["files/there", "files/new", "files", "out/own", "out/there", "out"] {
        File::open(directory.join(path)).unwrap().set_modified(old).unwrap();
    }
    let _ = world.build(&["--output=type=local,dest=out"]).success();
    let is_old = |path: &str| fs::metadata(directory.join(path)).unwrap().mtime() == 1;
    // Something was put into the first two, as with the reference.
    for (path, expected) in [("out", false), ("out/there", false), ("out/own", true), ("out/new", true)] {
        assert_eq!(is_old(path), expected, "{path}");
        assert!(expected || fs::metadata(directory.join(path)).unwrap().modified().unwrap() >= now, "{path}");
    }
}
