//! On which terms tags move: what was read back, policies, expectations, signatures, and other jobs.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::fs;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use gantry_oci::Digest;
use gantry_testkit::{Fault, ImageTarget};

#[path = "support/complete.rs"]
mod complete;
#[path = "support/publishing.rs"]
mod publishing;
#[path = "support/world.rs"]
#[allow(dead_code, reason = "no image here has a base")]
mod world;

use complete::complete;
use publishing::{build, built, digest, publish, published, publishing, refused, world};

// ---- Verification ----

#[test]
fn root_what_is_not_read_back_as_it_was_sent_gets_no_tag() {
    let world = world();
    let image = build(&world, "1\n", &[]);
    let header = |name: &str, value: &str| Fault::Headers(vec![(name.to_owned(), value.to_owned())]);
    for (number, (method, part, fault, message)) in [
        (
            "GET",
            "/manifests/sha256:",
            header("content-type", "application/vnd.oci.image.layer.v1.tar"),
            "came back as",
        ),
        ("GET", "/manifests/sha256:", Fault::Body(b"{}".to_vec()), "instead of"),
        ("GET", "/blobs/sha256:", Fault::Body(b"{}".to_vec()), "pulling blob"),
        ("HEAD", "/blobs/sha256:", Fault::status(404), "lost blob"),
        ("GET", "/manifests/sha256:", Fault::status(404), "404 Not Found"),
    ]
    .into_iter()
    .enumerate()
    {
        world.registry.on_request(move |seen| {
            (seen.method == method && seen.path.contains(part)).then(|| fault.clone())
        });
        let tag = format!("--tag=HOST/app{number}:1");
        let output = publish(&world, &[&image.to_string(), &tag]);
        let code = if message.starts_with("404") { 6 } else { 5 };
        assert_eq!(output.status.code(), Some(code), "{message}: {}", output.stderr);
        assert!(output.stderr.contains(message), "{message}: {}", output.stderr);
        assert!(world.registry.manifest(&format!("app{number}"), "1").is_none(), "{message}");
    }
    // All of them can be ended at once.
    world.registry.on_request(|_| None);
    published(&world, &[&image.to_string()]);
    for number in 0..5 {
        assert_eq!(complete(&world.registry, &format!("app{number}"), "1"), Some(image));
    }
    assert!(!publish(&world, &["--list"]).success().stdout.contains("not ended"));
}

// ---- Terms ----

