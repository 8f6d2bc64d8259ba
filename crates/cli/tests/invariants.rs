//! What holds for every build, whatever is in the Dockerfile: nothing is done twice, nothing is left behind, nothing
//! grows with the size of the image, and a tag moves only when all that it names is there and was read back.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gantry_oci::{Digest, Document};
use gantry_testkit::{Access, DockerRegistry, Exchange, FakeRegistry, GantryCommand, ImageTarget};
use serde_json::{Value, json};

#[path = "support/poll.rs"]
mod poll;
#[path = "support/vertexes.rs"]
mod vertexes;
#[path = "support/world.rs"]
mod world;

use poll::{is_running, wait_for};
use vertexes::Vertexes;
use world::World;

/// Far more than starting a build takes, on a machine that does a lot besides.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a user waits after pressing ^C before they press it again.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// Two stages that have nothing to do with each other, and one that takes from both.
const TWO_STAGES: &str = "\
FROM BASE AS left
COPY left.txt /
RUN cat /left.txt > /l
FROM BASE AS right
COPY right.txt /
RUN cat /right.txt > /r
FROM BASE
COPY --from=left /l /
COPY --from=right /r /
";

/// What a build did.
#[track_caller]
fn build(world: &World, arguments: &[&str]) -> Vertexes {
    let output = world.build(&[&["--progress=rawjson"], arguments].concat()).success();
    world.assert_nothing_left();
    Vertexes::read(&output.stderr)
}

/// A world with the two stages and their files.
fn two_stages() -> World {
    let world = World::new(TWO_STAGES);
    world.gantry.write("left.txt", "1\n");
    world.gantry.write("right.txt", "1\n");
    world
}

// ---- Nothing is done twice ----

#[test]
fn root_a_second_build_reads_metadata_only() {
    let world = two_stages();
    let first = build(&world, &[]);
    assert_eq!(first.executed.len(), 6, "{first:?}");
    let asked = world.registry.log().len();

    let second = build(&world, &[]);
    assert_eq!((second.executed, second.built), (vec![], first.built));
    for exchange in &world.registry.log()[asked..] {
        assert!(is_about_metadata(exchange, &world.registry), "a cached build did {exchange:?}");
    }
}

/// Whether it reads a manifest or a config.
fn is_about_metadata(exchange: &Exchange, registry: &FakeRegistry) -> bool {
    let reads = ["GET", "HEAD"].contains(&exchange.method.as_str());
    let is_config = || {
        let digest = exchange.path.rsplit('/').next().and_then(|digest| digest.parse::<Digest>().ok());
        let blob = digest.and_then(|digest| registry.blob("library/busybox", &digest));
        blob.is_some_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok())
    };
    reads && (exchange.path == "/v2/" || exchange.path.contains("/manifests/") || is_config())
}

