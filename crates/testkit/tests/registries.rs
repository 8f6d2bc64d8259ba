//! The test registries themselves: the same questions to both, in plain HTTP, and the images that go into them.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gantry_oci::{Digest, media_type};
use gantry_testkit::{
    Access, BaseImages, BuiltImage, DockerRegistry, Entry, FakeRegistry, Fault, ImageBuilder, ImageTarget,
    Quirk, fault_matrix,
};

/// Sends one request and returns everything that comes back, as text.
fn ask(host: &str, request: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: {}\r\nContent-Length: {}\r\n\r\n",
        media_type::MANIFESTS.join(", "),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    // A connection that is cut is an answer too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

/// Both registries answer these alike, which is what makes the fake worth testing with.
fn same_answers(registry: &impl ImageTarget) {
    let images = ["linux/amd64", "linux/arm64"]
        .map(|one| ImageBuilder::new(one).layer(&[Entry::file("a", one)]).build());
    BuiltImage::push_index(&images, registry, "team/app", "1");
    let blob = &images[0].manifest.layers[0].digest;
    let absent = Digest::of("absent");
    for (request, expected) in [
        ("GET /v2/".to_owned(), "200"),
        ("GET /v2/team/app/tags/list".to_owned(), "200"),
        ("HEAD /v2/team/app/manifests/1".to_owned(), "200"),
        ("GET /v2/team/app/manifests/2".to_owned(), "404"),
        (format!("GET /v2/team/app/manifests/{absent}"), "404"),
        (format!("HEAD /v2/team/app/blobs/{blob}"), "200"),
        (format!("GET /v2/team/app/blobs/{absent}"), "404"),
        ("POST /v2/team/app/blobs/uploads/".to_owned(), "202"),
        (format!("POST /v2/other/blobs/uploads/?mount={blob}&from=team/app"), "201"),
        (format!("POST /v2/other/blobs/uploads/?mount={absent}&from=team/app"), "202"),
        (format!("HEAD /v2/other/blobs/{blob}"), "200"),
    ] {
        assert_eq!(status(&ask(&registry.host(), &request, b"")), expected, "{request}");
    }
}

#[test]
fn fake_registry_answers() {
    same_answers(&FakeRegistry::start());
}

#[test]
fn docker_registry_answers_alike() {
    same_answers(&DockerRegistry::start());
}

#[test]
fn the_fake_takes_chunks_and_checks_digests() {
    let registry = FakeRegistry::start();
    let location = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
        line.trim().to_owned()
    };
    let started = ask(&registry.host(), "POST /v2/app/blobs/uploads/", b"");
    let first = ask(&registry.host(), &format!("PATCH {}", location(&started)), b"hello ");
    assert_eq!(status(&first), "202");
    assert_eq!(status(&ask(&registry.host(), &format!("PATCH {}", location(&started)), b"stale")), "400");
    let (good, bad) = (Digest::of("hello world"), Digest::of("something else"));
    let end = ask(&registry.host(), &format!("PUT {}&digest={good}", location(&first)), b"world");
    assert_eq!(status(&end), "201");
    assert_eq!(registry.blob("app", &good).as_deref(), Some(&b"hello world"[..]));
    let started = ask(&registry.host(), "POST /v2/app/blobs/uploads/", b"");
    let end = ask(&registry.host(), &format!("PUT {}&digest={bad}", location(&started)), b"hello");
    assert_eq!(status(&end), "400");
}

#[test]
fn the_fake_misbehaves_as_told_and_keeps_a_log() {
    let registry = FakeRegistry::start();
    let digest = registry.put_blob("app", b"0123456789");
    let mut faults = vec![
        Fault::Headers(vec![("x-odd".to_owned(), "yes".to_owned())]),
        Fault::Truncate { after: 4 },
        Fault::Drop { after: 0 },
        Fault::status(503),
    ];
    registry.on_request(move |_| faults.pop());
    let request = format!("GET /v2/app/blobs/{digest}");
    assert_eq!(status(&ask(&registry.host(), &request, b"")), "503");
    assert_eq!(ask(&registry.host(), &request, b""), "");
    assert!(ask(&registry.host(), &request, b"").ends_with("\r\n\r\n0123"));
    assert!(ask(&registry.host(), &request, b"").contains("x-odd: yes"));
    let statuses: Vec<_> = registry.log().into_iter().map(|one| one.status).collect();
    assert_eq!(statuses, [Some(503), None, Some(200), Some(200)]);
}

#[test]
fn the_fake_wants_what_its_access_control_says() {
    let registry = FakeRegistry::with_access(Access::bearer("me", "right", Duration::from_secs(60)));
    let refused = ask(&registry.host(), "GET /v2/app/manifests/1", b"");
    assert_eq!(status(&refused), "401");
    assert!(refused.contains(&format!("realm=\"http://{}/token\"", registry.host())), "{refused}");
    assert_eq!(status(&ask(&registry.host(), "GET /token?scope=repository:app:pull", b"")), "401");
    registry.set_access(Access::Open);
    assert_eq!(status(&ask(&registry.host(), "GET /v2/app/manifests/1", b"")), "404");
}

#[test]
fn base_images_go_into_a_registry() {
    let registry = FakeRegistry::start();
    let digest = BaseImages::find().push("busybox", &registry, "library/busybox", "latest");
    assert_eq!(registry.manifest("library/busybox", "latest").map(|found| found.0), Some(digest));
}

#[test]
fn the_fake_differs_as_told() {
    let registry = FakeRegistry::start();
    registry.set_quirks(&[
        Quirk::BodyLimit(4),
        Quirk::CreatedOnPatch,
        Quirk::StuckRange,
        Quirk::NoContentDigest,
    ]);
    let started = ask(&registry.host(), "POST /v2/app/blobs/uploads/", b"");
    let location = |answer: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(status(&ask(&registry.host(), &format!("PATCH {}", location(&started)), b"hello")), "413");
    let first = ask(&registry.host(), &format!("PATCH {}", location(&started)), b"hell");
    assert_eq!(status(&first), "201");
    let second = ask(&registry.host(), &format!("PATCH {}", location(&first)), b"o");
    assert!(second.contains("range: 0-3\r\n"), "{second}");
    let end =
        ask(&registry.host(), &format!("PUT {}&digest={}", location(&second), Digest::of("hello")), b"");
    assert!(status(&end) == "201" && !end.contains("docker-content-digest"), "{end}");
}

#[test]
fn rows_have_names_of_their_own() {
    let mut names: Vec<_> = fault_matrix::rows().iter().map(|row| row.name).collect();
    names.extend(fault_matrix::fatal_rows().iter().map(|row| row.name));
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
