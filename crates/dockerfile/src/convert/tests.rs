//! Scopes, platforms, images and refusals: what the comparison with BuildKit's own conversions leaves open.

use std::collections::BTreeMap;

use gantry_llb::pb;
use gantry_oci::{Digest, ImageConfig, Platform, Reference};

use super::*;
use crate::context::{GitOptions, RemoteContext};
use crate::options::{ImageInfo, ImageRequest, NamedContext};

const DIGEST: [u8; 32] = [7; 32];

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn options() -> Options {
    Options::new(platform("linux/arm64"), platform("linux/amd64"))
}

fn image_config(config: serde_json::Value) -> ImageConfig {
    serde_json::from_value(serde_json::json!({
        "os": "linux", "architecture": "arm64", "config": config,
        "rootfs": { "type": "layers", "diff_ids": [Digest::of("layer")] },
    }))
    .unwrap()
}

/// Converts with every image that is asked for being this one.
fn converted_with(text: &str, options: &Options, config: &ImageConfig) -> Result<Converted, Error> {
    let mut images = Images::default();
    for _ in 0..5 {
        match convert(text.as_bytes(), options, &images)? {
            Conversion::Done(converted) => return Ok(*converted),
            Conversion::NeedsImages(requests) => requests.into_iter().for_each(|request| {
                let info = ImageInfo { digest: Digest::from_bytes(DIGEST), config: config.clone() };
                images.insert(request.reference, request.platform, info);
            }),
            Conversion::NeedsTime(request) => images.insert_time(request.value, Some(7)),
        }
    }
    panic!("asks for images without end");
}

fn converted(text: &str, options: &Options) -> Result<Converted, Error> {
    converted_with(text, options, &image_config(serde_json::json!({})))
}

fn commands(converted: &Converted) -> Vec<(String, &pb::Op, &pb::ExecOp)> {
    let exec = |vertex: &'_ std::sync::Arc<gantry_llb::Vertex>| vertex.name().to_owned();
    let vertices = converted.definition.vertices().iter();
    vertices
        .filter_map(|vertex| match &vertex.op.op {
            Some(pb::op::Op::Exec(command)) => Some((exec(vertex), &vertex.op, command)),
            _ => None,
        })
        .collect()
}

fn last_environment(text: &str, options: &Options) -> BTreeMap<String, String> {
    let converted = converted(text, options).unwrap();
    let commands = commands(&converted);
    let meta = commands.last().unwrap().2.meta.as_ref().unwrap();
    meta.env.iter().map(|pair| pair.split_once('=').unwrap()).map(|(k, v)| (k.into(), v.into())).collect()
}

