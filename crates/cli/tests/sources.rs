//! Sources that are no files of the client: web servers, repositories, layouts, standard input.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::io::Write;
use std::process::Stdio;

use gantry_oci::Digest;
use gantry_testkit::{GitServer, Page, WebServer};

#[path = "support/building.rs"]
mod building;
#[path = "support/world.rs"]
mod world;

use building::{build, built, result, text};
use world::World;

const MODIFIED: &str = "Fri, 14 Jul 2017 02:40:00 GMT";

/// A tar with one file, owned by 5:6.
fn archive(name: &str, content: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o640);
    header.set_uid(5);
    header.set_gid(6);
    header.set_mtime(1_400_000_000);
    archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    archive.into_inner().unwrap()
}

/// What was asked of the server, as `path status`.
fn seen(web: &WebServer) -> Vec<String> {
    web.take_seen().iter().map(|seen| format!("{} {}", seen.path, seen.status)).collect()
}

#[test]
fn root_files_of_the_web_are_asked_for_again_but_not_sent_again() {
    let web = WebServer::start();
    web.put("/a/file.txt?x=1", Page::new("one").header("ETag", "\"1\"").header("Last-Modified", MODIFIED));
    web.put("/plain", Page::new("plain"));
    let world = World::new(&format!(
        "FROM BASE\nADD {} /d/\nADD --chmod=755 --chown=3:4 {} /p\nRUN date > /ran\n",
        web.url("/a/file.txt?x=1"),
        web.url("/plain")
    ));
    let first = built(&world, &["."]);
    let file = &first.after(first.layers())["d/file.txt"];
    assert_eq!((file.mode, file.owner), (0o600, (0, 0)));
    let plain = &first.after(first.layers())["p"];
    assert_eq!((plain.mode, plain.owner), (0o755, (3, 4)));
    let mut requests = seen(&web);
    requests.sort();
    assert_eq!(requests, ["/a/file.txt?x=1 200", "/plain 200"]);
    // The server says that nothing has changed, or sends the same again: nothing runs.
    let second = built(&world, &["."]);
    let mut requests = seen(&web);
    requests.sort();
    assert_eq!(requests, ["/a/file.txt?x=1 304", "/plain 200"]);
    assert_eq!(text(&first, "ran"), text(&second, "ran"));
    web.put("/a/file.txt?x=1", Page::new("two").header("ETag", "\"2\""));
    assert_eq!(text(&built(&world, &["."]), "d/file.txt"), "two");
}

#[test]
fn root_a_checksum_pins_a_file_and_spares_the_server() {
    let web = WebServer::start();
    web.put("/f", Page::new("content"));
    let checksum = Digest::of("content").to_string();
    let world = World::new(&format!("FROM scratch\nADD --checksum={checksum} {} /\n", web.url("/f")));
    let _ = built(&world, &["."]);
    assert_eq!(seen(&web).len(), 1);
    let _ = built(&world, &["."]);
    assert_eq!(seen(&web).len(), 0, "what is pinned and here needs no server");
    world.dockerfile(&format!("FROM scratch\nADD --checksum={} {} /\n", Digest::of("other"), web.url("/f")));
    let refused = build(&world, &["."]).code(5);
    assert!(refused.stderr.contains(&checksum), "{}", refused.stderr);
    assert!(refused.stderr.contains("2 | ADD --checksum"), "the line is shown: {}", refused.stderr);
}

