//! Sources behind TLS, with an authority that only this machine knows: files and repositories, with the secrets of their
//! host, directly and through a proxy.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use gantry_testkit::{
    Certificate, ForwardProxy, GitHttpServer, GitServer, Page, TestCa, TlsFront, WebServer,
};

#[path = "support/building.rs"]
mod building;
#[path = "support/world.rs"]
mod world;

use building::{build, built, text};
use world::World;

/// The name in certificates for another host.
const FAR_AWAY: &str = "other.test";
const TOKEN: &str = "token-5d1c";

/// A world that believes an authority, and has the token in a file.
fn world(dockerfile: &str, ca: &TestCa) -> World {
    let world = World::new(dockerfile);
    world.gantry.write("token", format!("{TOKEN}\n"));
    World { gantry: world.gantry.env("SSL_CERT_FILE", ca.file()), registry: world.registry }
}

/// What a host asks of who has the token.
fn login() -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("x-access-token:{TOKEN}")))
}

fn host_of(web: &WebServer) -> String {
    web.url("").trim_start_matches("http://").to_owned()
}

#[test]
fn root_files_behind_an_authority_of_ones_own() {
    let (web, ca) = (WebServer::start(), TestCa::new());
    web.put("/f", Page::new("content"));
    let front = TlsFront::start(&host_of(&web), &ca, Certificate::Good);
    let dockerfile = format!("FROM scratch\nADD https://{}/f /\n", front.host());
    let refused = World::new(&dockerfile).build(&[]);
    assert_ne!(refused.status.code(), Some(0), "nobody knows the authority");
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
    let world = world(&dockerfile, &ca);
    assert_eq!(
        text(&built(&world, &["--secret=id=HTTP_AUTH_TOKEN_127.0.0.1,src=token", "."]), "f"),
        "content"
    );
    let seen = web.take_seen();
    assert_eq!(seen.len(), 1, "the first build did not get that far");
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {TOKEN}"));
}

#[test]
fn root_files_and_repositories_through_a_proxy() {
    let (web, git, ca) = (WebServer::start(), GitServer::start(), TestCa::new());
    web.put("/f", Page::new("content"));
    let _ = git.commit("repo.git", &[("a", "from the repository\n")]);
    let repositories = GitHttpServer::start(git.root(), Some(&login()));
    let proxy_login = format!("Basic {}", BASE64_STANDARD.encode("me:pw"));
    // Git says who it is only if the proxy asks for that.
    for (backend, dockerfile, secret, (file, expected), login) in [
        (
            host_of(&web),
            format!("FROM scratch\nADD https://{FAR_AWAY}/f /\n"),
            format!("--secret=id=HTTP_AUTH_TOKEN_{FAR_AWAY},src=token"),
            ("f", "content"),
            Some(proxy_login),
        ),
        (
            repositories.host(),
            format!("FROM scratch\nADD https://{FAR_AWAY}/repo.git#main /\n"),
            format!("--secret=id=GIT_AUTH_TOKEN.{FAR_AWAY},src=token"),
            ("a", "from the repository\n"),
            None,
        ),
    ] {
        let front = TlsFront::start(&backend, &ca, Certificate::OtherName);
        let proxy = ForwardProxy::connect(front.host());
        let world = world(&dockerfile, &ca);
        let address = format!("http://me:pw@{}", proxy.host());
        let world = World { gantry: world.gantry.env("HTTPS_PROXY", address), registry: world.registry };
        assert_eq!(text(&built(&world, &[&secret, "."]), file), expected);
        let tunnels = proxy.tunnels();
        assert!(!tunnels.is_empty() && tunnels.iter().all(|tunnel| tunnel.to == format!("{FAR_AWAY}:443")));
        assert_eq!(tunnels[0].login, login, "{file}");
    }
    assert_eq!(web.take_seen()[0].headers["authorization"], format!("Bearer {TOKEN}"));
}

#[test]
fn root_repositories_behind_an_authority_of_ones_own() {
    let (git, ca) = (GitServer::start(), TestCa::new());
    let _ =
        git.commit("repo.git", &[("a", "from the repository\n"), ("Dockerfile", "FROM scratch\nCOPY a /\n")]);
    let server = GitHttpServer::start(git.root(), Some(&login()));
    let front = TlsFront::start(&server.host(), &ca, Certificate::Good);
    let address = format!("https://{}/repo.git", front.host());
    let world = world(&format!("FROM scratch\nADD {address} /\n"), &ca);
    let secret = "--secret=id=GIT_AUTH_TOKEN,src=token";
    assert_eq!(text(&built(&world, &[secret, "."]), "a"), "from the repository\n");
    // As the context, too.
    assert_eq!(text(&built(&world, &[secret, &address]), "a"), "from the repository\n");
    let refused = build(&world, &["."]).code(3);
    assert!(refused.stderr.contains("GIT_AUTH_TOKEN"), "it says what to do: {}", refused.stderr);
    world.assert_nothing_left();
    let stranger = World::new(&format!("FROM scratch\nADD {address} /\n"));
    stranger.gantry.write("token", TOKEN);
    let refused = build(&stranger, &[secret, "."]);
    assert_ne!(refused.status.code(), Some(0), "nobody knows the authority");
    assert!(refused.stderr.contains("certificate"), "{}", refused.stderr);
}