#[test]
fn root_a_new_time_of_a_file_is_no_change() {
    let world = two_stages();
    let first = build(&world, &[]);
    let file = File::options().write(true).open(world.gantry.directory().join("left.txt")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let second = build(&world, &[]);
    assert_eq!((second.executed, second.built), (vec![], first.built));
}

#[test]
fn root_a_new_content_runs_what_depends_on_it() {
    let world = two_stages();
    build(&world, &[]);
    world.gantry.write("right.txt", "2\n");
    let second = build(&world, &[]);
    assert_eq!(
        second.executed_sorted(),
        ["COPY --from=right /r /", "COPY right.txt /", "RUN cat /right.txt > /r",]
    );
    world.gantry.write("unused.txt", "2\n");
    let third = build(&world, &[]);
    assert_eq!((third.executed, third.built), (vec![], second.built));
}

#[test]
fn root_a_step_that_gives_the_same_again_stops_the_change() {
    let world = World::new(
        "FROM BASE AS a\nCOPY in.txt /\nRUN wc -c < /in.txt > /size\nFROM BASE\nCOPY --from=a /size /\nRUN cat /size\n",
    );
    world.gantry.write("in.txt", "1\n");
    build(&world, &[]);
    world.gantry.write("in.txt", "2\n");
    let second = build(&world, &[]);
    assert_eq!(second.executed_sorted(), ["COPY in.txt /", "RUN wc -c < /in.txt > /size"]);
}

#[test]
fn root_a_step_runs_again_for_what_its_mounts_show_and_for_nothing_else() {
    let mounts = [
        "RUN --mount=from=a,source=/d/seen,target=/m cat /m",
        "RUN --mount=source=shown,target=/c,rw echo 1 > /c/g && cat /c/f",
    ];
    let copies = ["COPY seen unseen /d/", "COPY unseen /u"];
    let world = World::new(&format!(
        "FROM BASE AS a\n{}\nFROM BASE\n{}\n{}\n",
        copies[0],
        mounts.join("\n"),
        copies[1]
    ));
    for file in ["seen", "unseen", "shown/f"] {
        world.gantry.write(file, "1\n");
    }
    assert_eq!(build(&world, &[]).executed.len(), 4);
    for (file, again) in [
        ("unseen", vec![copies[0], copies[1]]),
        ("shown/f", vec![copies[1], mounts[1]]),
        ("seen", vec![copies[0], copies[1], mounts[0], mounts[1]]),
    ] {
        world.gantry.write(file, "2\n");
        assert_eq!(build(&world, &[]).executed_sorted(), again, "{file}");
    }
}

#[test]
fn root_no_cache_runs_all_again() {
    let world = two_stages();
    let first = build(&world, &[]);
    let second = build(&world, &["--no-cache"]);
    assert_eq!(second.executed_sorted(), first.executed_sorted());
    let third = build(&world, &[]);
    assert_eq!(third.executed, Vec::<String>::new(), "what --no-cache made is there for later builds");
}

#[test]
fn root_what_two_platforms_share_runs_once() {
    let world = World::new(
        "FROM --platform=$BUILDPLATFORM BASE AS build\nRUN echo made > /made\nFROM BASE\nCOPY --from=build /made /\n",
    );
    let built = build(&world, &["--platform=linux/amd64,linux/arm64"]);
    assert_eq!(
        built.executed_sorted(),
        ["COPY --from=build /made /", "COPY --from=build /made /", "RUN echo made > /made",]
    );
}

#[test]
fn root_two_processes_share_the_work() {
    let world = World::new("FROM BASE\nRUN sleep 1.0301\nRUN echo done > /done\n");
    let first = start(&world, &["--progress=rawjson"]);
    wait_for("the first build's step", PATIENCE, || is_running("1.0301").then_some(()));
    let second = start(&world, &["--progress=rawjson"]);
    let (first, second) = (first.ends_well(), second.ends_well());
    assert!(first.built.is_some());
    assert_eq!(first.built, second.built);
    let mut executed = [first.executed_sorted(), second.executed_sorted()].concat();
    executed.sort_unstable();
    assert_eq!(executed, ["RUN echo done > /done", "RUN sleep 1.0301"], "{first:?} {second:?}");
    world.assert_nothing_left();
}

#[test]
fn root_independent_stages_run_at_the_same_time() {
    const STAGES: usize = 8;
    let stage = |n: usize| format!("FROM BASE AS s{n}\nRUN sleep 1 && echo {n} > /{n}\n");
    let copy = |n: usize| format!("COPY --from=s{n} /{n} /\n");
    let text: String =
        (0..STAGES).map(stage).chain(["FROM BASE\n".to_owned()]).chain((0..STAGES).map(copy)).collect();
    let world = World::new(&text);
    let start = Instant::now();
    let built = build(&world, &[]);
    let took = start.elapsed();
    assert_eq!(built.executed.len(), 2 * STAGES);
    // One after the other they sleep for eight seconds.
    assert!(took < Duration::from_secs(4), "{STAGES} stages took {took:?}");
}

// ---- Nothing is left behind ----

/// A build in the background; it is killed if the test ends early.
struct Running {
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

fn start(world: &World, arguments: &[&str]) -> Running {
    let mut command = world.gantry.command(world.arguments(arguments));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let stderr = Arc::new(Mutex::new(String::new()));
    let text = Arc::clone(&stderr);
    let reader = std::thread::spawn(move || {
        for line in lines {
            let mut text = text.lock().unwrap();
            text.push_str(&line.unwrap());
            text.push('\n');
        }
    });
    Running { child, stderr, reader: Some(reader) }
}

impl Running {
    /// Waits for the end; the exit code and what was written to standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of the build", PATIENCE, || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        let text = std::mem::take(&mut *self.stderr.lock().unwrap());
        (status.code(), text)
    }

    /// How far it is, by what it has told.
    fn so_far(&self) -> Vertexes {
        let text = self.stderr.lock().unwrap();
        Vertexes::read(&text)
    }

    #[track_caller]
    fn ends_well(self) -> Vertexes {
        let (code, stderr) = self.end();
        assert_eq!(code, Some(0), "{stderr}");
        Vertexes::read(&stderr)
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(status.success(), "kill -s {name} failed");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is gone already unless the test failed.
        let _ = self.child.kill();
    }
}

#[test]
fn root_signals_stop_a_build_and_all_of_its_steps() {
    for (signal, code, marker) in
        [("TERM", 143, "600.0701"), ("INT", 130, "600.0702"), ("HUP", 129, "600.0708")]
    {
        let world = World::new(&format!("FROM BASE\nRUN sh -c 'sleep {marker} & sleep {marker}'\n"));
        let running = start(&world, &["--progress=rawjson", "--push", "--tag=HOST/app:1"]);
        wait_for("the step", PATIENCE, || is_running(marker).then_some(()));
        let asked = Instant::now();
        running.signal(signal);
        let (ended, stderr) = running.end();
        let took = asked.elapsed();
        assert_eq!(ended, Some(code), "{stderr}");
        assert!(took < STOPS_WITHIN, "SIG{signal} took {took:?}");
        assert!(!is_running(marker), "a process of the step survived SIG{signal}");
        world.assert_nothing_left();
        assert!(world.registry.manifest("app", "1").is_none());
        assert!(stderr.contains(r#""error":"canceled""#), "{stderr}");
    }
}

#[test]
fn root_a_signal_stops_a_build_that_waits_for_another() {
    let world = World::new("FROM BASE\nRUN sleep 600.0703\n");
    let first = start(&world, &["--progress=rawjson"]);
    wait_for("the first build's step", PATIENCE, || is_running("600.0703").then_some(()));
    let second = start(&world, &["--progress=rawjson"]);
    // There is nothing between the base image and the step that the first build holds.
    let has_base =
        || second.so_far().cached.first().is_some_and(|name| name.starts_with("FROM")).then_some(());
    wait_for("the second build's base image", PATIENCE, has_base);
    for build in [second, first] {
        let asked = Instant::now();
        build.signal("TERM");
        let (code, stderr) = build.end();
        assert_eq!(code, Some(143), "{stderr}");
        assert!(asked.elapsed() < STOPS_WITHIN, "SIGTERM took {:?}", asked.elapsed());
    }
    world.assert_nothing_left();
}

#[test]
fn root_a_signal_stops_a_build_that_waits_for_a_registry() {
    for (method, part) in
        [("GET", "busybox/manifests/latest"), ("GET", "busybox/blobs/"), ("POST", "app/blobs/")]
    {
        let world = World::new("FROM BASE\nCOPY Dockerfile /\nRUN true\n");
        let (arrived, arrivals) = channel();
        let (release, released) = channel::<()>();
        world.registry.on_request(move |seen| {
            if seen.method == method && seen.path.contains(part) {
                // The registry is one thread: it answers nobody until the test is over.
                let _ = arrived.send(());
                let _ = released.recv();
            }
            None
        });
        let running = start(&world, &["--progress=rawjson", "--push", "--tag=HOST/app:1"]);
        arrivals.recv_timeout(PATIENCE).expect("the build asks the registry");
        let asked = Instant::now();
        running.signal("TERM");
        let (code, stderr) = running.end();
        assert_eq!(code, Some(143), "{method} {part}: {stderr}");
        assert!(asked.elapsed() < STOPS_WITHIN, "SIGTERM during {method} {part} took {:?}", asked.elapsed());
        world.assert_nothing_left();
        drop(release);
    }
}

#[test]
fn root_a_step_takes_its_children_with_it() {
    let world = World::new("FROM BASE\nRUN sleep 600.0705 & echo done > /done\n");
    assert_eq!(build(&world, &[]).executed.len(), 1);
    assert!(!is_running("600.0705"), "a process of the step survived it");
}

#[test]
fn root_a_failing_stage_stops_the_others() {
    let world = World::new(
        "FROM BASE AS long\nRUN --mount=type=cache,target=/c touch /c/begun; sleep 600.0706\n\
         FROM BASE AS short\nRUN --mount=type=cache,target=/c until [ -e /c/begun ]; do sleep 0.01; done; exit 3\n\
         FROM BASE\nCOPY --from=long /etc/group /\nCOPY --from=short /etc/passwd /\n",
    );
    let (code, stderr) = start(&world, &["--progress=rawjson"]).end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("failed with exit code 3"), "{stderr}");
    assert!(!is_running("600.0706"), "a step survived the build");
    world.assert_nothing_left();
}

#[test]
fn root_a_killed_build_takes_its_steps_with_it_and_the_next_one_cleans_up() {
    let world = World::new("FROM BASE\nRUN echo begun > /begun; sh -c 'sleep 3.0704 & sleep 3.0704'\n");
    let running = start(&world, &["--progress=rawjson"]);
    wait_for("the step", PATIENCE, || is_running("3.0704").then_some(()));
    running.signal("KILL");
    let (code, _) = running.end();
    assert_eq!(code, None, "a signal ended it");
    wait_for("the end of the step", STOPS_WITHIN, || (!is_running("3.0704")).then_some(()));
    let files_only = || world.left_behind().iter().all(|trace| trace.starts_with("file ")).then_some(());
    wait_for("the end of all processes and mounts", STOPS_WITHIN, files_only);
    // The same build again: it finds neither a half-made result nor a lock that nobody holds.
    let again = build(&world, &[]);
    assert_eq!(again.executed.len(), 1, "{again:?}");
}

// ---- Nothing grows with the size ----

#[test]
fn root_memory_does_not_grow_with_a_layer() {
    const SIZE: usize = 1 << 30;
    const MOST: u64 = 100 << 20;
    let registry = DockerRegistry::start();
    let gantry = GantryCommand::new(env!("CARGO_BIN_EXE_gantry"));
    gantry.write("Dockerfile", "FROM scratch\nCOPY large /\n");
    write_large(&gantry.directory().join("large"), SIZE);
    let tag = registry.reference("large:1").to_string();
    let output = gantry.run(["build", "--progress=rawjson", "--push", "--tag", &tag, "."]).success();
    let peak = output.peak_memory;
    assert!(peak < MOST, "building and pushing {SIZE} bytes took {peak} bytes of memory");
}

/// A file of which every other block compresses well, and the others not at all.
fn write_large(path: &std::path::Path, size: usize) {
    const BLOCK: usize = 1 << 16;
    let mut file = File::create(path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let text: Vec<u8> =
        b"all work and no play makes jack a dull boy\n".iter().copied().cycle().take(BLOCK).collect();
    let mut noise = Vec::with_capacity(BLOCK);
    for _ in 0..size / (2 * BLOCK) {
        noise.clear();
        while noise.len() < BLOCK {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            noise.extend(state.to_le_bytes());
        }
        file.write_all(&noise).and_then(|()| file.write_all(&text)).unwrap();
    }
}

// ---- A tag is a promise ----

const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/s390x"];

#[test]
fn root_a_tag_is_written_last_and_after_reading_back() {
    let world = World::new("FROM BASE\nARG TARGETARCH\nCOPY Dockerfile /for-$TARGETARCH\n");
    let platforms = format!("--platform={}", PLATFORMS.join(","));
    let asked = world.registry.log().len();
    let built = build(&world, &[&platforms, "--push", "--tag=HOST/app:1", "--tag=HOST/app:stable"]);

    let (root, media_type, bytes) = world.registry.manifest("app", "1").expect("the tag was written");
    assert_eq!(built.built, Some(root.to_string()));
    assert_eq!(world.registry.manifest("app", "stable").map(|(digest, ..)| digest), Some(root));
    let Document::Index(index) = Document::parse(&bytes, Some(&media_type)).unwrap() else {
        panic!("the tag is of an index")
    };
    let listed: Vec<_> =
        index.manifests.iter().map(|entry| entry.platform.as_ref().unwrap().to_string()).collect();
    assert_eq!(listed, PLATFORMS);

    let log = world.registry.log();
    let log: Vec<_> = log[asked..].iter().map(|one| (one.method.as_str(), one.path.as_str())).collect();
    let at = |method: &str, path: &str| log.iter().rposition(|one| *one == (method, path));
    let path = |reference: &str| format!("/v2/app/manifests/{reference}");
    let names_a_tag = |path: &str| path.contains("/manifests/") && !path.contains("sha256:");
    let first_tag = log.iter().position(|(method, path)| *method == "PUT" && names_a_tag(path));
    let first_tag = first_tag.expect("tags were written");
    let last_upload =
        log[..first_tag].iter().rposition(|(method, _)| ["PUT", "POST", "PATCH"].contains(method));
    for digest in index.manifests.iter().map(|entry| entry.digest).chain([root]) {
        let read = at("GET", &path(&digest.to_string()));
        assert!(read > last_upload, "{digest} is read back after everything was sent");
        assert!(read < Some(first_tag), "{digest} is read back before a tag is written");
    }
    let after: Vec<_> = log[first_tag..].iter().filter(|(method, _)| *method == "PUT").collect();
    assert_eq!(after, [&("PUT", path("1").as_str()), &("PUT", path("stable").as_str())]);
}

#[test]
fn root_one_failing_platform_keeps_the_tag() {
    let world = World::new("FROM BASE\nARG TARGETARCH\nCOPY for-$TARGETARCH /\n");
    world.gantry.write("for-amd64", "");
    world.gantry.write("for-arm64", "");
    let arguments = ["--platform=linux/amd64,linux/arm64,linux/s390x", "--push", "--tag=HOST/app:1"];
    let output = world.build(&arguments).code(1);
    assert!(output.stderr.contains("for-s390x"), "{}", output.stderr);
    // Base layers may have been sent by then: blobs that nothing names.
    assert_eq!(world.registry.logged("PUT", "/v2/app/manifests/"), []);
    world.assert_nothing_left();
}

// ---- Credentials ----

#[test]
fn root_credentials_from_the_config_file() {
    let world = protected_world();
    let auth = BASE64_STANDARD.encode("ann:secret");
    let config = json!({ "auths": { world.registry.host(): { "auth": auth } } });
    world.gantry.write("../docker/config.json", config.to_string());
    pushes_with_a_token(world);
}

#[test]
fn root_credentials_from_a_helper() {
    let world = protected_world();
    let answer = json!({ "ServerURL": "", "Username": "ann", "Secret": "secret" });
    // It answers only for the host that it is asked for on standard input, and is found by PATH.
    let host = world.registry.host();
    let script = format!("#!/bin/sh\nread -r host\n[ \"$1 $host\" = \"get {host}\" ] && echo '{answer}'\n");
    world.gantry.write("../helpers/docker-credential-vault", script);
    let helpers = world.gantry.home().join("helpers");
    let helper = helpers.join("docker-credential-vault");
    fs::set_permissions(helper, fs::Permissions::from_mode(0o755)).unwrap();
    world.gantry.write("../docker/config.json", json!({ "credHelpers": { host: "vault" } }).to_string());
    let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());
    pushes_with_a_token(World { gantry: world.gantry.env("PATH", path), ..world });
}

/// A registry that gives tokens to nobody but ann.
fn protected_world() -> World {
    let world = World::bare("FROM scratch\nCOPY Dockerfile /\n");
    world.registry.set_access(Access::bearer("ann", "secret", Duration::from_secs(300)));
    world
}

fn pushes_with_a_token(world: World) {
    let docker = world.gantry.home().join("docker");
    let world = World { gantry: world.gantry.env("DOCKER_CONFIG", docker), ..world };
    let built = build(&world, &["--push", "--tag=HOST/app:1"]);
    let (tagged, ..) = world.registry.manifest("app", "1").expect("the tag was written");
    assert_eq!(built.built, Some(tagged.to_string()));
    let puts = world.registry.logged("PUT", "/v2/app/");
    let with_token =
        |put: &&Exchange| put.authorization.as_deref().is_some_and(|text| text.starts_with("Bearer "));
    assert_eq!(puts.iter().filter(with_token).count(), puts.len(), "{puts:?}");
}