#[test]
fn root_files_of_the_web_are_asked_for_with_the_secrets_of_their_host() {
    let web = WebServer::start();
    web.put("/f", Page::new("content"));
    let world = World::new(&format!("FROM scratch\nADD {} /\n", web.url("/f")));
    world.gantry.write("token", "token\n");
    world.gantry.write("header", "Basic 1234");
    let (token, header) = ("HTTP_AUTH_TOKEN_127.0.0.1", "HTTP_AUTH_HEADER_127.0.0.1");
    let (token, header) =
        (format!("--secret=id={token},src=token"), format!("--secret=id={header},src=header"));
    for (arguments, expected) in [
        (vec!["."], None),
        (vec![token.as_str(), "."], Some("Bearer token")),
        (vec![header.as_str(), "."], Some("Basic 1234")),
        (vec![header.as_str(), token.as_str(), "."], Some("Bearer token")),
    ] {
        let _ = built(&world, &arguments);
        let seen = web.take_seen();
        assert_eq!(seen[0].headers.get("authorization").map(String::as_str), expected, "{arguments:?}");
    }
}

#[test]
fn root_checksums_by_other_algorithms_and_times_that_change() {
    let web = WebServer::start();
    web.put("/f", Page::new("abc").header("Last-Modified", MODIFIED));
    let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                  2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    let add = |what: &str| format!("FROM scratch\nADD {what} {} /\n", web.url("/f"));
    let world = World::new(&add(&format!("--checksum={sha512}")));
    assert_eq!(text(&built(&world, &["."]), "f"), "abc");
    assert_eq!(top_times(&world), [1_500_000_000]);
    world.dockerfile(&add(&format!("--checksum={}", sha512.replace("9f", "9e"))));
    let refused = build(&world, &["."]).code(5);
    assert!(refused.stderr.contains(sha512), "{}", refused.stderr);
    // The same content at another time is another file for who copies it anew.
    world.dockerfile(&add("--chmod=600"));
    let _ = built(&world, &["."]);
    web.put("/f", Page::new("abc").header("Last-Modified", "Fri, 14 Jul 2017 02:40:01 GMT"));
    world.dockerfile(&add("--chmod=640"));
    let _ = built(&world, &["."]);
    assert_eq!(top_times(&world), [1_500_000_001]);
}

#[test]
fn root_redirects_lead_to_the_web_only_and_faults_are_named() {
    let web = WebServer::start();
    web.put("/found", Page::new("x"));
    web.put("/moved", Page::redirect(&web.url("/found")));
    web.put("/file", Page::redirect("file:///etc/passwd"));
    web.put("/loop", Page::redirect(&web.url("/loop")));
    web.put("/secret", Page { status: Some(401), ..Page::default() });
    let world = World::new("FROM scratch\n");
    let add = |path: &str| {
        world.dockerfile(&format!("FROM scratch\nADD {} /\n", web.url(path)));
        build(&world, &["."])
    };
    assert!(add("/moved").success().status.success());
    for (path, code, message) in [
        ("/file", 1, "not the web's"),
        ("/loop", 1, "more than 10 redirects"),
        ("/none", 4, "404"),
        ("/secret", 3, "401"),
    ] {
        let refused = add(path).code(code);
        assert!(refused.stderr.contains(message), "{path}: {}", refused.stderr);
    }
    assert_eq!(result(&world).after(1).keys().collect::<Vec<_>>(), ["/", "moved"]);
}

#[test]
fn root_archives_of_the_web_are_unpacked_if_asked_for() {
    let web = WebServer::start();
    web.put("/a.tar", Page::new(archive("in/side", "x")));
    let world =
        World::new(&format!("FROM scratch\nADD {0} /packed/\nADD --unpack {0} /open/\n", web.url("/a.tar")));
    let image = built(&world, &["."]);
    let tree = image.after(image.layers());
    assert_eq!(tree["packed/a.tar"].mode, 0o600);
    assert_eq!((tree["open/in/side"].mode, tree["open/in/side"].owner), (0o640, (5, 6)));
}

