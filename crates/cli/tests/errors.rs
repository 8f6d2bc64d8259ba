//! Errors are part of the product: what each looks like, its exit code, and that it leaves nothing behind.
//!
//! Every build here is asked to push over a tag that exists, and after every failure the tag is what it was, no
//! process and no mount is left, and the store holds neither temporary files nor locks.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gantry_oci::{Digest, Index, media_type};
use gantry_testkit::{Access, BuiltImage, Entry, FakeRegistry, ImageBuilder, ImageTarget, Output};
use insta::assert_snapshot;
use serde_json::json;

#[path = "support/world.rs"]
mod world;

use world::World;

/// The user and group `nobody` of every Linux system.
const NOBODY: u32 = 65534;

/// An architecture that this machine is not.
const FOREIGN: &str = if cfg!(target_arch = "s390x") { "linux/amd64" } else { "linux/s390x" };

/// The error of `gantry build ARGUMENTS .`, and that it left everything as it was.
#[track_caller]
fn refused(world: &World, code: i32, arguments: &[&str]) -> String {
    let arguments = [&["--progress=quiet", "--push", "--tag=HOST/app:1"], arguments].concat();
    unharmed(world, code, |world| world.build(&arguments))
}

/// What a failing run shows, and that it left everything as it was.
#[track_caller]
fn unharmed(world: &World, code: i32, run: impl FnOnce(&World) -> Output) -> String {
    let earlier = release(&world.registry);
    let output = run(world).code(code);
    let (tagged, ..) = world.registry.manifest("app", "1").expect("the earlier release is there");
    assert_eq!(tagged, earlier, "the tag moved");
    world.assert_nothing_left();
    output.snapshot()
}

/// Puts a release into the registry that a failing build must not touch.
fn release(registry: &FakeRegistry) -> Digest {
    let image = ImageBuilder::new("linux/amd64").layer(&[Entry::file("version", "1")]).build();
    image.push(registry, "app", Some("1"))
}

