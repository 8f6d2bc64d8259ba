//! Questions about a Dockerfile, answered without a build: what is shown, and the exit codes that scripts rely on.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use gantry_testkit::{Entry, ImageBuilder};
use insta::assert_snapshot;
use serde_json::{Value, json};

#[path = "support/world.rs"]
#[allow(dead_code, reason = "no test here builds on a base image")]
mod world;

use world::World;

fn json_of(world: &World, code: i32, call: &str) -> Value {
    let output = world.build(&[call]).code(code);
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_check_shows_lines_and_exits_with_1() {
    let world = World::bare("FROM scratch AS a\nMAINTAINER me\nFROM scratch\nCOPY $x /\n");
    assert_snapshot!(world.build(&["--check"]).code(1).snapshot(), @r"
    status: 1
    --- stdout
    Check complete, 2 warnings have been found!

    WARNING: MaintainerDeprecated - https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/
    Maintainer instruction is deprecated in favor of using label
    ./Dockerfile:2
    --------------------
       1 |     FROM scratch AS a
       2 | >>> MAINTAINER me
       3 |     FROM scratch
       4 |     COPY $x /
    --------------------

    WARNING: UndefinedVar - https://docs.docker.com/go/dockerfile/rule/undefined-var/
    Usage of undefined variable '$x'
    ./Dockerfile:4
    --------------------
       2 |     MAINTAINER me
       3 |     FROM scratch
       4 | >>> COPY $x /
       5 |     
    --------------------
    --- stderr
    ");
    let ignored = world.build(&["--call=check,ignorestatus=true"]).code(0);
    assert!(ignored.stdout.starts_with("Check complete, 2 warnings"), "{}", ignored.stdout);
    let report = json_of(&world, 1, "--call=check,format=json");
    assert_eq!(report["warnings"][1]["location"]["ranges"][0]["start"]["line"], 4);
    world.dockerfile("FROM scratch\n");
    let output = world.build(&["--check"]).code(0);
    assert_eq!(output.stdout, "Check complete, no warnings found.\n");
}

#[test]
fn a_check_shows_no_long_line_with_each_of_its_warnings() {
    let names = |letter: char| (0..2000).map(|name| format!("${letter}{name}")).collect::<String>();
    let world = World::bare(&format!("FROM scratch\nWORKDIR /{}\nWORKDIR /{}\n", names('a'), names('b')));
    let shown = world.build(&["--check"]).code(1).stdout;
    assert!(shown.starts_with("Check complete, 4000 warnings have been found!\n"), "{}", &shown[..100]);
    assert!(shown.contains("Usage of undefined variable '$b1999'\n./Dockerfile:3\n"), "each has its place");
    assert_eq!(shown.matches("   2 | >>> WORKDIR /$a0$a1").count(), 1000, "only the first have their lines");
    assert!(shown.len() < 2 << 20, "{} bytes", shown.len());
}

#[test]
fn a_check_says_why_a_build_would_fail() {
    let world = World::bare("FROM HOST/nothing\nMAINTAINER me\n");
    let report = json_of(&world, 1, "--call=check,format=json");
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1, "what the text alone tells");
    assert_eq!(report["buildError"]["location"]["ranges"][0]["start"]["line"], 1);
    world.dockerfile("FROM scratch\nBAD x\n");
    let report = json_of(&world, 1, "--call=check,format=json");
    assert_eq!(report["buildError"]["message"], "unknown instruction: BAD (did you mean `ADD`?)");
}

#[test]
fn what_is_doubtful_is_said_of_a_build_that_fails_too() {
    let world = World::bare("# check=error=true\nFROM scratch as a\n");
    let output = world.build(&[]).code(2);
    for said in [
        "lint violation found for rules: FromAsCasing",
        "warning: FromAsCasing: 'as' and 'FROM' keywords' casing do not match",
        "2 | FROM scratch as a",
    ] {
        assert!(output.stderr.contains(said), "{said}: {}", output.stderr);
    }
    world.dockerfile("FROM HOST/nothing\nMAINTAINER me\n");
    let output = world.build(&["--progress=rawjson"]);
    let lines: Vec<Value> =
        output.stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let warning = lines.iter().find_map(|line| line.get("warnings")).expect("it is one of the lines");
    assert_eq!(
        warning[0],
        json!({
            "level": 1,
            // MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)
            "short": "TWFpbnRhaW5lckRlcHJlY2F0ZWQ6IE1haW50YWluZXIgaW5zdHJ1Y3Rpb24gaXMgZGVwcmVjYXRlZCBpbiBmYXZvciBv\
                      ZiB1c2luZyBsYWJlbCAobGluZSAyKQ==",
            "detail": [
                "VGhlIE1BSU5UQUlORVIgaW5zdHJ1Y3Rpb24gaXMgZGVwcmVjYXRlZCwgdXNlIGEgbGFiZWwgaW5zdGVhZCB0byBkZWZp\
                 bmUgYW4gaW1hZ2UgYXV0aG9y"
            ],
            "url": "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
            "sourceInfo": {
                "filename": "Dockerfile", "data": warning[0]["sourceInfo"]["data"], "language": "Dockerfile",
            },
            "range": [{ "start": { "line": 2 }, "end": { "line": 2 } }],
        })
    );
}

#[test]
fn targets_and_outlines() {
    let world = World::bare(
        "# base is what all build on\nFROM scratch AS base\n# A is a letter\nARG A=1\n\
         RUN --mount=type=secret,id=s,required x\nFROM base AS last\n",
    );
    assert_eq!(
        world.build(&["--call=targets"]).code(0).stdout,
        "TARGET         DESCRIPTION\nbase           is what all build on\nlast (default) \n"
    );
    assert_eq!(
        world.build(&["--call=outline", "--build-arg=A=2"]).code(0).stdout,
        "TARGET: last\n\nBUILD ARG   VALUE   DESCRIPTION\nA           2       is a letter\n\n\
         SECRET   REQUIRED\ns        true\n\n"
    );
    assert_eq!(json_of(&world, 0, "--call=outline,format=json")["args"][0]["name"], "A");
    world.dockerfile("FROM scratch AS a\nENV b=$c\n");
    let doubtful = world.build(&["--call=outline"]).code(0);
    assert_eq!(doubtful.stdout, "TARGET: a\n\n");
    assert!(
        doubtful.stderr.contains("warning: UndefinedVar: Usage of undefined variable '$c'"),
        "{}",
        doubtful.stderr
    );
    let mistyped = world.build(&["--call=outlin"]).code(2);
    assert!(mistyped.stderr.contains("there is no method `outlin`"), "{}", mistyped.stderr);
    world.assert_nothing_left();
}

#[test]
fn questions_can_be_asked_in_all_of_buildx_forms() {
    let world = World::bare("FROM scratch AS a\nMAINTAINER me\n");
    assert_eq!(
        world.build(&["--call=subrequests.describe"]).code(0).stdout,
        "NAME                 VERSION DESCRIPTION\n\
         outline              1.0.0   List all parameters current build target supports\n\
         targets              1.0.0   List all targets current build supports\n\
         subrequests.describe 1.0.0   List available subrequest types\n"
    );
    let described = json_of(&world, 0, "--call=subrequests.describe,format=json");
    assert_eq!(
        described[0],
        json!({
            "name": "frontend.outline",
            "version": "1.0.0",
            "type": "rpc",
            "description": "List all parameters current build target supports",
            "opts": [{ "name": "target", "description": "Target build stage" }],
            "inputs": null,
            "metadata": [
                { "name": "result.json", "description": "" }, { "name": "result.txt", "description": "" },
            ],
            "refs": null,
        })
    );
    let found = world.build(&["--check=true"]).code(1).stdout;
    assert_eq!(world.build(&["--call=check,ignorestatus=1"]).code(0).stdout, found);
    assert!(world.build(&["--check=false", "--call=targets"]).code(0).stdout.starts_with("TARGET"));
    let two = world.build(&["--check", "--call=targets"]).code(2);
    assert!(two.stderr.contains("ask for two things"), "{}", two.stderr);
}

#[test]
fn a_graph_is_printed_as_buildkit_prints_it() {
    let world = World::bare("FROM HOST/app:1\nWORKDIR /w\n");
    let image = ImageBuilder::new("linux/amd64").layer(&[Entry::file("a", "1")]).build();
    let digest = image.push(&world.registry, "app", Some("1"));
    let graph = json_of(&world, 0, "--call=convertllb,format=json");
    let operations: Vec<&Value> = graph["def"].as_object().unwrap().values().collect();
    assert_eq!(operations.len(), 3);
    let source = operations.iter().find_map(|operation| operation["source"]["identifier"].as_str()).unwrap();
    assert_eq!(source, world.expand(&format!("docker-image://HOST/app:1@{digest}")));
    let made = operations.iter().find_map(|operation| operation["file"]["actions"][0].get("mkdir")).unwrap();
    assert_eq!(*made, json!({ "path": "/w", "mode": 493, "timestamp": "-1", "makeParents": true }));
}