#[test]
fn root_repositories_are_added_at_a_commit() {
    let git = GitServer::start();
    let first = git.commit("repo", &[("a", "1"), ("sub/deep/b", "2"), ("run.sh", "#!/bin/sh\n")]);
    git.run("repo", &["tag", "--annotate", "--message=v", "v1"]);
    let second = git.commit("repo", &[("a", "3")]);
    let url = git.url("repo");
    let world = World::new("FROM scratch\n");
    let add = |what: &str| {
        world.dockerfile(&format!("FROM scratch\nADD {what} /\n"));
        built(&world, &["."])
    };
    let head = add(&url);
    assert_eq!(text(&head, "a"), "3");
    assert!(!head.after(1).contains_key(".git"));
    assert_eq!((head.after(1)["a"].mode, head.after(1)["sub"].mode), (0o644, 0o755));
    assert_eq!(text(&add(&format!("{url}#v1")), "a"), "1");
    assert_eq!(text(&add(&format!("{url}#{first}")), "a"), "1");
    assert_eq!(text(&add(&format!("{url}?tag=v1&subdir=sub")), "deep/b"), "2");
    assert_eq!(text(&add(&format!("{url}#main:sub/deep")), "b"), "2");
    let kept = add(&format!("--keep-git-dir {url}"));
    assert!(text(&kept, ".git/config").contains(&url), "{}", text(&kept, ".git/config"));
    assert_eq!(text(&kept, ".git/HEAD").trim(), second);
    let pinned = add(&format!("--checksum={first} {url}#v1"));
    assert_eq!(text(&pinned, "a"), "1");
    for (what, code, message) in [
        (format!("{url}#none"), 4, "has no branch, tag or commit `none`"),
        (format!("{url}#:none"), 4, "has no directory `none`"),
        (format!("{url}#:a"), 4, "has no directory `a`"),
        (format!("--checksum={first} {url}#main"), 5, "was asked for"),
        (format!("{url}#--upload-pack=x"), 2, "invalid git ref"),
        (format!("{}/none", url.rsplit_once('/').unwrap().0), 1, "cannot look up a ref"),
    ] {
        world.dockerfile(&format!("FROM scratch\nADD {what} /\n"));
        let refused = build(&world, &["."]).code(code);
        assert!(refused.stderr.contains(message), "{what}: {}", refused.stderr);
    }
    world.assert_nothing_left();
}

#[test]
fn root_a_commit_that_is_here_is_not_fetched_again() {
    let git = GitServer::start();
    let commit = git.commit("repo", &[("a", "1")]);
    let world = World::new("FROM scratch\n");
    world.dockerfile(&format!("FROM scratch\nADD {}#{commit} /\n", git.url("repo")));
    let _ = built(&world, &["."]);
    drop(git);
    let again = built(&world, &["."]);
    assert_eq!(text(&again, "a"), "1", "a commit needs no server");
}

#[test]
fn root_submodules_come_along_and_files_of_this_machine_do_not() {
    let git = GitServer::start();
    git.commit("library", &[("inside", "1")]);
    git.commit("repo", &[("a", "1")]);
    git.run("repo", &["submodule", "add", "--quiet", &git.url("library"), "lib"]);
    git.commit("repo", &[]);
    let world = World::new("FROM scratch\n");
    let add = |what: &str| {
        world.dockerfile(&format!("FROM scratch\nADD {what} /\n"));
        build(&world, &["."])
    };
    let _ = add(&git.url("repo")).success();
    let image = result(&world);
    assert_eq!(text(&image, "lib/inside"), "1");
    assert!(!image.after(1).contains_key("lib/.git"), "a path of this machine");
    let _ = add(&format!("{}?submodules=false", git.url("repo"))).success();
    assert!(!result(&world).after(1).contains_key("lib/inside"));
    // A submodule that names a directory of this machine.
    let local = git.repository("library").display().to_string();
    git.commit("evil", &[("a", "1")]);
    git.run("evil", &["-c", "protocol.file.allow=always", "submodule", "add", "--quiet", &local, "lib"]);
    git.commit("evil", &[]);
    let refused = add(&git.url("evil")).code(1);
    assert!(refused.stderr.contains("not allowed"), "{}", refused.stderr);
}

