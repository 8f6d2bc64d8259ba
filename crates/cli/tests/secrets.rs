//! What a step is given and allowed besides files: secrets, agents, networks, limits. And what of it must not be found
//! anywhere afterwards.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use gantry_testkit::{BaseImages, FlatImage};

#[path = "support/world.rs"]
mod world;

use world::World;

/// A value that nothing else has.
const CANARY: &str = "canary-7f3a9c51e2";

/// Every file below a directory that has the text in it.
fn files_with(directory: &Path, text: &str) -> Vec<String> {
    let found = Command::new("grep").args(["-rlaF", "--", text]).arg(directory).output().unwrap();
    String::from_utf8_lossy(&found.stdout).lines().map(str::to_owned).collect()
}

/// Builds to an archive and gives the only image.
fn image(world: &World, arguments: &[&str]) -> FlatImage {
    let mut all = vec!["--output=type=oci,dest=image.tar"];
    all.extend(arguments);
    let _ = world.build(&all).success();
    FlatImage::read(&world.gantry.directory().join("image.tar")).into_values().next().unwrap()
}

fn text(image: &FlatImage, path: &str) -> String {
    let file = image.after(image.layers()).get(path).unwrap_or_else(|| panic!("there is no {path}"));
    match &file.kind {
        gantry_testkit::FlatKind::Regular { text: Some(text), .. } => text.clone(),
        other => panic!("{path} is {other:?}"),
    }
}

#[test]
fn root_a_secret_is_in_the_step_and_nowhere_else() {
    let world = World::new(
        "FROM BASE\n\
         RUN --mount=type=secret,id=token,target=/deep/er/token,mode=0440,uid=7,gid=8 \
         stat -c '%a %u %g %F' /deep/er/token > /seen; wc -c < /deep/er/token >> /seen; ! touch /deep/er/token\n\
         RUN --mount=type=secret,id=token cut -c1-6 /run/secrets/token >> /seen\n\
         RUN --mount=type=secret,id=variable,env=TOKEN echo ${#TOKEN} >> /seen; ! test -e /run/secrets/variable\n\
         RUN --mount=type=secret,id=none ! test -e /run/secrets/none && echo none >> /seen\n",
    );
    world.gantry.write("../token", CANARY);
    let gantry = ["--secret=id=token,src=../token", "--secret=id=variable,env=CANARY", "--progress=plain"];
    let world = World { gantry: world.gantry.env("CANARY", CANARY), registry: world.registry };
    let output =
        world.build(&[&gantry[..], &["--output=type=oci,dest=image.tar", "--metadata-file=meta"]].concat());
    let output = output.success();
    let image = FlatImage::read(&world.gantry.directory().join("image.tar")).into_values().next().unwrap();
    let size = CANARY.len();
    assert_eq!(text(&image, "seen"), format!("440 7 8 regular file\n{size}\ncanary\n{size}\nnone\n"));
    for path in ["deep", "run/secrets", "deep/er/token"] {
        assert!(!image.after(image.layers()).contains_key(path), "{path} was only there during the step");
    }
    assert!(!output.stdout.contains(CANARY) && !output.stderr.contains(CANARY), "it is in no message");
    assert_eq!(files_with(&world.store(), CANARY), [""; 0], "it is not in the store");
    assert_eq!(files_with(world.gantry.directory(), CANARY), [""; 0], "it is in no result");
    world.assert_nothing_left();
    // Another value is no other step.
    world.gantry.write("../token", "something else");
    let again = world.build(&gantry).success();
    assert!(!again.stderr.contains("stat -c") || again.stderr.contains("CACHED"), "{}", again.stderr);
}