#[test]
fn root_tag_policies_and_expectations() {
    let world = world();
    let old = build(&world, "1\n", &["--tag=HOST/app:1"]);
    let new = build(&world, "2\n", &["--tag=HOST/app:1"]);
    let (old_text, new_text) = (old.to_string(), new.to_string());
    let at = |digest: &Digest| format!("--expect-digest={digest}");
    let steps: [(&str, &[&str], i32, Option<Digest>); 11] = [
        (&old_text, &[&at(&new)], 6, None),
        (&old_text, &["--expect-digest=absent"], 0, Some(old)),
        // A publish that is repeated finds its own tag.
        (&old_text, &["--expect-digest=absent", "--tag-policy=immutable"], 0, Some(old)),
        (&new_text, &["--expect-digest=absent"], 6, Some(old)),
        (&new_text, &["--tag-policy=immutable"], 6, Some(old)),
        // It expects of the tag what it is to become.
        (&new_text, &[&at(&new)], 6, Some(old)),
        (&new_text, &[&format!("--expect-digest=HOST/app:1={old}")], 0, Some(new)),
        (&new_text, &["--tag-policy=immutable"], 0, Some(new)),
        (&old_text, &["--expect-digest=HOST/typo:1=absent"], 2, Some(new)),
        (&old_text, &["--expect-digest=absent", "--expect-digest=UPPER=absent"], 2, Some(new)),
        (&old_text, &[], 0, Some(old)),
    ];
    for (number, (result, arguments, code, then)) in steps.into_iter().enumerate() {
        let output = publish(&world, &[&[result, "--tag=HOST/app:1"], arguments].concat()).code(code);
        assert_eq!(complete(&world.registry, "app", "1"), then, "step {number}: {}", output.stderr);
        assert_eq!(publish(&world, &["--list"]).success().stderr, "");
    }
    // The configuration can say it, too, and of several tags none moves if one must not.
    world.gantry.write("gantry.toml", "[publish]\ntag-policy = \"immutable\"\n");
    let output = publish(&world, &[&new_text, "--tag=HOST/app:2", "--tag=HOST/app:1"]).code(6);
    assert!(output.stderr.contains("is immutable"), "{}", output.stderr);
    assert_eq!(complete(&world.registry, "app", "2"), None);
    // What is copied or combined keeps to it as well.
    let image = |arguments: &[&str]| {
        world.gantry.run([&["image"], arguments].concat().iter().map(|argument| world.expand(argument)))
    };
    published(&world, &[&new_text, "--tag=HOST/app:3"]);
    for arguments in
        [&["copy", "HOST/app:3", "HOST/app:1"][..], &["create", "--tag=HOST/app:1", "HOST/app:3"]]
    {
        let output = image(arguments).code(6);
        assert!(output.stderr.contains("is immutable"), "{}", output.stderr);
        assert_eq!(complete(&world.registry, "app", "1"), Some(old));
        let _ = image(&[arguments, &["--tag-policy=overwrite"]].concat()).success();
        assert_eq!(complete(&world.registry, "app", "1"), Some(new));
        published(&world, &[&old_text, "--tag=HOST/app:1", "--tag-policy=overwrite"]);
    }
    published(&world, &[&new_text, "--tag=HOST/app:1", "--tag-policy=overwrite"]);
    assert_eq!(complete(&world.registry, "app", "1"), Some(new));
    world.gantry.write("gantry.toml", "[publish]\ntag-policy = \"newest\"\n");
    assert!(publish(&world, &[&new_text]).code(2).stderr.contains("`newest`"));
}

#[test]
fn root_forward_refuses_what_is_older() {
    let world = world();
    let made = |revision: &str, created: &str| {
        let annotation =
            |key: &str, value: &str| format!("--annotation=index:org.opencontainers.image.{key}={value}");
        let arguments = [annotation("revision", revision), annotation("created", created)];
        build(&world, "1\n", &arguments.each_ref().map(String::as_str)).to_string()
    };
    let (monday, tuesday) = ("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z");
    let (a_monday, b_tuesday) = (made("c0ffee", monday), made("beef", tuesday));
    let (r7_tuesday, r12_monday) = (made("7", tuesday), made("12", monday));
    for (first, then, code) in [
        (&a_monday, &b_tuesday, 0),
        (&b_tuesday, &a_monday, 6),
        (&b_tuesday, &b_tuesday, 0),
        (&r7_tuesday, &r12_monday, 0),
        (&r12_monday, &r7_tuesday, 6),
    ] {
        published(&world, &[first, "--tag=HOST/app:1"]);
        let output = publish(&world, &[then, "--tag=HOST/app:1", "--tag-policy=forward"]).code(code);
        let expected = if code == 0 { then } else { first };
        assert_eq!(
            complete(&world.registry, "app", "1").unwrap().to_string(),
            **expected,
            "{}",
            output.stderr
        );
        assert_eq!(output.stderr.contains("which is newer"), code == 6, "{}", output.stderr);
    }
}