#[test]
fn root_hostile_trees_stay_inside() {
    let git = GitServer::start();
    let repository = git.repository("evil");
    std::os::unix::fs::symlink("/", repository.join("out")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", repository.join("Dockerfile")).unwrap();
    git.commit("evil", &[("a", "1")]);
    let world = World::new(&format!("FROM scratch\nADD {}#main:out/etc /\n", git.url("evil")));
    let refused = build(&world, &["."]).code(4);
    assert!(refused.stderr.contains("has no directory `out/etc`"), "{}", refused.stderr);
    // The Dockerfile of a context is read inside of it.
    let refused = build(&world, &[&git.url("evil")]).code(4);
    assert!(refused.stderr.contains("there is no `Dockerfile` in the context"), "{}", refused.stderr);
}

#[test]
fn root_a_context_from_a_repository() {
    let git = GitServer::start();
    git.commit(
        "repo",
        &[
            ("Dockerfile", "FROM scratch\nCOPY a /\n"),
            ("a", "1"),
            ("d/Dockerfile", "FROM scratch\nCOPY b /\n"),
            ("d/b", "2"),
            ("d/other", "FROM scratch\nCOPY . /\n"),
            (".dockerignore", "a\n"),
        ],
    );
    let world = World::bare("");
    assert_eq!(text(&built(&world, &[&git.url("repo")]), "a"), "1", "ignore files do not count there");
    assert_eq!(text(&built(&world, &[&format!("{}#main:d", git.url("repo"))]), "b"), "2");
    let keep = "--build-arg=BUILDKIT_CONTEXT_KEEP_GIT_DIR=1";
    let all = built(&world, &["--file=d/other", keep, &git.url("repo")]);
    assert!(all.after(1).contains_key(".git/HEAD") && all.after(1).contains_key("d/b"));
    let refused = build(&world, &["--file=none", &git.url("repo")]).code(4);
    assert!(refused.stderr.contains("there is no `none`"), "{}", refused.stderr);
}

#[test]
fn root_contexts_from_the_web() {
    let web = WebServer::start();
    let mut packed = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "from the web")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        packed.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    web.put("/c.tar", Page::new(packed.into_inner().unwrap()));
    web.put("/Dockerfile", Page::new("FROM scratch\nCOPY context /itself\n"));
    let world = World::bare("");
    assert_eq!(text(&built(&world, &[&web.url("/c.tar")]), "a"), "from the web");
    assert_eq!(
        text(&built(&world, &[&web.url("/Dockerfile")]), "itself"),
        "FROM scratch\nCOPY context /itself\n"
    );
    // A Dockerfile of the web for files that are here.
    world.gantry.write("here", "here");
    web.put("/other", Page::new("FROM scratch\nCOPY here /\n"));
    let file = format!("--file={}", web.url("/other"));
    assert_eq!(text(&built(&world, &[&file, "."]), "here"), "here");
}