#[test]
fn arguments_have_scopes() {
    let mut given = options();
    given.build_args.insert("GIVEN".into(), "g".into());
    for (text, name, value) in [
        ("ARG X=1\nFROM a\nRUN x", "X", None),
        ("ARG SOURCE_DATE_EPOCH=\nFROM a\nARG SOURCE_DATE_EPOCH\nRUN x", "SOURCE_DATE_EPOCH", Some("")),
        ("ARG SOURCE_DATE_EPOCH=+7\nFROM a\nARG SOURCE_DATE_EPOCH\nRUN x", "SOURCE_DATE_EPOCH", Some("7")),
        ("ARG X=1\nFROM a\nARG X\nRUN x", "X", Some("1")),
        ("ARG X=1\nFROM a\nARG X=2\nRUN x", "X", Some("2")),
        ("ARG GIVEN=1\nFROM a\nARG GIVEN=2\nRUN x", "GIVEN", Some("g")),
        ("FROM a\nRUN x", "GIVEN", None),
        ("FROM a\nARG GIVEN\nRUN x", "GIVEN", Some("g")),
        ("FROM a AS s\nARG X=1\nFROM s\nRUN x", "X", Some("1")),
        ("FROM a AS s\nARG X=1\nFROM a\nRUN x\nCOPY --from=s / /", "X", None),
        ("ARG X=1 Y=$X-2\nFROM a\nARG Y\nRUN x", "Y", Some("1-2")),
        ("FROM a\nARG X=1 Y=$X-2\nRUN x", "Y", Some("1-2")),
        ("FROM a\nARG X=arg\nENV X=env\nRUN x", "X", Some("env")),
        ("FROM a\nENV X=env\nARG X=arg\nRUN x", "X", Some("arg")),
        ("FROM a\nENV X=env\nARG X\nRUN x", "X", Some("env")),
        ("FROM a\nENV X=1\nENV X=2 Y=$X\nRUN x", "Y", Some("1")),
        ("FROM a\nARG TARGETARCH\nRUN x", "TARGETARCH", Some("arm64")),
        ("FROM a\nARG BUILDPLATFORM\nRUN x", "BUILDPLATFORM", Some("linux/amd64")),
        ("FROM a\nRUN x", "TARGETARCH", None),
        ("FROM a AS last\nARG TARGETSTAGE\nRUN x", "TARGETSTAGE", Some("last")),
        ("FROM a\nARG TARGETSTAGE\nRUN x", "TARGETSTAGE", Some("default")),
        ("FROM a\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nRUN x", "BUILDKIT_SBOM_SCAN_STAGE", None),
    ] {
        let environment = last_environment(text, &given);
        assert_eq!(environment.get(name).map(String::as_str), value, "{text}");
    }
}

#[test]
fn work_directories_and_users() {
    let base = image_config(serde_json::json!({ "WorkingDir": "/base", "User": "base", "Env": ["D=/d"] }));
    for (text, directory, user) in [
        ("FROM a\nRUN x", "/base", "base"),
        ("FROM a\nWORKDIR b/c\nRUN x", "/base/b/c", "base"),
        ("FROM a\nWORKDIR ../x\nRUN x", "/x", "base"),
        ("FROM a\nWORKDIR $D\nRUN x", "/d", "base"),
        ("FROM a\nUSER 1:2\nRUN x", "/base", "1:2"),
        ("FROM a AS s\nUSER u\nWORKDIR /w\nFROM s\nRUN x", "/w", "u"),
        ("FROM scratch\nRUN x", "/", ""),
    ] {
        let converted = converted_with(text, &options(), &base).unwrap();
        let commands = commands(&converted);
        let meta = commands.last().unwrap().2.meta.as_ref().unwrap();
        assert_eq!((meta.cwd.as_str(), meta.user.as_str()), (directory, user), "{text}");
    }
}

#[test]
fn platforms_of_stages() {
    let text = "FROM --platform=$BUILDPLATFORM a AS b\nARG TARGETARCH\nRUN build\nFROM a\nRUN last\nCOPY --from=b /x /";
    let converted = converted(text, &Options { multi_platform: true, ..options() }).unwrap();
    let found: Vec<(String, String)> = commands(&converted)
        .into_iter()
        .map(|(name, op, _)| (name, op.platform.as_ref().unwrap().architecture.clone()))
        .collect();
    let expected =
        [("[linux/arm64 stage-1 2/3] RUN last", "arm64"), ("[linux/amd64->arm64 b 2/2] RUN build", "amd64")];
    assert_eq!(found, expected.map(|(name, platform)| (name.to_owned(), platform.to_owned())));
    assert_eq!(converted.config.architecture, "arm64");
    assert_eq!(converted.base.unwrap().1, platform("linux/arm64"));
}