#[test]
fn root_a_registry_that_compares_has_the_last_word() {
    let world = world();
    let old = build(&world, "1\n", &["--push", "--tag=HOST/app:1"]);
    let new = build(&world, "2\n", &[]);
    let headers = Arc::new(Mutex::new(Vec::new()));
    let seen_headers = Arc::clone(&headers);
    world.registry.on_request(move |seen| {
        let is_tag = seen.method == "PUT" && (seen.path.ends_with("/1") || seen.path.ends_with("/2"));
        if !is_tag {
            // The registry's own mark of what stands there, which is not its digest.
            let is_looked_up = seen.path.ends_with("/manifests/1");
            return is_looked_up.then(|| Fault::Headers(vec![("etag".to_owned(), "\"mark\"".to_owned())]));
        }
        for name in ["if-match", "if-none-match"] {
            let value = seen.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
            seen_headers.lock().unwrap().extend(value.map(|value| format!("{name}: {value}")));
        }
        Some(Fault::status(412))
    });
    let expect = format!("--expect-digest={old}");
    let output = publish(&world, &[&new.to_string(), "--tag=HOST/app:1", &expect]).code(6);
    assert!(output.stderr.contains("moved by somebody else just now"), "{}", output.stderr);
    refused(&world, &[&new.to_string(), "--tag=HOST/app:2", "--expect-digest=absent"], 6);
    assert_eq!(*headers.lock().unwrap(), ["if-match: \"mark\"", "if-none-match: *"]);
}

#[test]
fn root_two_jobs_that_publish_one_tag_leave_one_whole_image() {
    let world = world();
    let images = ["1\n", "2\n"].map(|content| build(&world, content, &[]));
    for round in 0..4 {
        let tag = format!("--tag=HOST/race{round}:1");
        let jobs: Vec<(Child, String)> = images
            .iter()
            .map(|image| {
                let file = format!("{}.json", image.hex());
                let arguments = [image.to_string(), tag.clone(), format!("--metadata-file={file}")];
                let arguments = publishing(&world, &arguments.each_ref().map(String::as_str));
                let mut command = world.gantry.command(arguments);
                (command.stderr(Stdio::null()).spawn().unwrap(), file)
            })
            .collect();
        for ((mut job, file), image) in jobs.into_iter().zip(images) {
            assert!(job.wait().unwrap().success());
            assert_eq!(digest(&world, &file), image, "each reports what it published");
        }
        let found = complete(&world.registry, &format!("race{round}"), "1").unwrap();
        assert!(images.contains(&found));
    }
    world.assert_nothing_left();
}

#[test]
fn root_a_tag_that_another_job_moved_is_reported() {
    let world = world();
    let ours = build(&world, "1\n", &[]);
    let theirs = Digest::of("another job\'s");
    let lie = Fault::Headers(vec![("docker-content-digest".to_owned(), theirs.to_string())]);
    world.registry.on_request(move |seen| {
        (seen.method == "HEAD" && seen.path.ends_with("/manifests/1")).then(|| lie.clone())
    });
    let output = publish(&world, &[&ours.to_string(), "--tag=HOST/app:1"]).success();
    assert!(output.stderr.contains(&format!("app:1 to {theirs} after it was written")), "{}", output.stderr);
}

// ---- Signing ----

#[test]
fn root_the_signing_hook_comes_before_any_tag() {
    let world = world();
    let image = build(&world, "1\n", &[]);
    let result = image.to_string();
    refused(&world, &[&result, "--forget"], 4);
    let log = world.gantry.directory().join("signed");
    let script = "echo signing $GANTRY_DIGEST; echo \"$GANTRY_REF $GANTRY_REPOSITORY [$GANTRY_TAGS] $GANTRY_PLATFORMS\" >> signed";
    let failing = format!("{script}; exit 3");
    let tags = ["--tag=HOST/app:1", "--tag=HOST/app:2", "--tag=HOST/other:1"];

    let output = publish(&world, &[&[&result[..], "--sign-cmd", &failing], &tags[..]].concat()).code(6);
    assert!(output.stderr.contains("exit status: 3"), "{}", output.stderr);
    assert!(output.stderr.contains(&format!("signing {image}")), "{}", output.stderr);
    for (repository, tag) in [("app", "1"), ("app", "2"), ("other", "1")] {
        assert!(world.registry.manifest(repository, tag).is_none());
    }
    assert!(world.registry.manifest("app", &result).is_some(), "it was there to be signed");
    fs::remove_file(&log).unwrap();

    // What was begun with a signature does not end without one.
    let unsigned = publish(&world, &[&result]).code(2);
    assert!(unsigned.stderr.contains("was to be signed"), "{}", unsigned.stderr);
    published(&world, &[&result, "--sign-cmd", script]);
    let host = world.registry.host();
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        format!(
            "{host}/app@{image} {host}/app [1 2] linux/amd64,linux/arm64\n{host}/other@{image} {host}/other [1] linux/amd64,linux/arm64\n"
        )
    );
    for (repository, tag) in [("app", "1"), ("app", "2"), ("other", "1")] {
        assert_eq!(complete(&world.registry, repository, tag), Some(image));
    }
    let output = world.build(&["--sign-cmd=true"]).code(2);
    assert!(output.stderr.contains("nothing is pushed"), "{}", output.stderr);
    world.gantry.write("gantry.toml", "[publish]\nsign-cmd = \"exit 4\"\n");
    built(&world, &["--quiet"]);
    refused(&world, &[&result, "--tag=HOST/app:3"], 6);
    let output = world.build(&["--push", "--tag=HOST/app:4"]).code(6);
    assert!(output.stderr.contains("exit status: 4"), "{}", output.stderr);
    assert!(world.registry.manifest("app", "4").is_none());
    world.assert_nothing_left();
}

