//! Publishing survives what may happen to it: tokens that run out, passwords that change, and being killed at any moment.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gantry_oci::Digest;
use gantry_testkit::{Access, Fault, ImageTarget};
use serde_json::{Value, json};

#[path = "support/complete.rs"]
mod complete;
#[path = "support/poll.rs"]
mod poll;
#[path = "support/world.rs"]
mod world;

use complete::complete;
use poll::{is_running, wait_for};
use world::World;

const PATIENCE: Duration = Duration::from_secs(60);
/// Shorter than the step, so that every token of before it has run out after it.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3);

// ---- Credentials ----

#[test]
fn root_a_password_in_the_file_that_changes_during_a_step() {
    let world = World::new("FROM BASE\nCOPY Dockerfile /\nRUN sleep 12.0801\n");
    let host = world.registry.host();
    let path = world.gantry.home().join("docker/config.json");
    world.gantry.write("../docker/config.json", "{}");
    let say = move |password: &str| {
        let auth = BASE64_STANDARD.encode(format!("ann:{password}"));
        fs::write(&path, json!({ "auths": { host.clone(): { "auth": auth } } }).to_string()).unwrap();
    };
    let docker = world.gantry.home().join("docker");
    let world = World { gantry: world.gantry.env("DOCKER_CONFIG", docker), ..world };
    rotated_during_a_step(&world, "12.0801", say);
}

#[test]
fn root_a_password_of_a_helper_that_changes_during_a_step() {
    let world = World::new("FROM BASE\nCOPY Dockerfile /\nRUN sleep 12.0802\n");
    let host = world.registry.host();
    world.gantry.write("../docker/config.json", json!({ "credHelpers": { host: "vault" } }).to_string());
    let secret = world.gantry.home().join("secret");
    let script = format!(
        "#!/bin/sh\nread -r host\nprintf '{{\"Username\":\"ann\",\"Secret\":\"%s\"}}' $(cat {})\n",
        secret.display()
    );
    world.gantry.write("../helpers/docker-credential-vault", script);
    let helpers = world.gantry.home().join("helpers");
    fs::set_permissions(helpers.join("docker-credential-vault"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());
    let docker = world.gantry.home().join("docker");
    let world = World { gantry: world.gantry.env("PATH", path).env("DOCKER_CONFIG", docker), ..world };
    rotated_during_a_step(&world, "12.0802", move |password| fs::write(&secret, password).unwrap());
}

/// Builds and pushes with tokens of three seconds; the password changes while the step with this marker sleeps.
#[track_caller]
fn rotated_during_a_step(world: &World, marker: &str, say: impl Fn(&str)) {
    say("first");
    world.registry.set_access(Access::bearer("ann", "first", TOKEN_LIFETIME));
    let arguments = world.arguments(&["--progress=plain", "--push", "--tag=HOST/app:1"]);
    let mut command = world.gantry.command(arguments);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the step", PATIENCE, || is_running(marker).then_some(()));
    say("second");
    world.registry.set_access(Access::bearer("ann", "second", TOKEN_LIFETIME));
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(complete(&world.registry, "app", "1").is_some());
    for secret in ["first", "second", "token-"] {
        assert!(!stderr.contains(secret), "{stderr}");
    }
}

// ---- Signals ----

#[test]
fn root_a_signal_ends_the_signing_hook_and_all_that_it_started() {
    let world = World::bare("FROM scratch\nCOPY Dockerfile /\n");
    let hook = "--sign-cmd=sleep 600.0803 & sleep 600.0803";
    let arguments = world.arguments(&["--quiet", "--push", "--tag=HOST/app:1", hook]);
    let mut command = world.gantry.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the hook", PATIENCE, || is_running("600.0803").then_some(()));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    let status = wait_for("the end of the build", PATIENCE, || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(143));
    wait_for("the end of the hook", PATIENCE, || (!is_running("600.0803")).then_some(()));
    assert!(world.registry.manifest("app", "1").is_none());
    world.assert_nothing_left();
}

// ---- Kills ----

/// Repositories, each with a tag of an older image, that the new one is published to.
const REPOSITORIES: usize = 20;
/// Kills for each: a hundred in all.
const KILLS: usize = 5;
/// About as many requests as a publish sends that has everything to send.
const REQUESTS: u64 = 36;

#[test]
fn root_a_publish_that_is_killed_a_hundred_times_never_leaves_a_broken_tag() {
    let world = World::bare("FROM scratch\nARG TARGETARCH\nCOPY shared /\nCOPY app.txt /only-$TARGETARCH\n");
    let [old, new] = ["old", "new"].map(|version| {
        world.gantry.write("shared", format!("shared by all platforms of {version}\n"));
        world.gantry.write("app.txt", format!("{version}\n"));
        let file = format!("--metadata-file={version}.json");
        let built =
            world.build(&["--platform=linux/amd64,linux/arm64,linux/s390x", &file, "--quiet"]).success();
        assert_eq!(built.stderr, "");
        let metadata = fs::read(world.gantry.directory().join(format!("{version}.json"))).unwrap();
        let metadata: Value = serde_json::from_slice(&metadata).unwrap();
        metadata["containerimage.digest"].as_str().unwrap().parse::<Digest>().unwrap()
    });
    let assassin = Assassin::at(&world);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for number in 0..REPOSITORIES {
        let repository = format!("app{number}");
        let tag = format!("--tag=HOST/{repository}:1");
        assert!(assassin.publish("old.json", &tag, None));
        assert_eq!(complete(&world.registry, &repository, "1"), Some(old));
        let mut kills = 0;
        while kills < KILLS {
            // Marsaglia's xorshift: the same moments in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let moment = Moment::of(state);
            kills += usize::from(!assassin.publish("new.json", &tag, Some(moment)));
            let found = complete(&world.registry, &repository, "1");
            assert!([Some(old), Some(new)].contains(&found), "{repository} after a kill: {moment:?}");
        }
        assert!(assassin.publish("new.json", &tag, None));
        assert_eq!(complete(&world.registry, &repository, "1"), Some(new), "{repository} in the end");
    }
    assert_eq!(stored_more_than_once(&world), BTreeMap::new(), "what a registry has is not sent again");
    let list = world
        .gantry
        .run(["publish", "--progress=plain", "old.json", &world.expand("--tag=HOST/last:1")])
        .success();
    assert!(!list.stderr.contains("did not end"), "{}", list.stderr);
    world.assert_nothing_left();
}

/// Blobs that a repository took twice, with how often.
fn stored_more_than_once(world: &World) -> BTreeMap<(String, String), usize> {
    let mut stored = BTreeMap::new();
    for put in world.registry.logged("PUT", "/blobs/uploads/").iter().filter(|put| put.status == Some(201)) {
        let repository = put.path.split("/blobs/").next().unwrap().to_owned();
        let digest = put.query.split("digest=").nth(1).unwrap().to_owned();
        *stored.entry((repository, digest)).or_insert(0) += 1;
    }
    stored.retain(|_, times| *times > 1);
    stored
}

/// When a publish is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// When the registry has got so many requests; that one is served to nobody.
    Served(usize),
    /// When the registry has got so many requests; that one is not served.
    Unserved(usize),
    /// So long after the registry has got so many requests, which goes on serving.
    After(usize, Duration),
}