#[test]
fn platforms_in_names() {
    let options = Options { multi_platform: true, ..options() };
    for (text, names) in [
        ("FROM scratch\nRUN x\nWORKDIR /w", &["[1/2] RUN x", "[linux/arm64 2/2] WORKDIR /w"][..]),
        (
            "FROM --platform=linux/arm64/v8 a\nRUN x\nCOPY a /b",
            &["[linux/arm64 2/3] RUN x", "[linux/arm64/v8 3/3] COPY a /b"],
        ),
        ("FROM a\nARG TARGETOS=b TARGETARCH=C\nRUN x", &["[linux/arm64->b/c 2/2] RUN x"]),
    ] {
        let converted = converted(text, &options).unwrap();
        let found: Vec<&str> = converted.definition.vertices().iter().map(|vertex| vertex.name()).collect();
        names.iter().for_each(|name| assert!(found.contains(name), "{text}: {found:?}"));
    }
}

#[test]
fn what_becomes_one_vertex_has_the_last_name_and_all_lines() {
    let text = "FROM a AS s\nCOPY x /y\nFROM a AS t\nARG V=x\nCOPY $V /y\nFROM scratch\nCOPY --from=s / /s\nCOPY --from=t / /t";
    let converted = converted(text, &options()).unwrap();
    let vertices = converted.definition.vertices();
    let copy = vertices.iter().find(|vertex| vertex.name().contains("x /y")).unwrap();
    assert_eq!(copy.name(), "[t 2/2] COPY x /y");
    let lines = |location: &pb::Location| location.ranges[0].start.as_ref().unwrap().line;
    let found: Vec<i32> = copy.locations.iter().map(lines).collect();
    assert_eq!(found, [2, 5]);
    let context = vertices.iter().find(|vertex| vertex.name().contains("load build context")).unwrap();
    assert!(context.locations.is_empty());
}

#[test]
fn only_images_that_are_needed_are_asked_for() {
    let text = "FROM dead AS x\nFROM --platform=linux/s390x one AS y\nFROM one\nCOPY --from=y /a /\nCOPY --from=two /b /\n";
    let Ok(Conversion::NeedsImages(requests)) = convert(text.as_bytes(), &options(), &Images::default())
    else {
        panic!("it needs images");
    };
    let requests: Vec<(String, String, Lines)> = requests
        .into_iter()
        .map(|ImageRequest { reference, platform, lines, .. }| {
            (reference.familiar(), platform.to_string(), lines)
        })
        .collect();
    let expected = [
        ("one:latest", "linux/s390x", 2..=2),
        ("one:latest", "linux/arm64", 3..=3),
        ("two:latest", "linux/arm64", 5..=5),
    ];
    assert_eq!(
        requests,
        expected.map(|(image, platform, lines)| (image.to_owned(), platform.to_owned(), lines))
    );
}

#[test]
fn triggers_of_images_run_first_and_may_need_more() {
    let base = image_config(serde_json::json!({ "OnBuild": ["RUN first", "COPY --from=other /a /b"] }));
    let converted = converted_with("FROM a\nRUN second", &options(), &base).unwrap();
    let names: Vec<&str> = converted.definition.vertices().iter().map(|vertex| vertex.name()).collect();
    assert!(names.contains(&"[2/4] ONBUILD RUN first"), "{names:?}");
    assert!(names.contains(&"[4/4] RUN second"), "{names:?}");
    let linked = image_config(serde_json::json!({ "OnBuild": ["COPY --link a b"] }));
    let linked = converted_with("FROM a", &options(), &linked).unwrap();
    let last = linked.definition.vertices().iter().rev().find(|vertex| vertex.name().contains("LINK"));
    assert_eq!(last.unwrap().name(), "[2/2] ONBUILD LINK COPY --link a b");
    assert_eq!(converted.config.config.on_build, None);
    let bad = image_config(serde_json::json!({ "OnBuild": ["FROM x"] }));
    assert!(converted_with("FROM a", &options(), &bad).unwrap_err().message.contains("cannot be a trigger"));
}