#[test]
fn root_a_required_secret_must_be_there() {
    let world = World::new("FROM BASE\nRUN --mount=type=secret,id=token,required=true true\n");
    let refused = world.build(&[]).code(2);
    assert!(refused.stderr.contains("secret `token` is required"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--secret id=token"), "{}", refused.stderr);
    assert!(refused.stderr.contains("RUN --mount=type=secret"), "{}", refused.stderr);
    let missing = world.build(&["--secret=id=token,src=/none/at/all"]).code(4);
    assert!(missing.stderr.contains("/none/at/all"), "{}", missing.stderr);
}

/// An agent with one key, for the time of a test.
struct Agent {
    socket: String,
    id: String,
}

impl Agent {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("agent.socket").display().to_string();
        let key = directory.join("key").display().to_string();
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test-key", "-f", &key])
            .status();
        assert!(made.unwrap().success());
        let started = Command::new("ssh-agent").args(["-s", "-a", &socket]).output().unwrap();
        let words = String::from_utf8_lossy(&started.stdout).into_owned();
        let id = words.split("SSH_AGENT_PID=").nth(1).unwrap().split(';').next().unwrap().to_owned();
        let added = Command::new("ssh-add").args(["-q", &key]).env("SSH_AUTH_SOCK", &socket).status();
        assert!(added.unwrap().success());
        Self { socket, id }
    }

    fn keys(&self) -> String {
        let listed = Command::new("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &self.socket).output().unwrap();
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(&self.id).stdout(Stdio::null()).status();
    }
}

/// What the step sees of the socket, and what the agent answers: type of the answer, and whether the key is in it. First
/// it is asked for its keys, then to remove them all.
const ASK: &str = r#"stat -c '%F %a %u' $SSH_AUTH_SOCK > /seen; \
 for type in 11 19; do perl -MSocket -e ' \
  socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ENV{SSH_AUTH_SOCK})) or die $!; \
  syswrite(S, pack("NC", 1, $ARGV[0])); sysread(S, $l, 4); sysread(S, $b, unpack("N", $l)); \
  print ord($b), $b =~ /test-key/ ? " test-key" : "", "\n"' $type >> /seen; done"#;
/// The list of keys is answer 12, a refusal 5.
const SEEN: &str = "socket 600 0\n12 test-key\n5\n";

/// A world whose base has a program that speaks with sockets.
fn world_with_perl(run: &str) -> World {
    let world = World::bare(&format!("FROM HOST/library/debian\n{run}\n"));
    BaseImages::find().push("debian", &world.registry, "library/debian", "latest");
    world
}

#[test]
fn root_an_agent_is_forwarded_and_only_to_sign() {
    // The socket is the step's own, to give to any user of it.
    let run = format!("RUN --mount=type=ssh chown 5 $SSH_AUTH_SOCK && chown 0 $SSH_AUTH_SOCK && {ASK}");
    let world = world_with_perl(&run);
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path());
    let image = image(&world, &[&format!("--ssh=default={}", agent.socket)]);
    assert_eq!(text(&image, "seen"), SEEN);
    assert!(agent.keys().contains("test-key"), "the user's agent still has its key");
    assert!(!image.after(image.layers()).contains_key("run/buildkit"), "the mount point is gone");
    world.assert_nothing_left();
}

#[test]
fn root_keys_are_put_into_an_agent_of_their_own() {
    let world = world_with_perl(&format!("RUN --mount=type=ssh,id=deploy {ASK}"));
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path());
    let key = directory.path().join("key");
    let image = image(&world, &[&format!("--ssh=deploy={}", key.display())]);
    assert_eq!(text(&image, "seen"), SEEN);
    drop(agent);
    world.assert_nothing_left();
    // A passphrase cannot be asked for.
    let locked =
        Command::new("ssh-keygen").args(["-q", "-p", "-N", "passphrase", "-f"]).arg(&key).status().unwrap();
    assert!(locked.success());
    let refused = world.build(&[&format!("--ssh=deploy={}", key.display())]).code(2);
    assert!(refused.stderr.contains("--ssh deploy"), "{}", refused.stderr);
}

#[test]
fn root_a_required_agent_must_be_there() {
    let world = World::new("FROM BASE\nRUN --mount=type=ssh,required=true true\n");
    let refused = world.build(&[]).code(2);
    assert!(refused.stderr.contains("SSH agent `default` is required"), "{}", refused.stderr);
    world.dockerfile("FROM BASE\nRUN --mount=type=ssh ! test -e $SSH_AUTH_SOCK\n");
    let _ = world.build(&[]).success();
}