/// Runs with something on standard input.
fn build_with_input(world: &World, input: &[u8], arguments: &[&str]) -> std::process::Output {
    let mut all = vec!["build", "--output=type=oci,dest=image.tar"];
    all.extend(arguments);
    let mut command = world.gantry.command(all);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn root_contexts_from_standard_input() {
    let world = World::bare("");
    let dockerfile = build_with_input(&world, world.expand("FROM scratch\nLABEL a=b\n").as_bytes(), &["-"]);
    assert!(dockerfile.status.success(), "{}", String::from_utf8_lossy(&dockerfile.stderr));
    let mut packed = archive("a", "packed");
    // The archive's end is two empty blocks.
    packed.truncate(packed.len() - 1024);
    packed.extend(archive("Dockerfile", "FROM scratch\nCOPY a /\n"));
    let mut gzip = std::process::Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin.take().unwrap().write_all(&packed).unwrap();
    let compressed = gzip.wait_with_output().unwrap().stdout;
    for input in [&packed, &compressed] {
        let output = build_with_input(&world, input, &["-"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let image = result(&world);
        assert_eq!((text(&image, "a").as_str(), image.after(1)["a"].owner), ("packed", (5, 6)));
    }
    let twice = build_with_input(&world, b"FROM scratch\n", &["--file=-", "-"]);
    assert_eq!(twice.status.code(), Some(2), "{}", String::from_utf8_lossy(&twice.stderr));
    world.assert_nothing_left();
}

#[test]
fn root_named_contexts_of_all_kinds() {
    let git = GitServer::start();
    git.commit("repo", &[("from-git", "git")]);
    let web = WebServer::start();
    web.put("/f", Page::new("web"));
    let world = World::new("FROM BASE\nRUN echo layout > /from-layout\n");
    let _ = world.build(&["--output=type=oci,dest=layout,tar=false,name=r.test/a:v1"]).success();
    world.gantry.write("other/from-directory", "directory");
    world.gantry.write("other/ignored", "");
    world.gantry.write("other/.dockerignore", "ignored\n");
    world.dockerfile(
        "FROM alpine AS a\nRUN cat /from-layout > /ran\nCOPY --from=repo from-git /\nCOPY --from=file context /from-web\n\
         COPY --from=files . /files/\nRUN --mount=from=files,target=/m cat /m/from-directory > /mounted\n\
         COPY --from=image /bin/busybox /copied\n",
    );
    let image = built(
        &world,
        &[
            "--build-context=alpine=oci-layout://layout:v1",
            &format!("--build-context=repo={}", git.url("repo")),
            &format!("--build-context=file={}", web.url("/f")),
            "--build-context=files=other",
            "--build-context=image=docker-image://BASE",
            ".",
        ],
    );
    for (path, content) in [
        ("ran", "layout\n"),
        ("from-git", "git"),
        ("from-web", "web"),
        ("files/from-directory", "directory"),
        ("mounted", "directory"),
    ] {
        assert_eq!(text(&image, path), content, "{path}");
    }
    let tree = image.after(image.layers());
    assert!(tree.contains_key("copied") && !tree.contains_key("files/ignored"));
    let refused = build(&world, &["--build-context=alpine=oci-layout://layout:v2", "."]).code(4);
    assert!(
        refused.stderr.contains("no `oci-layout://layout:v2`") && refused.stderr.contains("v1"),
        "{}",
        refused.stderr
    );
    world.assert_nothing_left();
}

#[test]
fn root_a_directory_is_a_base() {
    let world = World::new("FROM files AS one\nCOPY Dockerfile /more\nFROM one\n");
    world.gantry.write("other/sub/file", "here");
    let with = ["--build-context=files=other", "."];
    let image = built(&world, &with);
    assert_eq!(text(&image, "sub/file"), "here");
    assert!(image.after(image.layers()).contains_key("more"));
    // The same files are the same base, and changed ones another.
    world.gantry.write("other/sub/file", "there");
    assert_eq!(text(&built(&world, &with), "sub/file"), "there");
    world.dockerfile("FROM files\n");
    assert_eq!(text(&built(&world, &with), "sub/file"), "there");
}

/// The modification times in the top layer of an image.
fn top_times(world: &World) -> Vec<u64> {
    let mut archive =
        tar::Archive::new(std::fs::File::open(world.gantry.directory().join("image.tar")).unwrap());
    let mut blobs = std::collections::BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        blobs.insert(Digest::of(&bytes), bytes);
    }
    let is_manifest = |bytes: &&Vec<u8>| serde_json::from_slice::<gantry_oci::Manifest>(bytes).is_ok();
    let manifest: gantry_oci::Manifest =
        serde_json::from_slice(blobs.values().find(is_manifest).unwrap()).unwrap();
    let layer = &blobs[&manifest.layers.last().unwrap().digest];
    let plain = std::process::Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            child.stdin.take().unwrap().write_all(layer)?;
            child.wait_with_output()
        });
    let mut layer = tar::Archive::new(std::io::Cursor::new(plain.unwrap().stdout));
    layer.entries().unwrap().map(|entry| entry.unwrap().header().mtime().unwrap()).collect()
}