#[test]
fn vertices_know_their_lines() {
    let converted = converted("FROM a\n\nRUN x \\\n  y\n", &options()).unwrap();
    for vertex in converted.definition.vertices() {
        let expected = if vertex.inputs.is_empty() { 1..=1 } else { 3..=4 };
        assert_eq!(converted.definition.lines(&vertex.digest), Some((0, expected)), "{}", vertex.name());
    }
    let vertices = converted.definition.vertices().iter();
    let ranges = vertices.map(|vertex| vertex.locations[0].ranges.len()).max();
    assert_eq!(ranges, Some(2), "one range per line");
    assert_eq!(converted.definition.sources[0].language, "Dockerfile");
}

#[test]
fn refused_where_it_stands() {
    for (text, lines, reason) in [
        ("RUN a\nFROM b", 1..=1, "no build stage"),
        ("ARG X\nFROM $X", 2..=2, "should not be blank"),
        ("FROM --platform=$NO a", 1..=1, "empty platform value"),
        ("FROM --platform=x/y/z/w a", 1..=1, "is not a platform"),
        ("FROM A B", 1..=1, "one or three"),
        ("FROM Upper", 1..=1, "lower-case"),
        ("FROM a AS b\nCOPY --from=b /x /y", 2..=2, "circular"),
        ("FROM a AS b\nCOPY --from=c /x /y\nFROM a AS c\nRUN --mount=from=b,target=/b x", 2..=2, "circular"),
        ("FROM a\nCOPY --from=1 /x /y\nFROM scratch AS c\nCOPY --from=0 /a /b", 2..=2, "circular"),
        ("FROM a\nCOPY --from=7 /x /y", 2..=2, "invalid stage index 7"),
        ("FROM a AS x\nCOPY --from=y /x /y\nFROM a AS y\nFROM x", 2..=2, "defined later"),
        ("FROM a\nCOPY --chmod=u~x b c", 2..=2, "invalid chmod"),
        ("FROM a\nADD --checksum=sha256:12 b c", 2..=2, "requires HTTP(S) or Git"),
        ("ARG SOURCE_DATE_EPOCH=what\nFROM $NO", 1..=1, "invalid SOURCE_DATE_EPOCH: what"),
        ("ARG SOURCE_DATE_EPOCH=253402300800\nFROM a", 1..=1, "none of the years 0 to 9999"),
        ("ARG SOURCE_DATE_EPOCH=t\nFROM a AS t\nFROM a", 2..=2, "must use FROM scratch"),
        ("ARG SOURCE_DATE_EPOCH=t\nFROM scratch AS t\nADD a b\nFROM a", 2..=2, "a single HTTP(S) or Git ADD"),
        ("FROM a\nCOPY git@example.com:a/b.git /c", 2..=2, "can't be a git ref"),
        ("FROM a\nCOPY https://example.com/a /c", 2..=2, "can't be a URL"),
        ("FROM a\nENV A=${B:?missing}\n", 2..=2, "B: missing"),
        ("FROM a\nVOLUME $NO", 2..=2, "empty"),
        ("FROM a\nRUN --mount=target=/ x", 2..=2, "invalid mount target"),
        ("FROM a\nRUN --device=x y", 2..=2, "RUN --device is only in the labs channel"),
        ("FROM a\nRUN []", 2..=2, "no command"),
        ("FROM a\nCOPY --chmod=+755 b c", 2..=2, "octal"),
        ("# syntax=other/front:1\nFROM a", 1..=1, "the front end `other/front:1` cannot be run"),
        ("FROM dead AS d\nCOPY --oops a b\nFROM a", 2..=2, "unknown flag"),
        // What the parser finds wrong comes before all that an instruction finds.
        ("FROM a\nCOPY x\nONBUILD ENV x", 3..=3, "needs a name and a value"),
        ("FROM a\nCOPY x\nHEALTHCHECK CMD [1]", 3..=3, "only strings"),
        ("FROM\nONBUILD ONBUILD CMD [1]", 2..=2, "only strings"),
        ("RUN x\nOOPS", 1..=1, "no build stage"),
    ] {
        let error = converted(text, &options()).expect_err(text);
        assert!(error.message.contains(reason), "{text}: {error}");
        assert_eq!(error.lines, lines, "{text}: {error}");
    }
}

