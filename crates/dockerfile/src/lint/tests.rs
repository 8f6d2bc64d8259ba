//! Each rule, what it says and what it leaves alone; the settings that choose among them.

use super::*;
use crate::convert::{convert, through};
use crate::options::{Conversion, ImageInfo, Images, Options};
use crate::stages::Reach;

fn options() -> Options {
    let platform = |text: &str| text.parse().unwrap();
    Options::new(platform("linux/amd64"), platform("linux/amd64"))
}

/// Goes through all stages, with images of this platform.
fn lint_on(text: &str, options: &Options, architecture: &str) -> (Linter, Result<(), Error>) {
    let mut images = Images::default();
    for _ in 0..4 {
        let mut linter = Linter::default();
        match through(text.as_bytes(), options, &images, Reach::All, &mut linter, |_, _| ()) {
            Ok(Conversion::NeedsImages(wanted)) => wanted.into_iter().for_each(|request| {
                let config = serde_json::json!({
                    "os": "linux", "architecture": architecture, "config": {},
                    "rootfs": { "type": "layers", "diff_ids": [gantry_oci::Digest::of("layer")] },
                });
                let config = serde_json::from_value(config).unwrap();
                let info = ImageInfo { digest: gantry_oci::Digest::of("image"), config };
                images.insert(request.reference, request.platform, info);
            }),
            Ok(Conversion::NeedsTime(request)) => images.insert_time(request.value, None),
            Ok(Conversion::Done(_)) => return (linter, Ok(())),
            Err(error) => return (linter, Err(error)),
        }
    }
    panic!("asks for images without end");
}

fn found(text: &str, options: &Options) -> Vec<(Rule, u32, String)> {
    let (linter, _) = lint_on(text, options, "amd64");
    let warnings = linter.into_warnings().into_iter();
    warnings.map(|warning| (warning.rule, *warning.lines.start(), warning.message)).collect()
}

