//! What the user types and sees of registries: login and logout, configuration files, explanations, mirrors.

#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use gantry_testkit::{
    Access, Certificate, Entry, FakeRegistry, Fault, GantryCommand, ImageBuilder, ImageTarget, Quirk, TestCa,
    TlsFront,
};

fn gantry() -> GantryCommand {
    GantryCommand::new(env!("CARGO_BIN_EXE_gantry"))
}

/// Writes a file below the home of the runs.
fn write(gantry: &GantryCommand, path: &str, text: impl AsRef<[u8]>) {
    let path = gantry.home().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn docker_config(gantry: &GantryCommand) -> String {
    fs::read_to_string(gantry.home().join(".docker/config.json")).unwrap_or_default()
}

/// Runs with a text on standard input; the status and both outputs.
fn run_with_input(gantry: &GantryCommand, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = gantry.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_login_is_tried_kept_used_and_forgotten() {
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", Duration::from_secs(60)));
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    let (gantry, host) = (gantry(), registry.host());

    let (code, text) =
        run_with_input(&gantry, &["login", "-u", "me", "--password-stdin", &host], "hunter2\n");
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("refused the credentials: 401") && !text.contains("hunter2"), "{text}");
    assert_eq!(docker_config(&gantry), "", "what was refused is not kept");

    let (code, text) =
        run_with_input(&gantry, &["login", "-u", "me", "--password-stdin", &host], "right\r\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Login Succeeded\n") && text.contains("unencrypted"), "{text}");
    assert!(docker_config(&gantry).contains(&format!("\"{host}\": {{")), "{}", docker_config(&gantry));
    let explained = gantry.run(["registry", "explain", &format!("{host}/app:1")]).success();
    assert!(explained.stdout.contains("password of `me`"), "{}", explained.stdout);
    assert!(!format!("{explained:?}").contains("right\""), "a secret is shown");

    // What is known is tried first, so that nobody has to be asked.
    let again = gantry.run(["login", &host]).success();
    assert!(again.stdout.ends_with("of `me` that are known already\nLogin Succeeded\n"), "{}", again.stdout);

    insta::assert_snapshot!(gantry.run(["logout", &host]).success().snapshot(), @r"
    status: 0
    --- stdout
    Removing login credentials for 127.0.0.1:[PORT]
    --- stderr
    ");
    insta::assert_snapshot!(gantry.run(["logout", &host]).success().snapshot(), @r"
    status: 0
    --- stdout
    Not logged in to 127.0.0.1:[PORT]
    --- stderr
    ");
}

#[test]
fn an_identity_token_is_kept_in_the_place_of_the_password() {
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", Duration::from_secs(60)));
    registry.set_quirks(&[Quirk::IdentityTokens]);
    ImageBuilder::new("linux/amd64").build().push(&registry, "app", Some("1"));
    let (gantry, host) = (gantry(), registry.host());
    let arguments = ["login", "-u", "me", "--password-stdin", &host];
    let (code, text) = run_with_input(&gantry, &arguments, "right\n");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the identity token is kept unencrypted"), "{text}");
    let config: serde_json::Value = serde_json::from_str(&docker_config(&gantry)).unwrap();
    // Docker's form: the user stands there with an empty password.
    assert_eq!(
        config["auths"][&host],
        serde_json::json!({ "auth": "bWU6", "identitytoken": "identity-of-me" }),
        "the password is nowhere"
    );
    let name = format!("{host}/app:1");
    let _ = gantry.run(["image", "digest", &name]).success();
    let explained = gantry.run(["registry", "explain", &name]).success().stdout;
    assert!(explained.contains("identity token of `me`"), "{explained}");
    let again = gantry.run(["login", &host]).success();
    assert!(again.stdout.ends_with("of `me` that are known already\nLogin Succeeded\n"), "{}", again.stdout);
    let _ = gantry.run(["logout", &host]).success();
    assert!(!docker_config(&gantry).contains("identity"), "{}", docker_config(&gantry));
    let _ = gantry.run(["image", "digest", &name]).code(3);
}

#[test]
fn a_password_without_a_place_is_kept_nowhere() {
    let registry = FakeRegistry::with_access(Access::basic("me", "right"));
    let gantry = gantry().env("HOME", "").env("DOCKER_CONFIG", "");
    for arguments in [vec!["login", "-u", "me", "-p", "right"], vec!["logout"]] {
        let host = registry.host();
        let output = gantry.run(arguments.into_iter().chain([&*host]));
        assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
        assert!(output.stderr.contains("neither DOCKER_CONFIG nor HOME is set"), "{}", output.stderr);
    }
    let files = fs::read_dir(gantry.home().join("work")).unwrap();
    assert!(files.flatten().all(|file| file.file_name() != "config.json"), "the password is in the way");
    assert!(registry.log().is_empty());
}

#[test]
fn a_logout_says_who_still_knows_the_password() {
    let gantry = gantry();
    let entry = r#"{"auths": {"r.test": {"username": "me", "password": "right"}}}"#;
    write(&gantry, ".docker/config.json", entry);
    write(&gantry, "auth.json", entry);
    let gantry = {
        let path = gantry.home().join("auth.json");
        gantry.env("REGISTRY_AUTH_FILE", path)
    };
    insta::assert_snapshot!(gantry.run(["logout", "r.test"]).success().snapshot(), @r"
    status: 0
    --- stdout
    Removing login credentials for r.test
    --- stderr
    warning: there are still credentials for r.test: [HOME]/auth.json, `auths` entry `r.test`
    ");
    insta::assert_snapshot!(gantry.run(["logout", "r.test"]).success().snapshot(), @r"
    status: 0
    --- stdout
    Nothing to remove for r.test
    --- stderr
    warning: there are still credentials for r.test: [HOME]/auth.json, `auths` entry `r.test`
    ");
}

#[test]
fn a_login_by_helper_leaves_no_password_in_the_file() {
    let registry = FakeRegistry::with_access(Access::basic("me", "right"));
    let host = registry.host();
    let gantry = gantry();
    let kept = gantry.home().join("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in store) cat > {0};; get) cat {0};; erase) rm {0};; esac\n",
        kept.display()
    );
    write(&gantry, "bin/docker-credential-keep", script);
    let helper = gantry.home().join("bin/docker-credential-keep");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    write(&gantry, ".docker/config.json", r#"{"credsStore": "keep"}"#);
    let path = format!("{}:/usr/bin:/bin", gantry.home().join("bin").display());
    let gantry = gantry.env("PATH", path);

    insta::assert_snapshot!(gantry.run(["login", "-u", "me", "-p", "right", &host]).success().snapshot(), @r"
    status: 0
    --- stdout
    Login Succeeded
    --- stderr
    warning: a password on the command line can be seen by other users: --password-stdin hides it
    ");
    assert!(fs::read_to_string(&kept).unwrap().contains("right"));
    assert!(!docker_config(&gantry).contains("auth\""), "{}", docker_config(&gantry));
    let explained = gantry.run(["registry", "explain", &format!("{host}/app")]).success().stdout;
    assert!(explained.contains("password of `me` (helper `docker-credential-keep` of "), "{explained}");
    let _ = gantry.run(["logout", &host]).success();
    assert!(!kept.exists());
}

#[test]
fn logins_that_cannot_be() {
    let gantry = gantry();
    for (arguments, message) in [
        (vec!["login"], "there is no terminal to ask on"),
        (vec!["login", "--password-stdin"], "--password-stdin needs --username"),
        (vec!["login", "-u", "me", "--password-stdin", "127.0.0.1:1"], "the password is empty"),
        (vec!["login", "-u", "a:b", "-p", "x", "127.0.0.1:1"], "a user name cannot have a colon"),
        (vec!["login", "no host"], "`no host` is no registry's host"),
        (vec!["login", "-p", "x", "--password-stdin"], "cannot be used with"),
    ] {
        let output = gantry.run(&arguments).code(2);
        assert!(output.stderr.contains(message), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn everything_that_is_known_of_a_reference_is_explained() {
    let gantry = gantry().env("HTTPS_PROXY", "http://me:hunter2@proxy.test:3128");
    gantry.write("gantry.toml", "[registries.\"docker.io\"]\nmirrors = [\"mirror.test/hub\"]\n");
    write(&gantry, ".config/gantry/config.toml", "[registries.\"mirror.test\"]\nca = \"corp.pem\"\n");
    write(&gantry, "etc/docker/certs.d/mirror.test/me.cert", "");
    write(&gantry, "etc/docker/certs.d/mirror.test/me.key", "");
    write(&gantry, "etc/containers/registries.conf", "[[registry]\n");
    write(
        &gantry,
        ".docker/config.json",
        r#"{"auths": {"https://index.docker.io/v1/": {"auth": "dTpodW50ZXIy"}, "mirror.test": {"auth": "bTpodW50ZXIy"}}}"#,
    );
    let output = gantry.run(["registry", "explain", "busybox"]).success();
    insta::assert_snapshot!(output.snapshot(), @r#"
    status: 0
    --- stdout
    docker.io/library/busybox:latest

    1. mirror https://mirror.test/v2/hub/library/busybox/manifests/latest
       because      gantry.toml: [registries."docker.io"]
       asked to     pull, resolve
       transport    tls
       ca           [HOME]/.config/gantry/corp.pem ([HOME]/.config/gantry/config.toml: [registries."mirror.test"])
       shows        [HOME]/etc/docker/certs.d/mirror.test/me.cert ([HOME]/etc/docker/certs.d/mirror.test)
       proxy        http://proxy.test:3128/
       credentials  password of `m` ([HOME]/.docker/config.json, `auths` entry `mirror.test`)

    2. upstream https://registry-1.docker.io/v2/library/busybox/manifests/latest
       because      the reference names it
       asked to     pull, resolve, push
       transport    tls
       proxy        http://proxy.test:3128/
       credentials  password of `u` ([HOME]/.docker/config.json, `auths` entry `https://index.docker.io/v1/`)
    --- stderr
    warning: `[HOME]/etc/containers/registries.conf` is not used: line 1: unclosed array table, expected `]`
    "#);
    let json = gantry.run(["registry", "explain", "--format", "json", "busybox"]).success();
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["reference"], "docker.io/library/busybox:latest");
    assert_eq!(json["endpoints"][0]["role"], "mirror");
    assert_eq!(json["endpoints"][1]["credentials"]["user"], "u");
    assert!(!json.to_string().contains("hunter2"));
}

#[test]
fn the_nearest_source_of_a_setting_wins() {
    let gantry = gantry();
    let mirrors = |host: &str| format!("[registries.\"docker.io\"]\nmirrors = [\"{host}\"]\n");
    let first = |gantry: &GantryCommand, flags: &[&str]| -> String {
        let arguments = [&["registry", "explain", "busybox"], flags].concat();
        let output = gantry.run(arguments).success().stdout;
        output.lines().nth(2).unwrap().split('/').nth(2).unwrap().to_owned()
    };
    assert_eq!(first(&gantry, &[]), "registry-1.docker.io");
    let buildkit = "[registry.\"docker.io\"]\nmirrors = [\"buildkit.test\"]\n";
    write(&gantry, ".config/buildkit/buildkitd.toml", buildkit);
    assert_eq!(first(&gantry, &[]), "buildkit.test");
    let podman = "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"podman.test\"\n";
    write(&gantry, "etc/containers/registries.conf", podman);
    assert_eq!(first(&gantry, &[]), "podman.test");
    write(&gantry, "etc/containerd/certs.d/docker.io/hosts.toml", "[host.\"https://containerd.test\"]\n");
    assert_eq!(first(&gantry, &[]), "containerd.test");
    write(&gantry, "etc/gantry/config.toml", mirrors("machine.test"));
    assert_eq!(first(&gantry, &[]), "machine.test");
    write(&gantry, ".config/gantry/config.toml", mirrors("user.test"));
    assert_eq!(first(&gantry, &[]), "user.test");
    fs::create_dir_all(gantry.directory().join(".git")).unwrap();
    gantry.write("gantry.toml", mirrors("project.test"));
    assert_eq!(first(&gantry, &[]), "project.test");
    gantry.write("other.toml", mirrors("other.test"));
    assert_eq!(first(&gantry, &["--config", "other.toml"]), "other.test");
    assert_eq!(first(&gantry, &["--registry-mirror", "flag.test"]), "flag.test");
    let below = gantry.directory().join("a/b");
    fs::create_dir_all(&below).unwrap();
    assert_eq!(first(&gantry.in_directory(below), &[]), "project.test");
}

#[test]
fn a_mistake_in_our_own_file_is_shown() {
    let gantry = gantry();
    gantry.write("gantry.toml", "# mirrors\n[registries.\"docker.io\"]\nmirors = [\"m.test\"]\n");
    let output = gantry.run(["registry", "explain", "busybox"]).code(2);
    insta::assert_snapshot!(output.snapshot(), @r#"
    status: 2
    --- stdout
    --- stderr
    error: `gantry.toml` is not valid: unknown field `mirors`, expected one of `http`, `skip-verify`, `ca`, `client-cert`, `client-key`, `mirrors`, `credentials`
     --> gantry.toml:3:1
      |
    3 | mirors = ["m.test"]
      | ^^^^^^^^^^^^^^^^^^^
    hint: did you mean `mirrors`?
    "#);
    let _ = gantry.run(["--config", "absent.toml", "registry", "explain", "busybox"]).code(4);
}

#[test]
fn a_build_pulls_from_a_mirror_and_says_when_it_had_to_believe_it() {
    let (upstream, mirror) = (FakeRegistry::start(), FakeRegistry::start());
    let image = ImageBuilder::new("linux/amd64").layer(&[Entry::file("a", b"content")]).build();
    image.push(&upstream, "base", Some("1"));
    image.push(&mirror, "hub/base", Some("1"));
    let gantry = gantry();
    gantry.write("Dockerfile", format!("FROM {}/base:1\nLABEL a=b\n", upstream.host()));
    let flag = format!("{}={}/hub", upstream.host(), mirror.host());
    let build = ["build", "--platform=linux/amd64", "--registry-mirror", &flag, "--output=out", "."];
    let output = gantry.run(build).success();
    assert!(!output.stderr.contains("warning"), "{}", output.stderr);
    assert!(upstream.logged("GET", "/").is_empty(), "{:?}", upstream.log());
    assert!(mirror.logged("GET", "/blobs/").len() >= 2, "{:?}", mirror.log());
    upstream.on_request(|_| Some(Fault::status(403)));
    let output = gantry.run(build).success();
    assert!(output.stderr.contains("` was believed"), "{}", output.stderr);
}

#[test]
fn a_certificate_authority_of_the_configuration_is_trusted() {
    let (registry, ca) = (FakeRegistry::start(), TestCa::new());
    ImageBuilder::new("linux/amd64").build().push(&registry, "base", Some("1"));
    let front = TlsFront::start(&registry.host(), &ca, Certificate::Good);
    let gantry = gantry();
    gantry.write("Dockerfile", format!("FROM {}/base:1\nLABEL a=b\n", front.host()));
    let build = ["build", "--platform=linux/amd64", "--output=out", "."];
    let configure = |ca: &str| {
        let text = format!("[registries.\"{}\"]\nhttp = false\n{ca}", front.host());
        gantry.write("gantry.toml", text);
    };
    configure("");
    let output = gantry.run(build).code(1);
    assert!(output.stderr.contains("UnknownIssuer") && output.stderr.contains("(`ca`)"), "{}", output.stderr);
    fs::copy(ca.file(), gantry.directory().join("corp.pem")).unwrap();
    configure("ca = \"corp.pem\"\n");
    let _ = gantry.run(build).success();
}