#[test]
fn other_encodings() {
    let read = |text: &[u8]| convert(text, &options(), &Images::default());
    let text = b"# J\xe9r\xf4me\nFROM scratch\nLABEL a=\xe9 b=\xe2\x82\nMAINTAINER J\xe9r\xf4me\nRUN a \\\n  # \xff\n b\n";
    let Ok(Conversion::Done(converted)) = read(text) else { panic!("it is a Dockerfile") };
    let labels = converted.config.config.labels.unwrap();
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("\u{fffd}", "\u{fffd}\u{fffd}"));
    assert_eq!(converted.config.author, "J\u{fffd}r\u{fffd}me");
    for (text, lines) in [
        (&b"FROM scratch\nRUN \xff"[..], 2..=2),
        (b"FROM scratch\nRUN <<E\nx\n\xff\nE", 2..=5),
        (b"FROM scratch\nCOPY <<'E' /a\n# \xff\nE", 2..=4),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.lines, lines, "{error}");
        assert!(error.message.contains("is not UTF-8 text"), "{error}");
    }
    assert!(read("FROM scratch\n# \u{fffd}\nRUN \u{fffd}".as_bytes()).is_ok());
    assert!(read(b"FROM scratch\nCOPY <<E /a\n\xff\nE").is_ok());
}

#[test]
fn doubtful_things_are_said() {
    let text =
        "FROM a\nENV HOME_DIR=/x\nRUN x\nCOPY $HOME_DIRR /y\nMAINTAINER me\nENV old form\nCMD shell form";
    let warnings = converted(text, &options()).unwrap().warnings;
    let found: Vec<(Rule, u32)> =
        warnings.iter().map(|warning| (warning.rule, *warning.lines.start())).collect();
    let expected = [
        (Rule::MaintainerDeprecated, 5),
        (Rule::UndefinedVar, 4),
        (Rule::LegacyKeyValueFormat, 6),
        (Rule::JsonArgsRecommended, 7),
    ];
    assert_eq!(found, expected);
    assert_eq!(warnings[1].message, "Usage of undefined variable '$HOME_DIRR' (did you mean $HOME_DIR?)");
}

#[test]
fn what_is_accepted() {
    for text in [
        "# caf\u{e9}\nFROM a",
        "FROM a\nSTOPSIGNAL --x=1 TERM",
        "FROM a\nARG --x=1 A",
        "FROM a\nHEALTHCHECK --interval=5s NONE",
        "FROM a\nCMD [\"\\ud800\"]",
        "FROM a\nCOPY a b /no/slash",
        "FROM a AS b\nFROM a AS b\nFROM b",
        "# syntax=docker/dockerfile:1.4-labs\nFROM a",
        "# syntax=docker.io/docker/dockerfile-upstream:master\nFROM a",
        "# syntax=dockerfile.v0\nFROM a",
        "ARG SOURCE_DATE_EPOCH=context\nFROM a",
        "FROM a\nADD git@example.com:a/b.git#v1:d /c\nADD ssh://git@example.com:22/a/b.git /d",
        "FROM a\nONBUILD RUN <<E\nx\nE\n",
        "FROM a\nEXPOSE $NO",
        "FROM a\nRUN --mount=type=tmpfs,target=/x,size=1.5kib y",
        "FROM a\nSHELL [\"a\"]\nRUN",
    ] {
        let converted = converted(text, &options());
        assert!(converted.is_ok(), "{text}: {converted:?}");
    }
    let latin1 = convert(b"# caf\xe9\nFROM scratch", &options(), &Images::default());
    assert!(matches!(latin1, Ok(Conversion::Done(_))));
    let surrogate = converted("FROM a\nCMD [\"\\ud83d\\ude00\\ud800x\"]", &options()).unwrap();
    assert_eq!(surrogate.config.config.cmd.unwrap(), ["\u{1f600}\u{fffd}x"]);
    let trigger = converted("FROM a\nonbuild   RUN x  ", &options()).unwrap();
    assert_eq!(trigger.config.config.on_build.unwrap(), ["RUN x  "], "blanks behind it stay");
}