/// A file, and the rules that it breaks, with the line and the end of the message.
type Case = (&'static str, &'static [(Rule, u32, &'static str)]);

fn check(cases: &[Case]) {
    for (text, expected) in cases {
        let found = found(text, &options());
        let same = found.len() == expected.len()
            && found.iter().zip(*expected).all(|((rule, line, message), (wanted, at, end))| {
                rule == wanted && line == at && message.ends_with(end)
            });
        assert!(same, "{text}\n{found:#?}");
    }
}

#[test]
fn names_and_casing() {
    use Rule::*;
    check(&[
        (
            "FROM scratch AS Bad\nFROM scratch as good",
            &[
                (StageNameCasing, 1, "Stage name 'Bad' should be lowercase"),
                (FromAsCasing, 2, "'as' and 'FROM' keywords' casing do not match"),
            ],
        ),
        ("from scratch AS a", &[(FromAsCasing, 1, "'AS' and 'from' keywords' casing do not match")]),
        ("from scratch as a\ncopy a b", &[]),
        (
            "From scratch as a\nFROM scratch AS b",
            &[(
                ConsistentInstructionCasing,
                1,
                "Command 'From' should match the case of the command majority (uppercase)",
            )],
        ),
        (
            "from scratch\nCOPY a b\ncopy c d",
            &[(
                ConsistentInstructionCasing,
                2,
                "'COPY' should match the case of the command majority (lowercase)",
            )],
        ),
        ("FROM scratch\ncopy a b", &[(ConsistentInstructionCasing, 2, "(uppercase)")]),
        ("arg A\nFROM scratch", &[]),
        (
            "FROM scratch AS b\nFROM scratch AS b",
            &[(DuplicateStageName, 2, "Duplicate stage name \"b\", stage names should be unique")],
        ),
        (
            "FROM scratch AS context\nFROM scratch AS scratch",
            &[
                (ReservedStageName, 1, "the same name as reserved stage \"context\""),
                (ReservedStageName, 2, "the same name as reserved stage \"scratch\""),
            ],
        ),
    ]);
}

#[test]
fn bases_and_platforms() {
    use Rule::*;
    check(&[
        ("ARG DEBUG\nFROM scratch${DEBUG}", &[]),
        (
            "ARG tag=1\nFROM a:$tag$version",
            &[(UndefinedArgInFrom, 2, "FROM argument 'version' is not declared")],
        ),
        (
            "FROM --platform=$BULIDPLATFORM a",
            &[(
                UndefinedArgInFrom,
                1,
                "FROM argument 'BULIDPLATFORM' is not declared (did you mean BUILDPLATFORM?)",
            )],
        ),
        (
            "FROM --platform=${TARGETPLATFORM} scratch",
            &[(
                RedundantTargetPlatform,
                1,
                "Setting platform to predefined ${TARGETPLATFORM} in FROM is redundant as this is the default \
                 behavior",
            )],
        ),
        ("FROM --platform=$TARGETPLATFORM$BUILDVARIANT scratch", &[]),
        ("FROM --platform=$BUILDPLATFORM scratch", &[]),
        (
            "FROM --platform=linux/arm64 scratch",
            &[(
                FromPlatformFlagConstDisallowed,
                1,
                "FROM --platform flag should not use constant value \"linux/arm64\"",
            )],
        ),
        ("FROM --platform=linux/arm64 scratch AS for-arm64", &[]),
        ("FROM --platform=linux/arm64 scratch AS linux", &[]),
        ("# check=skip=RedundantTargetPlatform\nFROM --platform=$TARGETPLATFORM scratch", &[]),
    ]);
    let given = |name: &str, value: &str| {
        let mut options = options();
        options.build_args.insert(name.into(), value.into());
        options
    };
    let rules = |text: &str, options: &Options| -> Vec<String> {
        found(text, options).into_iter().map(|(rule, _, message)| format!("{rule}: {message}")).collect()
    };
    assert_eq!(
        rules("ARG V\nFROM a:$V", &given("V", "1")),
        ["InvalidDefaultArgInFrom: Default value for ARG a:$V results in empty or invalid base image name"]
    );
    assert_eq!(rules("ARG V=1\nFROM a:$V", &given("V", "2")), [""; 0]);
    assert_eq!(rules("ARG S\nFROM a:b$S", &given("S", "-c")), [""; 0]);
    let (linter, _) = lint_on("FROM a", &options(), "arm64");
    assert_eq!(
        linter.into_warnings()[0].message,
        "Base image a was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build"
    );
}

#[test]
fn instructions() {
    use Rule::*;
    check(&[
        ("FROM scratch\nCOPY a \\\n\n b\n", &[(NoEmptyContinuation, 4, "Empty continuation line")]),
        ("FROM scratch\nCOPY a \\\n# c\n b\n", &[]),
        (
            "FROM scratch\ncmd a\nENTRYPOINT b\nENV A=b",
            &[
                (ConsistentInstructionCasing, 2, "(uppercase)"),
                (
                    JsonArgsRecommended,
                    2,
                    "JSON arguments recommended for cmd to prevent unintended behavior related to OS signals",
                ),
                (
                    JsonArgsRecommended,
                    3,
                    "for ENTRYPOINT to prevent unintended behavior related to OS signals",
                ),
            ],
        ),
        ("FROM scratch\nSHELL [\"/x\"]\nCMD a", &[]),
        ("FROM scratch AS a\nSHELL [\"/x\"]\nFROM a\nENTRYPOINT a", &[]),
        (
            "FROM scratch\nMAINTAINER me",
            &[(MaintainerDeprecated, 2, "Maintainer instruction is deprecated in favor of using label")],
        ),
        (
            "FROM scratch\nWORKDIR a/",
            &[(
                WorkdirRelativePath,
                2,
                "Relative workdir \"a/\" can have unexpected results if the base image changes",
            )],
        ),
        ("FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b", &[]),
        (
            "FROM scratch\nCMD [\"a\"]\nHEALTHCHECK CMD a\nCMD [\"b\"]\nHEALTHCHECK NONE\nENTRYPOINT []\nENTRYPOINT []",
            &[
                (
                    MultipleInstructionsDisallowed,
                    2,
                    "Multiple CMD instructions should not be used in the same stage because only the last one \
                     will be used",
                ),
                (MultipleInstructionsDisallowed, 3, "only the last one will be used"),
                (MultipleInstructionsDisallowed, 6, "only the last one will be used"),
            ],
        ),
        ("FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]", &[]),
        (
            "FROM scratch\nENV a b\nLABEL c d",
            &[
                (
                    LegacyKeyValueFormat,
                    2,
                    "\"ENV key=value\" should be used instead of legacy \"ENV key value\" format",
                ),
                (LegacyKeyValueFormat, 3, "instead of legacy \"LABEL key value\" format"),
            ],
        ),
        (
            "FROM scratch\nEXPOSE 80/TcP 81/udp 1.2.3.4:82:82 83:83",
            &[
                (
                    ExposeInvalidFormat,
                    2,
                    "EXPOSE instruction should not define an IP address or host-port mapping, found \
                     '1.2.3.4:82:82'",
                ),
                (ExposeProtoCasing, 2, "Defined protocol '80/TcP' in EXPOSE instruction should be lowercase"),
                (ExposeInvalidFormat, 2, "found '83:83'"),
            ],
        ),
    ]);
}

#[test]
fn variables_and_secrets() {
    use Rule::*;
    check(&[
        ("FROM scratch\nARG a\nCOPY x$a /", &[]),
        ("FROM scratch AS b\nARG a=1\nFROM b\nCOPY $a /", &[]),
        ("FROM scratch\nRUN echo $PATH $NOTHING", &[]),
        (
            "FROM scratch\nCOPY $a $b/\nARG a=1",
            &[
                (UndefinedVar, 2, "Usage of undefined variable '$a'"),
                (UndefinedVar, 2, "Usage of undefined variable '$b'"),
            ],
        ),
        (
            "FROM scratch\nENV PATH=$PAHT:/x",
            &[(UndefinedVar, 2, "Usage of undefined variable '$PAHT' (did you mean $PATH?)")],
        ),
        ("FROM scratch\nENV a=${b:?no}", &[(UndefinedVar, 2, "variable '$b'")]),
        // A name that expands to nothing is no suggestion; of equally near ones the first is one.
        ("FROM scratch\nENV \"\"=1\nENV a=$b", &[(UndefinedVar, 3, "variable '$b'")]),
        ("FROM scratch\nENV xby=1 xyb=2\nENV a=$xbb", &[(UndefinedVar, 3, "(did you mean $xby?)")]),
        ("FROM scratch\nCOPY <<'E' <<F /\n$no\nE\n$yes\nF", &[(UndefinedVar, 2, "variable '$yes'")]),
        // The last stage alone would not show the first one's.
        ("FROM scratch AS a\nCOPY $x /\nFROM scratch", &[(UndefinedVar, 2, "variable '$x'")]),
        (
            "FROM scratch\nARG API_KEY token=1\nENV Secret=1 PUBLIC_KEY=1 KEYBOARD=1",
            &[
                (
                    SecretsUsedInArgOrEnv,
                    2,
                    "Do not use ARG or ENV instructions for sensitive data (ARG \"API_KEY\")",
                ),
                (SecretsUsedInArgOrEnv, 2, "(ARG \"token\")"),
                (SecretsUsedInArgOrEnv, 3, "(ENV \"Secret\")"),
            ],
        ),
    ]);
}

#[test]
fn ignored_files() {
    let ignoring = |patterns: &[&str]| Options {
        exclude: patterns.iter().map(|pattern| pattern.to_string()).collect(),
        ..options()
    };
    for (text, patterns, expected) in [
        ("COPY a /", &["a"][..], Some("Attempting to Copy file \"a\" that is excluded by .dockerignore")),
        ("ADD ./a/b /", &["a"], Some("Attempting to Add file \"a/b\" that is excluded by .dockerignore")),
        ("COPY . /", &["*"], Some("Attempting to Copy file \".\" that is excluded by .dockerignore")),
        ("COPY . /", &[".*"], None),
        ("COPY a /", &["*", "!a"], None),
        ("COPY a /", &["b"], None),
        ("COPY --from=x a /", &["a"], None),
    ] {
        let found = found(&format!("FROM scratch AS x\nFROM scratch\n{text}"), &ignoring(patterns));
        let found = found.first().map(|(rule, _, message)| {
            assert_eq!(*rule, Rule::CopyIgnoredFile);
            message.as_str()
        });
        assert_eq!(found, expected, "{text} {patterns:?}");
    }
}

#[test]
fn descriptions_are_experimental() {
    use Rule::*;
    check(&[
        ("# other text\nARG a=1\nFROM scratch", &[]),
        (
            "# check=experimental=all\n# b is described\nARG a=1\n# s is a stage\nFROM scratch AS s\n# x\nARG b c\n\
             # c is c\nARG b c\n#\n# b\nARG c",
            &[
                (
                    InvalidDefinitionDescription,
                    3,
                    "Comment for ARG should follow the format: `# a <description>`",
                ),
                (InvalidDefinitionDescription, 7, "should follow the format: `# <arg_key> <description>`"),
                (InvalidDefinitionDescription, 12, "`# c <description>`"),
            ],
        ),
        (
            "# check=skip=all;experimental=InvalidDefinitionDescription\n# x\nARG a\nFROM scratch",
            &[(InvalidDefinitionDescription, 3, "`# a <description>`")],
        ),
    ]);
}

#[test]
fn what_is_skipped() {
    for (text, expected) in [
        ("#check=skip=all\nFROM scratch as a\ncopy b c", &[][..]),
        ("#check=skip=ConsistentInstructionCasing,FromAsCasing // why\nFROM scratch as a\ncopy b c", &[]),
        ("#check=skip=ConsistentInstructionCasing\nFROM scratch as a\ncopy b c", &["FromAsCasing"]),
        (
            "FROM scratch\n# check=skip=SecretsUsedInArgOrEnv // fine\nENV TOKEN=1\nENV KEY=1",
            &["SecretsUsedInArgOrEnv"],
        ),
        ("FROM scratch\n# check=skip=all\n\nMAINTAINER a", &[]),
        ("FROM scratch\n# check=skip=all\n#\nMAINTAINER a", &["MaintainerDeprecated"]),
        ("FROM scratch\n  # check=skip=all\nMAINTAINER a", &["MaintainerDeprecated"]),
        ("FROM scratch\n# check=skip\nMAINTAINER a", &["MaintainerDeprecated"]),
    ] {
        let found: Vec<String> =
            found(text, &options()).into_iter().map(|(rule, ..)| rule.to_string()).collect();
        assert_eq!(found, expected, "{text}");
    }
}

/// What is found before a file is refused: its text is parsed as a whole, its instructions are read in order, and what
/// the names of bases mean comes last.
#[test]
fn what_is_found_before_a_refusal() {
    use Rule::*;
    for (text, target, expected, line, message) in [
        ("FROM a AS B\nMAINTAINER x\nENV A=1 B", None, &[][..], 3, "`B` has no `=`"),
        ("FROM a AS B\nONBUILD LABEL A\nBAD", None, &[], 2, "needs a name and a value"),
        ("FROM a AS B\nBAD\nFROM a AS C", None, &[StageNameCasing], 2, "unknown instruction: BAD"),
        ("RUN x\nFROM a AS B", None, &[], 1, "no build stage in current context"),
        (
            "FROM UPPER\nFROM $a",
            None,
            &[InvalidDefaultArgInFrom, InvalidDefaultArgInFrom, UndefinedArgInFrom],
            2,
            "blank",
        ),
        ("FROM UPPER", Some("b"), &[InvalidDefaultArgInFrom], 1, "target stage `b` could not be found"),
        ("FROM UPPER AS a\nCOPY --from=a b c", None, &[InvalidDefaultArgInFrom], 2, "circular"),
        (
            "FROM a\nCOPY --from=UPPER b c\nFROM $b",
            None,
            &[InvalidDefaultArgInFrom, UndefinedArgInFrom],
            3,
            "blank",
        ),
        ("FROM a AS b\nCOPY --from=UPPER b c", None, &[], 2, "a repository name is lower-case"),
        ("FROM a AS a.", None, &[], 1, "`a.` is not a name for a stage"),
        (
            "FROM a\nRUN --mount=target=/ --mount=target=$x y",
            None,
            &[UndefinedVar],
            2,
            "invalid mount target",
        ),
        ("FROM a\nRUN --device=x y", None, &[], 2, "labs channel"),
        ("FROM a\nUSER ${x:@y}", None, &[UndefinedVar], 2, "unsupported modifier (:@)"),
    ] {
        let options = Options { target: target.map(str::to_owned), ..options() };
        let (linter, result) = lint_on(text, &options, "amd64");
        let error = result.expect_err(text);
        assert!(*error.lines.start() == line && error.message.contains(message), "{text}: {error:?}");
        let found: Vec<Rule> = linter.into_warnings().iter().map(|warning| warning.rule).collect();
        assert_eq!(found, expected, "{text}");
    }
    let unused = "FROM a AS x\nRUN --device=x y\nFROM a";
    assert!(
        convert(unused.as_bytes(), &options(), &Images::default()).is_ok(),
        "only its stage needs the device"
    );
}

#[test]
fn platforms_of_bases_come_before_instructions() {
    let (linter, _) = lint_on("FROM a\nCOPY $x /\nFROM b\nCOPY --from=c / /", &options(), "arm64");
    let found: Vec<(Rule, u32)> =
        linter.into_warnings().iter().map(|warning| (warning.rule, *warning.lines.start())).collect();
    let platform = Rule::InvalidBaseImagePlatform;
    assert_eq!(found, [(platform, 1), (platform, 3), (platform, 4), (Rule::UndefinedVar, 2)]);
}

#[test]
fn warnings_as_errors() {
    let text = "# check=error=true\nFROM scratch as a\ncopy b c\nfrom scratch as b\n";
    let error = convert(text.as_bytes(), &options(), &Images::default()).unwrap_err();
    assert_eq!((error.kind, *error.lines.start()), (ErrorKind::Lint, 2));
    assert_eq!(error.message, "lint violation found for rules: FromAsCasing, ConsistentInstructionCasing");
    let clean = "# check=skip=all;error=true\nFROM scratch as a";
    assert!(convert(clean.as_bytes(), &options(), &Images::default()).is_ok());
    let mut given = options();
    given.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".into(), "skip=all; error = 1".into());
    assert!(
        convert(text.as_bytes(), &given, &Images::default()).is_ok(),
        "the argument replaces the directive"
    );
    given.build_args.insert("BUILDKIT_DOCKERFILE_CHECK".into(), "error=maybe".into());
    assert!(convert(text.as_bytes(), &given, &Images::default()).is_err());
    let bad = convert(b"# check=skp=all\nFROM scratch", &options(), &Images::default()).unwrap_err();
    assert_eq!((bad.lines, bad.hints.last().unwrap().as_str()), (1..=1, "did you mean `skip`?"));
}