#[test]
fn root_what_is_not_allowed_is_refused_before_any_work() {
    let insecure =
        "RUN --security=insecure mkdir /m && mount -t tmpfs none /m && grep CapEff /proc/self/status > /caps";
    let world = World::new(&format!("FROM BASE\nRUN echo first\n{insecure}\n"));
    let refused = world.build(&["--progress=plain"]).code(2);
    assert!(refused.stderr.contains("security.insecure is not allowed"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("RUN echo first"), "nothing ran: {}", refused.stderr);
    let image = image(&world, &["--allow=security.insecure"]);
    assert!(text(&image, "caps").trim_end().ends_with("ff"), "{}", text(&image, "caps"));
    world.dockerfile("FROM BASE\nRUN --network=host ip addr > /dev/null\n");
    let refused = world.build(&[]).code(2);
    assert!(refused.stderr.contains("network.host is not allowed"), "{}", refused.stderr);
    for allowed in ["--allow=network.host", "--network=host"] {
        let _ = world.build(&[allowed]).success();
    }
}

#[test]
fn root_networks_hosts_limits_and_sizes() {
    let world = World::new(
        "FROM BASE\n\
         RUN ls /sys/class/net > /interfaces\n\
         RUN --network=none ls /sys/class/net > /none\n\
         RUN grep build.test /etc/hosts > /hosts; ulimit -n > /limits; df -k /dev/shm | tail -n1 > /shm\n",
    );
    let arguments = [
        "--add-host=build.test=10.1.2.3",
        "--add-host=six.build.test:[::1]",
        "--ulimit=nofile=321:654",
        "--shm-size=3m",
        "--cgroup-parent=ignored",
        "--network=none",
    ];
    let image = image(&world, &arguments);
    assert_eq!(text(&image, "interfaces"), "lo\n", "--network=none counts for all steps");
    assert_eq!(text(&image, "none"), "lo\n");
    assert_eq!(text(&image, "hosts"), "10.1.2.3\tbuild.test\n::1\tsix.build.test\n");
    assert_eq!(text(&image, "limits"), "321\n");
    assert!(text(&image, "shm").contains(" 3072 "), "{}", text(&image, "shm"));
}

#[test]
fn root_the_cache_of_single_stages_is_left_out() {
    let world = World::new(
        "FROM BASE AS one\nRUN head -c8 /dev/urandom | od -An -tx1 > /1\nFROM one AS two\nRUN head -c8 /dev/urandom | od -An -tx1 > /2\n",
    );
    let both = |arguments: &[&str]| {
        let image = image(&world, arguments);
        (text(&image, "1"), text(&image, "2"))
    };
    let first = both(&[]);
    assert_eq!(both(&[]), first);
    let second = both(&["--no-cache-filter=two"]);
    assert_eq!(second.0, first.0);
    assert_ne!(second.1, first.1);
    let _ = world.build(&["--no-cache", "--no-cache-filter=two"]).code(2);
    fs::metadata(world.store()).unwrap();
}

/// One round of a wait for another step, which fails a minute after the step began: a wait without an end would be a test that
/// hangs instead of failing.
const PATIENCE: &str = ": ${begin:=$(date +%s)}; [ $(($(date +%s) - begin)) -lt 60 ] || exit 1";

#[test]
fn root_caches_are_shared_as_asked_by_steps_that_run_at_once() {
    // Each of the first two ends when the other one has begun, and each of the last two fails if the other one is there.
    let dockerfile = "FROM BASE AS a\n\
         RUN --mount=type=cache,id=meet,target=/s --mount=type=cache,id=own,sharing=private,target=/p \
         touch /p/a /s/a; until [ -e /s/b ]; do PATIENCE; done; ls /p > /seen\n\
         FROM BASE AS b\n\
         RUN --mount=type=cache,id=meet,target=/s --mount=type=cache,id=own,sharing=private,target=/p \
         touch /p/b /s/b; until [ -e /s/a ]; do PATIENCE; done; ls /p > /seen\n\
         FROM BASE AS c\n\
         RUN --mount=type=cache,id=alone,sharing=locked,target=/l \
         i=0; while [ $i -lt 300 ]; do mkdir /l/in || exit 1; rmdir /l/in; i=$((i+1)); done; touch /seen\n\
         FROM BASE AS d\n\
         RUN --mount=type=cache,id=alone,sharing=locked,target=/l \
         i=0; while [ $i -lt 300 ]; do mkdir /l/in || exit 1; rmdir /l/in; i=$((i+1)); done; : > /seen\n\
         FROM BASE\n\
         COPY --from=a /seen /a\nCOPY --from=b /seen /b\nCOPY --from=c /seen /c\nCOPY --from=d /seen /d\n";
    let world = World::new(&dockerfile.replace("PATIENCE", PATIENCE));
    let image = image(&world, &[]);
    assert_eq!((text(&image, "a").as_str(), text(&image, "b").as_str()), ("a\n", "b\n"));
    world.assert_nothing_left();
}

#[test]
fn root_a_secret_that_is_no_text_is_a_variable_as_the_reference_has_it() {
    let world = World::new("FROM BASE\nRUN --mount=type=secret,id=s,env=S printf %s \"$S\" > /seen\n");
    world.gantry.write("secret", b"a\xff\xfeb");
    assert_eq!(text(&image(&world, &["--secret=id=s,src=secret"]), "seen"), "a\u{fffd}\u{fffd}b");
    world.gantry.write("secret", b"a\0b");
    let refused = world.build(&["--no-cache", "--secret=id=s,src=secret"]).code(1);
    assert!(refused.stderr.contains("secret `s`") && refused.stderr.contains("NUL"), "{}", refused.stderr);
}

#[test]
fn root_a_cache_can_be_a_file() {
    let mount = "--mount=type=cache,id=list,from=seed,source=/etc/list,target=/list";
    let world = World::new(&format!(
        "FROM BASE AS seed\nRUN echo seed > /etc/list; chown 5:6 /etc/list; chmod 640 /etc/list\n\
         FROM BASE\n\
         RUN {mount} stat -c '%u %g %a %F' /list > /look; echo more >> /list\n\
         RUN {mount},ro cat /list > /seen; ! echo x >> /list\n",
    ));
    let image = image(&world, &[]);
    assert_eq!(text(&image, "look"), "5 6 640 regular file\n");
    assert_eq!(text(&image, "seen"), "seed\nmore\n");
    world.assert_nothing_left();
}