#[test]
fn repositories_over_ssh() {
    let converted = converted("FROM a\nADD git@example.com:a/b.git?branch=x#:d /c", &options()).unwrap();
    let sources = converted.definition.vertices().iter().filter_map(|vertex| match &vertex.op.op {
        Some(pb::op::Op::Source(source)) if source.identifier.starts_with("git:") => Some(source),
        _ => None,
    });
    let [source] = &sources.collect::<Vec<_>>()[..] else { panic!("one repository") };
    assert_eq!(source.identifier, "git://example.com/a/b.git#refs/heads/x:d");
    assert_eq!(source.attrs["git.fullurl"], "git@example.com:a/b.git");
    assert_eq!(source.attrs["git.mountsshsock"], "default");
}

#[test]
fn results_are_limited() {
    let large = "x".repeat(60_000);
    let labels: String = (0..4_000).map(|label| format!("LABEL l{label}=$A\n")).collect();
    let error = converted(&format!("FROM a\nENV A={large}\n{labels}"), &options()).unwrap_err();
    assert!(error.message.contains("grows beyond"), "{error}");
    let line = "y".repeat(70_000);
    let error = converted(&format!("FROM a\nRUN {line}"), &options()).unwrap_err();
    assert_eq!((error.lines, error.message.contains("longer than 65535")), (2..=2, true));
}

#[test]
fn all_ports_again_and_again() {
    let text = format!("FROM a\n{}", "EXPOSE 0-65535\n".repeat(20));
    let ports = converted(&text, &options()).unwrap().config.config.exposed_ports.unwrap();
    assert_eq!(ports.len(), 1 << 16);
    let base = image_config(serde_json::json!({ "ExposedPorts": { "80/tcp": {}, "odd": {} } }));
    let text = "FROM a AS s\nEXPOSE 53/udp 80\nFROM s\nEXPOSE 1-2";
    let ports = converted_with(text, &options(), &base).unwrap().config.config.exposed_ports.unwrap();
    let named: Vec<String> = ports.into_keys().collect();
    assert_eq!(named, ["1/tcp", "2/tcp", "53/udp", "80/tcp", "odd"]);
}

#[test]
fn long_files_end() {
    let steps: String = (0..3000).map(|step| format!("RUN {step}\n")).collect();
    let converted = converted(&format!("FROM a\n{steps}"), &options()).unwrap();
    assert_eq!(converted.definition.vertices().len(), 3001);
    let doubling: String = (0..60).map(|_| "ENV A=$A$A\n").collect();
    let error = self::converted(&format!("FROM a\nENV A=x\n{doubling}"), &options()).unwrap_err();
    assert!(error.message.contains("grows"), "{error}");
}

#[test]
fn the_epoch_of_a_source() {
    let options = options();
    let stage = "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nARG V=1\nADD https://h.test/$V /\nFROM a\nWORKDIR /w";
    assert_eq!(converted(stage, &options).unwrap().epoch, Some(7));
    let context = "ARG SOURCE_DATE_EPOCH=context\nFROM a";
    assert_eq!(converted(context, &options).unwrap().epoch, None, "a directory has no time");
    let remote = RemoteContext::parse("https://h.test/a.git", GitOptions::default()).unwrap();
    assert_eq!(converted(context, &Options { context: remote, ..options }).unwrap().epoch, Some(7));
}