#[test]
fn unknown_instruction() {
    let world = World::bare("FROM scratch\nRUM echo hello\n");
    assert_snapshot!(refused(&world, 2, &[]), @r"
        status: 2
        --- stdout
        --- stderr
        error: unknown instruction: RUM
         --> Dockerfile:2:1
          |
        2 | RUM echo hello
          | ^^^^^^^^^^^^^^
        hint: did you mean `RUN`?
        ");
}

#[test]
fn unknown_stage() {
    let world = World::bare("FROM scratch AS build\nFROM scratch AS final\n");
    assert_snapshot!(refused(&world, 2, &["--target=biuld"]), @r"
        status: 2
        --- stdout
        --- stderr
        error: target stage `biuld` could not be found
        hint: did you mean `build`?
        ");
}

#[test]
fn the_command_line() {
    let world = World::bare("FROM scratch\n");
    assert_snapshot!(refused(&world, 2, &["--platform=linux/arm64,li nux"]), @r"
        status: 2
        --- stdout
        --- stderr
        error: --platform: `li nux` is not a platform: it is neither an operating system nor an architecture; write it like linux/amd64
        ");
    assert_snapshot!(refused(&world, 2, &["--platform=windows/amd64"]), @r"
        status: 2
        --- stdout
        --- stderr
        error: cannot build for windows/amd64: the embedded engine builds Linux images
        ");
    assert_snapshot!(refused(&world, 2, &["--output=type=zip"]), @r"
        status: 2
        --- stdout
        --- stderr
        error: --output type=zip: `zip` is not a type: there are oci, docker, tar, local, image, registry and cacheonly
        ");
    assert_snapshot!(refused(&world, 2, &["--tag=HOST/Upper:1"]), @r"
        status: 2
        --- stdout
        --- stderr
        error: --tag: `127.0.0.1:[PORT]/Upper:1` is not an image reference: a repository name is lower-case
        ");
    assert_snapshot!(refused(&world, 2, &["--bulid-arg=A=1"]), @r"
        status: 2
        --- stdout
        --- stderr
        error: unexpected argument '--bulid-arg' found

          tip: a similar argument exists: '--build-arg'

        Usage: gantry build [OPTIONS] <CONTEXT>

        For more information, try '--help'.
        ");
}

#[test]
fn the_command_line_without_a_name_to_push_to() {
    let world = World::bare("FROM scratch\n");
    assert_snapshot!(unharmed(&world, 2, |world| world.build(&["--progress=quiet", "--push"])), @r"
        status: 2
        --- stdout
        --- stderr
        error: there is no name to push to
        hint: give one with --tag, or with name= in --output
        ");
}

#[test]
fn no_context() {
    let world = World::bare("FROM scratch\n");
    assert_snapshot!(unharmed(&world, 2, |world| world.gantry.run(["build"])), @r"
        status: 2
        --- stdout
        --- stderr
        error: the following required arguments were not provided:
          <CONTEXT>

        Usage: gantry build [OPTIONS] <CONTEXT>

        For more information, try '--help'.
        ");
    let run =
        |context: &'static str| move |world: &World| world.gantry.run(["build", "--progress=quiet", context]);
    assert_snapshot!(unharmed(&world, 4, run("elsewhere")), @r"
        status: 4
        --- stdout
        --- stderr
        error: cannot read the context `elsewhere`: No such file or directory (os error 2)
        ");
    assert_snapshot!(unharmed(&world, 2, run("Dockerfile")), @r"
        status: 2
        --- stdout
        --- stderr
        error: the context `Dockerfile` is not a directory
        ");
    assert_snapshot!(unharmed(&world, 2, run("https://git.example/app.git?colour=red")), @r"
        status: 2
        --- stdout
        --- stderr
        error: the context `https://git.example/app.git?colour=red`: unexpected query `colour` in the git address
        ");
    // Nobody listens at port 1.
    assert_snapshot!(unharmed(&world, 1, run("git://127.0.0.1:1/app.git")), @r"
        status: 1
        --- stdout
        --- stderr
        error: cannot look up a ref in `git://127.0.0.1:[PORT]/app.git`: unable to connect to 127.0.0.1:

        last lines of its output:
          | fatal: unable to connect to 127.0.0.1:
          | 127.0.0.1[0: 127.0.0.1]: errno=Connection refused

        hint: check the address, and that the repository can be reached from here
        ");
    fs::create_dir(world.gantry.directory().join("empty")).unwrap();
    assert_snapshot!(unharmed(&world, 4, run("empty")), @r"
        status: 4
        --- stdout
        --- stderr
        error: there is no `Dockerfile` in `empty`
        hint: name it with --file if it is somewhere else
        ");
}

#[test]
fn root_copy_of_a_missing_file() {
    let world = World::new("FROM BASE\nCOPY app.cfg \\\n  /etc/\n");
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: `/app.cfg` does not exist in the build context
         --> Dockerfile:2:1
          |
        2 | / COPY app.cfg \
        3 | |   /etc/
          | |_______^
        hint: paths are relative to the root of the source, and cannot leave it
        ");
}

#[test]
fn root_copy_of_an_ignored_file() {
    let world = World::new("FROM BASE\nCOPY app.cfg /etc/\n");
    world.gantry.write("app.cfg", "a = 1\n");
    world.gantry.write(".dockerignore", "*.cfg\n");
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: `/app.cfg` does not exist in the build context
         --> Dockerfile:2:1
          |
        2 | COPY app.cfg /etc/
          | ^^^^^^^^^^^^^^^^^^
        hint: the ignore file excludes it; a line `!app.cfg` would bring it back
        ");
}

#[test]
fn root_copy_of_a_file_that_the_stage_lacks() {
    let world = World::new("FROM BASE AS build\nRUN echo 1 > /made\nFROM BASE\nCOPY --from=build /maid /\n");
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: `/maid` does not exist in the stage or image that it comes from
         --> Dockerfile:4:1
          |
        4 | COPY --from=build /maid /
          | ^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: paths are relative to the root of the source, and cannot leave it
        ");
}

#[test]
fn root_run_that_fails() {
    let world = World::new(
        "FROM BASE\nRUN true\nRUN exec >&2; echo compiling; echo 'main.c: no'; exit 7\nRUN never\n",
    );
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: `exec >&2; echo compiling; echo 'main.c: no'; exit 7` failed with exit code 7
         --> Dockerfile:3:1
          |
        3 | RUN exec >&2; echo compiling; echo 'main.c: no'; exit 7
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

        last lines of its output:
          | compiling
          | main.c: no
        ");
}

#[test]
fn root_run_of_no_program() {
    let world = World::new("FROM BASE\nRUN [\"/bin/nope\", \"-x\"]\n");
    assert_snapshot!(refused(&world, 1, &[]), @r#"
        status: 1
        --- stdout
        --- stderr
        error: cannot run the step: /bin/nope: not found in the root file system (PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
         --> Dockerfile:2:1
          |
        2 | RUN ["/bin/nope", "-x"]
          | ^^^^^^^^^^^^^^^^^^^^^^^
        hint: `RUN ["program", "argument"]` wants a program of the image, and starts no shell to find it
        "#);
    world.dockerfile("FROM BASE\nRUN nope -x\n");
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: `nope -x` failed with exit code 127
         --> Dockerfile:2:1
          |
        2 | RUN nope -x
          | ^^^^^^^^^^^

        last lines of its output:
          | /bin/sh: nope: not found
        ");
    world.dockerfile("FROM BASE\nCOPY script /\nRUN [\"/script\"]\n");
    world.gantry.write("script", "#!/no/interpreter\n");
    let script = world.gantry.directory().join("script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert_snapshot!(refused(&world, 1, &[]), @r#"
        status: 1
        --- stdout
        --- stderr
        error: cannot run the step: /script: its interpreter does not exist in the root file system
         --> Dockerfile:3:1
          |
        3 | RUN ["/script"]
          | ^^^^^^^^^^^^^^^
        hint: copy the program of its `#!` line, or its dynamic loader, into the image as well
        "#);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    assert_snapshot!(refused(&world, 1, &[]), @r#"
        status: 1
        --- stdout
        --- stderr
        error: cannot run the step: /script: failed to execute: Permission denied (os error 13)
         --> Dockerfile:3:1
          |
        3 | RUN ["/script"]
          | ^^^^^^^^^^^^^^^
        hint: it may lack the permission to be executed: see `COPY --chmod=755`
        "#);
}

#[test]
fn root_run_in_a_shell_that_the_image_lacks() {
    let world = World::bare("FROM scratch\nCOPY Dockerfile /\nRUN echo hello\n");
    assert_snapshot!(refused(&world, 1, &[]), @r#"
        status: 1
        --- stdout
        --- stderr
        error: cannot run the step: /bin/sh: not found in the root file system (PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
         --> Dockerfile:3:1
          |
        3 | RUN echo hello
          | ^^^^^^^^^^^^^^
        hint: an image without a shell runs programs only as `RUN ["program", "argument"]`
        "#);
}

#[test]
fn root_unknown_user() {
    let world = World::new("FROM BASE\nUSER app\nRUN true\n");
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: the image has no user `app`
         --> Dockerfile:3:1
          |
        3 | RUN true
          | ^^^^^^^^
        hint: add it to the image first, or give a number; with --link, which sees nothing of the image, only numbers do
        ");
}

#[test]
fn unreachable_registry() {
    let world = World::bare("FROM 127.0.0.1:1/busybox\n");
    assert_snapshot!(refused(&world, 1, &[]), @r"
        status: 1
        --- stdout
        --- stderr
        error: resolving 127.0.0.1:[PORT]/busybox:latest for linux/amd64: cannot reach registry `127.0.0.1:[PORT]`: connection refused
         --> Dockerfile:1:1
          |
        1 | FROM 127.0.0.1:[PORT]/busybox
          | ^^^^^^^^^^^^^^^^^^^^^^^^
        hint: check that the registry is running and that its name and port are right
        ");
}

#[test]
fn root_unreachable_registry_to_push_to() {
    let world = World::bare("FROM scratch\nCOPY Dockerfile /\n");
    assert_snapshot!(refused(&world, 6, &["--tag=127.0.0.1:1/app:1"]), @r"
        status: 6
        --- stdout
        --- stderr
        error: pushing blob sha256:[DIGEST] to 127.0.0.1:[PORT]/app: cannot reach registry `127.0.0.1:[PORT]`: connection refused
        hint: check that the registry is running and that its name and port are right
        hint: `gantry publish sha256:[DIGEST]` goes on from here
        ");
}

#[test]
fn missing_base_image() {
    let world = World::bare("FROM HOST/busybox:1.99\n");
    assert_snapshot!(refused(&world, 4, &[]), @r"
        status: 4
        --- stdout
        --- stderr
        error: resolving 127.0.0.1:[PORT]/busybox:1.99 for linux/amd64: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown
         --> Dockerfile:1:1
          |
        1 | FROM 127.0.0.1:[PORT]/busybox:1.99
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: check the name and the tag, and that it was pushed
        ");
}

#[test]
fn base_image_without_the_platform() {
    let world = World::new("FROM scratch AS other\nFROM BASE\n");
    assert_snapshot!(refused(&world, 4, &["--platform=linux/mips64le"]), @r"
        status: 4
        --- stdout
        --- stderr
        error: resolving 127.0.0.1:[PORT]/library/busybox:latest for linux/mips64le: the image has no linux/mips64le: it has linux/amd64, linux/arm/v7, linux/arm64, linux/ppc64le, linux/riscv64, linux/s390x
         --> Dockerfile:2:1
          |
        2 | FROM 127.0.0.1:[PORT]/library/busybox
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: build for platforms that the image has, or choose another image
        ");
}

#[test]
fn base_image_that_is_not_what_its_index_says() {
    let world = World::bare("FROM HOST/mixed-up\nCOPY Dockerfile /\n");
    let image = ImageBuilder::new("linux/amd64").layer(&[Entry::file("a", "a")]).build();
    push_as(&image, "linux/arm64", &world.registry, "mixed-up");
    assert_snapshot!(refused(&world, 5, &["--platform=linux/arm64"]), @r"
        status: 5
        --- stdout
        --- stderr
        error: `127.0.0.1:[PORT]/mixed-up:latest` is listed for linux/arm64 but is an image for linux/amd64
         --> Dockerfile:1:1
          |
        1 | FROM 127.0.0.1:[PORT]/mixed-up
          | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        hint: whoever published the image mixed up its platforms: use another tag or digest
        ");
}

/// Stores an index that lists the image for another platform than its own.
fn push_as(image: &BuiltImage, platform: &str, registry: &FakeRegistry, repository: &str) {
    image.push(registry, repository, None);
    let index = Index::new(vec![image.descriptor().with_platform(platform.parse().unwrap())]);
    let bytes = serde_json::to_vec(&index).unwrap();
    registry.put_manifest(repository, Some("latest"), media_type::INDEX, &bytes);
}

#[test]
fn root_no_emulator() {
    // The kernel's table, as it is on a machine where nobody registered anything.
    let script = "mount --bind no-emulators /proc/sys/fs/binfmt_misc && exec \"$@\"";
    let world = World::new("FROM BASE\nRUN true\n");
    let gantry = world.gantry.wrapped_by(["unshare", "--mount", "sh", "-c", script, "sh"]);
    let world = World { gantry, ..world };
    world.gantry.write("no-emulators/status", "disabled\n");
    let snapshot = refused(&world, 1, &["--platform", FOREIGN]);
    assert_snapshot!(snapshot.replace(FOREIGN, "[FOREIGN]"), @r"
        status: 1
        --- stdout
        --- stderr
        error: this machine cannot run programs for [FOREIGN]: no emulator is registered with the kernel
         --> Dockerfile:2:1
          |
        2 | RUN true
          | ^^^^^^^^
        hint: install one: `apt-get install qemu-user-static` on Debian and Ubuntu, which registers it with binfmt_misc
        ");
}

#[test]
fn root_not_root() {
    let world = World::new("FROM BASE\nRUN true\n");
    let home = world.gantry.home().to_owned();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let own = home.join("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    // The directory that the program was built into may be closed to others.
    let program = home.join("gantry");
    fs::copy(env!("CARGO_BIN_EXE_gantry"), &program).unwrap();
    let identity = format!("--reuid={NOBODY} --regid={NOBODY} --clear-groups --bounding-set=-all");
    let script = format!("shift && exec setpriv {identity} \"$0\" \"$@\"");
    let wrapper = ["sh", "-c", &script, program.to_str().unwrap()];
    let world = World { gantry: world.gantry.wrapped_by(wrapper), ..world };
    assert_snapshot!(refused(&world, 3, &[]), @r"
        status: 3
        --- stdout
        --- stderr
        error: cannot create `[HOME]/store/blobs/sha256`
        caused by: Permission denied (os error 13)
        hint: run as root, or choose a directory that you may write to with --root or GANTRY_ROOT
        ");
    let world = World { gantry: world.gantry.env("GANTRY_ROOT", own.join("store")), ..world };
    assert_snapshot!(refused(&world, 3, &[]), @r"
        status: 3
        --- stdout
        --- stderr
        error: not enough privilege to run steps: CAP_SYS_ADMIN, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_SETGID, CAP_SETUID, CAP_SETPCAP missing
         --> Dockerfile:2:1
          |
        2 | RUN true
          | ^^^^^^^^
        caused by: Namespaces and mounts are made for each step.
        hint: run as root, or in a container that has these capabilities
        ");
    assert_eq!(fs::read_dir(own.join("store/tmp")).unwrap().count(), 0, "temporary files are left");
}

#[test]
fn root_wrong_password() {
    let world = World::bare("FROM scratch\nCOPY Dockerfile /\n");
    let auth = BASE64_STANDARD.encode("ann:wrong");
    let config = json!({ "auths": { world.registry.host(): { "auth": auth } } });
    world.gantry.write("../.docker/config.json", config.to_string());
    world.registry.set_access(Access::basic("ann", "right"));
    assert_snapshot!(refused(&world, 3, &[]), @r"
        status: 3
        --- stdout
        --- stderr
        error: pushing blob sha256:[DIGEST] to 127.0.0.1:[PORT]/app: registry `127.0.0.1:[PORT]` refused the credentials: 401 Unauthorized
        hint: log in again: the user name, password or token is wrong
        hint: `gantry publish sha256:[DIGEST]` goes on from here
        ");
    world.registry.set_access(Access::bearer("ann", "right", Duration::from_secs(60)));
    assert_snapshot!(refused(&world, 3, &[]), @r"
        status: 3
        --- stdout
        --- stderr
        error: pushing blob sha256:[DIGEST] to 127.0.0.1:[PORT]/app: registry `127.0.0.1:[PORT]` refused the credentials: 401 Unauthorized: UNAUTHORIZED: incorrect username or password
        hint: log in again: the user name, password or token is wrong
        hint: `gantry publish sha256:[DIGEST]` goes on from here
        ");
}

#[test]
fn root_nobody_logged_in() {
    let world = World::bare("FROM scratch\nCOPY Dockerfile /\n");
    world.registry.set_access(Access::basic("ann", "right"));
    assert_snapshot!(refused(&world, 3, &[]), @r"
        status: 3
        --- stdout
        --- stderr
        error: pushing blob sha256:[DIGEST] to 127.0.0.1:[PORT]/app: registry `127.0.0.1:[PORT]` wants credentials, and none are configured for `app`
        hint: log in first with `gantry login`, or any tool that writes docker's or podman's files
        hint: `gantry publish sha256:[DIGEST]` goes on from here
        ");
}
