//! What a command line can say about the build context and the Dockerfile, beyond a directory with a Dockerfile in it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::io::Write;
use std::process::{Command, Stdio};

use gantry_testkit::{GitServer, Page, WebServer};

#[path = "support/building.rs"]
mod building;
#[path = "support/world.rs"]
mod world;

use building::{build, built, result, text};
use world::World;

/// A tar with these files.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The archive plainly and by each compression, with its name.
fn compressed(archive: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(archive).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(archive).unwrap();
    // The library that reads it writes it only with more features than gantry has use for.
    let mut xz = Command::new("xz").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    xz.stdin.take().unwrap().write_all(archive).unwrap();
    let xz = xz.wait_with_output().unwrap().stdout;
    vec![
        ("plain", archive.to_vec()),
        ("gzip", gzip.finish().unwrap()),
        ("bzip2", bzip2.finish().unwrap()),
        ("xz", xz),
        ("zstd", zstd::encode_all(archive, 0).unwrap()),
    ]
}

/// Runs with something on standard input. Returns the status and standard error.
fn build_with_input(world: &World, input: &[u8], arguments: &[&str]) -> (Option<i32>, String) {
    let all = ["build", "--output=type=oci,dest=image.tar"].into_iter().chain(arguments.iter().copied());
    let mut command = world.gantry.command(all);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It may be refused before it is read.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn root_archives_of_all_compressions_on_standard_input_and_from_the_web() {
    let world = World::bare("");
    let web = WebServer::start();
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY a /\n"),
        ("a", "packed"),
        ("d/dockerfile", "FROM scratch\nCOPY d /\n"),
    ];
    for (name, packed) in compressed(&archive(&files)) {
        let (status, stderr) = build_with_input(&world, &packed, &["-"]);
        assert_eq!(status, Some(0), "{name}: {stderr}");
        assert_eq!(text(&result(&world), "a"), "packed", "{name}");
        web.put("/c", Page::new(packed));
        assert_eq!(text(&built(&world, &[&web.url("/c")]), "a"), "packed", "{name}");
    }
    let (status, stderr) = build_with_input(&world, &archive(&files), &["--file=d/Dockerfile", "-"]);
    assert_eq!(status, Some(0), "a file in the archive, however it is spelled: {stderr}");
    assert!(result(&world).after(1).contains_key("dockerfile"));
    world.assert_nothing_left();
}

#[test]
fn root_standard_input_is_one_thing() {
    let world = World::bare("FROM scratch\nLABEL of=directory\n");
    let dockerfile = b"FROM scratch\nCOPY Dockerfile /\n";
    for (input, arguments, message) in [
        (&dockerfile[..], ["--file=-", "-"], "both the context and the Dockerfile"),
        (&dockerfile[..], ["--file=Dockerfile", "-"], "--file names another one"),
        (&b""[..], ["--pull", "-"], "cannot be empty"),
    ] {
        let (status, stderr) = build_with_input(&world, input, &arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    let (status, stderr) = build_with_input(&world, dockerfile, &["--file=-", "."]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(text(&result(&world), "Dockerfile").contains("of=directory"), "the directory is the context");
}

#[test]
fn root_the_dockerfile_of_a_remote_context_can_be_anywhere() {
    let git = GitServer::start();
    let of = |place: &str| format!("FROM scratch\nLABEL of={place}\nCOPY a /\n");
    git.commit("repo", &[("a", "1"), ("Dockerfile", &of("root")), ("d/dockerfile", &of("below"))]);
    let web = WebServer::start();
    web.put("/Dockerfile", Page::new(of("web")));
    web.put("/lone", Page::new("FROM scratch\nLABEL of=lone\n"));
    let world = World::bare(&of("machine"));
    let here = world.gantry.directory().join("Dockerfile").display().to_string();
    let label = |context: &str, file: &str| {
        let file = format!("--file={file}");
        let image = built(&world, &[&file, context]);
        image.config["config"]["Labels"]["of"].as_str().unwrap().to_owned()
    };
    let repository = git.url("repo");
    assert_eq!(label(&repository, "Dockerfile"), "root");
    assert_eq!(label(&repository, "d/Dockerfile"), "below", "however it is spelled");
    assert_eq!(label(&repository, &here), "machine");
    assert_eq!(label(&repository, &web.url("/Dockerfile")), "web");
    let (status, stderr) = build_with_input(&world, of("input").as_bytes(), &["--file=-", &repository]);
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(result(&world).config["config"]["Labels"]["of"], "input");
    assert_eq!(label(&web.url("/lone"), "whatever"), "lone", "a lone file is the Dockerfile");
    let dockerfile = "FROM scratch\nCOPY context /lone\n";
    let (status, stderr) = build_with_input(&world, dockerfile.as_bytes(), &["--file=-", &web.url("/lone")]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(text(&result(&world), "lone").contains("of=lone"));
}

#[test]
fn root_caches_with_other_seeds_are_other_caches() {
    let seeded = |from: &str| {
        format!(
            "RUN --mount=type=cache,id=x,from={from},target=/c cat /c/f > /{from} && echo 1 > /c/g && ls /c\n"
        )
    };
    let world = World::new(&format!("FROM BASE\n{}{}", seeded("one"), seeded("two")));
    for name in ["one", "two"] {
        world.gantry.write(&format!("{name}/f"), name);
    }
    let image = built(&world, &["--build-context=one=one", "--build-context=two=two", "."]);
    assert_eq!(["one", "two"].map(|name| text(&image, name)), ["one", "two"]);
}

#[test]
fn root_a_context_may_be_called_context() {
    let world =
        World::bare("FROM scratch\nCOPY --from=context f /\nCOPY Dockerfile /\nCOPY --from=dockerfile g /\n");
    world.gantry.write("other/f", "of the named one");
    world.gantry.write("a,b=c/g", "with a comma");
    let image = built(
        &world,
        &["--build-context=context=other", "--build-context=docker.io/library/dockerfile:latest=a,b=c", "."],
    );
    assert_eq!(text(&image, "f"), "of the named one");
    assert_eq!(text(&image, "g"), "with a comma");
    assert!(text(&image, "Dockerfile").starts_with("FROM scratch"));
    world.gantry.write("file", "");
    for (source, code, message) in [
        ("file", 2, "is not a directory"),
        ("missing", 4, "--build-context context"),
        ("target:other", 2, "no other targets"),
        ("https://h.test/a.git?x=1", 2, "unexpected query `x`"),
    ] {
        let refused = build(&world, &[&format!("--build-context=context={source}"), "."]).code(code);
        assert!(refused.stderr.contains(message), "{source}: {}", refused.stderr);
    }
}

#[test]
fn root_bases_that_are_contexts() {
    let world = World::new(
        "FROM BASE\nENV INHERITED=1\nONBUILD RUN echo trigger > /triggered\nRUN echo one > /one\n",
    );
    let _ = world.build(&["--output=type=oci,dest=layout,tar=false,name=r.test/a:v1"]).success();
    world.gantry.write("src/f", "context");
    // A stage of the Dockerfile is replaced, and its instructions do not count.
    world.dockerfile("FROM BASE AS tools\nRUN false\nFROM r.test/b AS last\nCOPY --from=tools f /\n");
    let image = built(
        &world,
        &["--build-context=tools=src", "--build-context=r.test/b:latest=oci-layout://layout:v1", "."],
    );
    assert_eq!(text(&image, "triggered"), "trigger\n", "its triggers run");
    assert_eq!((text(&image, "one").as_str(), text(&image, "f").as_str()), ("one\n", "context"));
    assert!(image.config["config"]["Env"].to_string().contains("INHERITED=1"));
}