#[test]
fn contexts_of_all_kinds() {
    let remote = |text: &str| RemoteContext::parse(text, GitOptions::default()).unwrap().unwrap();
    let mut options = options();
    options.context = Some(remote("https://h.test/c.tar").unpacked());
    let reference: Reference = format!("layout@{}", Digest::of("image")).parse().unwrap();
    for (name, context) in [
        ("repo", NamedContext::Remote(remote("git@h.test:a/b.git#v1"))),
        ("file", NamedContext::Remote(remote("https://h.test/f"))),
        ("layout", NamedContext::Layout { store: "s".to_owned(), reference }),
        ("nothing", NamedContext::Scratch),
    ] {
        options.contexts.insert(name.to_owned(), context);
    }
    let text =
        "FROM layout\nCOPY a /\nCOPY --from=repo b /\nCOPY --from=file context /\nCOPY --from=nothing . /";
    let converted = converted(text, &options).unwrap();
    let sources: Vec<_> = (converted.definition.vertices().iter())
        .filter_map(|vertex| match &vertex.op.op {
            Some(pb::op::Op::Source(source)) => Some((source.identifier.clone(), vertex.name().to_owned())),
            _ => None,
        })
        .collect();
    let source = |identifier: &str, name: &str| (identifier.to_owned(), name.to_owned());
    let layout = format!("oci-layout://docker.io/library/layout@{}", Digest::from_bytes(DIGEST));
    let mut expected = vec![
        source("https://h.test/c.tar", "[internal] load remote build context"),
        source("git://h.test/a/b.git#v1", "[internal] load git source git@h.test:a/b.git#v1"),
        source("https://h.test/f", "[context file] https://h.test/f"),
        source(&layout, "[context layout] OCI load from client"),
    ];
    let mut sources = sources;
    sources.sort();
    expected.sort();
    assert_eq!(sources, expected);
}

#[test]
fn a_context_stands_for_a_stage_but_not_for_its_triggers() {
    let mut options = options();
    let other = NamedContext::Image { reference: "other".parse().unwrap(), written: "other".into() };
    options.contexts.insert("base".into(), other);
    let onbuild = image_config(serde_json::json!({ "OnBuild": ["RUN of-image"] }));
    let names = |text: &str| -> Vec<String> {
        let converted = converted_with(text, &options, &onbuild).unwrap();
        commands(&converted).into_iter().map(|(name, ..)| name).collect()
    };
    assert_eq!(names("FROM a AS base\nRUN x\nONBUILD RUN of-stage\nFROM base\nRUN y").len(), 2);
    assert_eq!(names("FROM a AS base\nRUN x"), [""; 0]);
    let replaced = converted_with("FROM a AS base\nRUN x", &options, &onbuild).unwrap();
    assert_eq!(replaced.definition.vertices()[0].name(), "[context base] other", "as it was written");
    let later = "FROM a AS s\nCOPY --from=base /x /y\nFROM a AS base\nFROM s";
    assert!(converted(later, &options).is_ok(), "it is there from the beginning");
    let circle = "FROM a AS base\nCOPY --from=base / /";
    assert!(convert(circle.as_bytes(), &options, &Images::default()).is_err(), "it is read all the same");
}

#[test]
fn names_that_mean_nothing_can_be_stages() {
    // A cache begins with nothing, unless a stage is called so.
    let cache = "FROM a AS scratch\nRUN x\nFROM a\nRUN --mount=type=cache,target=/c y";
    let cached = converted(cache, &options()).unwrap();
    assert_eq!(commands(&cached).len(), 2, "the stage is needed");
    let later = "FROM a AS s\nRUN --mount=type=cache,target=/c y\nFROM a AS scratch";
    let given = Options { target: Some("s".into()), ..options() };
    assert!(converted(later, &given).is_err());
}

#[test]
fn a_trigger_can_take_from_the_stage_that_it_is_fired_in() {
    let text = "FROM a AS base\nONBUILD COPY --from=last /x /y\nFROM base AS last\nRUN z";
    assert!(converted(text, &options()).is_ok());
}