#[test]
fn root_times_of_files_end_at_the_epoch_if_asked_for() {
    let world = World::new("FROM BASE\nRUN echo new > /new && touch -d '1999-01-01 00:00:00' /old\n");
    let epoch = 1_000_000_000;
    let argument = format!("--build-arg=SOURCE_DATE_EPOCH={epoch}");
    let _ = build(&world, &[&argument, "."]).success();
    assert!(top_times(&world).iter().any(|time| *time > epoch), "without it, they stay");
    let _ = world
        .gantry
        .run(["build", &argument, "--output=type=oci,dest=image.tar,rewrite-timestamp=true", "."])
        .success();
    let times = top_times(&world);
    assert!(times.iter().all(|time| *time <= epoch), "{times:?}");
    assert!(times.contains(&epoch) && times.iter().any(|time| *time < epoch), "{times:?}");
}

#[test]
fn root_the_epoch_of_a_source() {
    let git = GitServer::start();
    git.commit("repo", &[("Dockerfile", "ARG SOURCE_DATE_EPOCH=context\nFROM scratch\nCOPY . /\n")]);
    let web = WebServer::start();
    web.put("/f", Page::new("x").header("Last-Modified", MODIFIED));
    web.put("/a.tar", Page::new(archive("a", "x")));
    let world = World::bare("");
    let created = |arguments: &[&str]| built(&world, arguments).config["created"].as_str().map(str::to_owned);
    let commit = Some("2017-07-14T02:40:00Z".to_owned());
    assert_eq!(created(&[&git.url("repo")]), commit);
    let stage = |path: &str| {
        let url = web.url(path);
        world.dockerfile(&format!("FROM scratch AS time\nADD {url} /\nFROM scratch\nCOPY --from=time / /\n"));
    };
    stage("/f");
    assert_eq!(created(&["--build-arg=SOURCE_DATE_EPOCH=time", "."]), commit);
    stage("/a.tar");
    assert_eq!(
        created(&["--build-arg=SOURCE_DATE_EPOCH=time", "."]).as_deref(),
        Some("2014-05-13T16:53:20Z")
    );
    let digest = Digest::of("x");
    world.dockerfile(&format!(
        "FROM scratch AS time\nADD --checksum={digest} {} /\nFROM scratch\nCOPY --from=time / /\n",
        web.url("/f")
    ));
    // Fetched or found: a file that is named by its content has no time.
    for _ in 0..2 {
        assert_ne!(created(&["--build-arg=SOURCE_DATE_EPOCH=time", "."]), commit);
    }
    let refused = build(&world, &["--build-arg=SOURCE_DATE_EPOCH=tomorrow", "."]).code(2);
    assert!(refused.stderr.contains("invalid SOURCE_DATE_EPOCH"), "{}", refused.stderr);
}

#[test]
fn root_passwords_in_addresses_are_not_shown() {
    let web = WebServer::start();
    web.put("/f", Page::new("content"));
    let address = web.url("/f").replace("http://", "http://me:hunter2@");
    let world = World::new(&format!("FROM scratch\nADD {address} /\n"));
    for mode in ["--progress=plain", "--progress=rawjson"] {
        let output = build(&world, &[mode, "--no-cache", "."]).success();
        assert!(output.stderr.contains("http://me:***@127.0.0.1"), "{}", output.stderr);
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
        assert_eq!(web.take_seen()[0].headers["authorization"], "Basic bWU6aHVudGVyMg==");
    }
    // The graph is what BuildKit makes of it.
    let graph = world.gantry.run(["build", "--call=convertllb,format=json", "."]).success();
    assert!(graph.stdout.contains("hunter2"), "{}", graph.stdout);
}