impl Moment {
    /// A moment for each random number.
    fn of(number: u64) -> Self {
        let request = usize::try_from(number % REQUESTS).unwrap();
        match (number >> 32) % 3 {
            0 => Self::Served(request),
            1 => Self::Unserved(request),
            _ => Self::After(request, Duration::from_micros((number >> 40) % 3000)),
        }
    }

    fn request(self) -> usize {
        let (Self::Served(request) | Self::Unserved(request) | Self::After(request, _)) = self;
        request
    }
}

/// Runs publishes, and kills them at their moments.
struct Assassin<'a> {
    world: &'a World,
    /// The moment, and how many requests have come.
    plan: Arc<Mutex<Option<(Moment, usize)>>>,
    arrived: Receiver<Moment>,
    killed: Sender<()>,
}

impl<'a> Assassin<'a> {
    fn at(world: &'a World) -> Self {
        let plan = Arc::new(Mutex::new(None::<(Moment, usize)>));
        let (arrives, arrived) = channel();
        let (killed, is_killed) = channel();
        let of_hook = Arc::clone(&plan);
        world.registry.on_request(move |_| {
            let (moment, requests) = of_hook.lock().unwrap().take()?;
            if requests < moment.request() {
                *of_hook.lock().unwrap() = Some((moment, requests + 1));
                return None;
            }
            arrives.send(moment).unwrap();
            if matches!(moment, Moment::After(..)) {
                return None;
            }
            is_killed.recv().unwrap();
            matches!(moment, Moment::Unserved(_)).then_some(Fault::Drop { after: 0 })
        });
        Self { world, plan, arrived, killed }
    }

    /// Publishes; false if it was killed before it ended.
    fn publish(&self, result: &str, tag: &str, moment: Option<Moment>) -> bool {
        *self.plan.lock().unwrap() = moment.map(|moment| (moment, 0));
        let arguments = ["publish", "--quiet", result, &self.world.expand(tag)];
        let mut command = self.world.gantry.command(arguments);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let status = wait_for("the end of a publish", PATIENCE, || {
            if let Ok(moment) = self.arrived.try_recv() {
                if let Moment::After(_, delay) = moment {
                    std::thread::sleep(delay);
                }
                // It may have ended by itself after its last request.
                child.kill().unwrap();
                child.wait().unwrap();
                if !matches!(moment, Moment::After(..)) {
                    self.killed.send(()).unwrap();
                }
            }
            child.try_wait().unwrap()
        });
        *self.plan.lock().unwrap() = None;
        assert!(status.success() || status.code().is_none(), "{status}");
        status.success()
    }
}