// ---- The journal ----

#[test]
fn root_what_did_not_end_is_mentioned_and_goes_on_on_its_terms() {
    let world = world();
    let old = build(&world, "1\n", &["--push", "--tag=HOST/app:1"]);
    let new = build(&world, "2\n", &[]);
    world.registry.on_request(|seen| seen.path.ends_with("/manifests/1").then(|| Fault::status(403)));
    let expect = format!("--expect-digest={old}");
    refused(&world, &[&new.to_string(), "--tag=HOST/app:1", &expect], 3);
    world.registry.on_request(|_| None);
    let other = publish(&world, &[&old.to_string(), "--tag=HOST/other:1"]).success();
    assert!(other.stderr.contains(&format!("an earlier publish of {new}")), "{}", other.stderr);
    let list = publish(&world, &["--list"]).success().stdout;
    let line = list.lines().last().unwrap();
    assert!(line.starts_with(&format!("not ended: {}", &new.hex()[..12])), "{list}");
    assert!(line.ends_with("it was verified, and had 0 of 1 tags"), "{list}");
    let document = publish(&world, &["--list", "--format=json"]).success().stdout;
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let unfinished = &document["unfinished"][0];
    assert_eq!((&unfinished["digest"], &unfinished["state"]), (&new.to_string().into(), &"verified".into()));
    assert_eq!(unfinished["names"][0], world.expand("HOST/app:1"));
    // Somebody publishes in between: what was expected of the tag is no longer so.
    published(&world, &[&old.to_string(), "--tag=HOST/app:between"]);
    let between = build(&world, "3\n", &["--push", "--tag=HOST/third:1"]);
    let (_, media_type, bytes) = world.registry.manifest("third", "1").unwrap();
    world.registry.put_manifest("app", Some("1"), &media_type, &bytes);
    let refused = publish(&world, &[&new.to_string()]).code(6);
    assert!(
        refused.stderr.contains(&format!("expected to point at {old}, but points at {between}")),
        "{}",
        refused.stderr
    );
    let quiet = publish(&world, &[&old.to_string(), "--tag=HOST/other:2"]).success();
    assert!(!quiet.stderr.contains("an earlier publish"), "what was refused is over: {}", quiet.stderr);
}

#[test]
fn root_what_nobody_wants_any_more_is_forgotten() {
    let world = world();
    let image = build(&world, "1\n", &["--tag=HOST/app:1"]).to_string();
    world.registry.on_request(|_| Some(Fault::status(400)));
    let said = refused(&world, &[&image], 6);
    assert!(said.contains(&format!("`gantry publish {image}` goes on from here")), "{said}");
    assert!(publish(&world, &["--list"]).success().stdout.contains("not ended"));
    published(&world, &[&image, "--forget"]);
    assert!(!publish(&world, &["--list"]).success().stdout.contains("not ended"));
    world.assert_nothing_left();
}
