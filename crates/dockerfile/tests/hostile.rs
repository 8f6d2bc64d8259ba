//! Damaged Dockerfiles: whatever the text is, a conversion ends, and with a result or an error that has a place.
//!
//! The texts are the fixtures with pieces cut out, doubled and mixed up by a generator with a fixed seed, so that a
//! failure happens again. Others are written to grow: they end in a moment, or not at all.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read has to end the test")]

use std::fs;
use std::path::Path;

use gantry_dockerfile::{Conversion, ImageInfo, Images, Options, check, convert};
use gantry_oci::{Digest, ImageConfig};

const ROUNDS: usize = 4000;
/// How often a conversion may ask for more images. A trigger of an image may name another image.
const MAX_QUESTIONS: usize = 20;

#[test]
fn damaged_files_end() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let texts: Vec<Vec<u8>> =
        files.iter().filter_map(|path| fs::read(path.join("Dockerfile")).ok()).collect();
    assert!(texts.len() > 100);
    let mut numbers = Numbers(0x5eed);
    let mut converted = 0;
    for _ in 0..ROUNDS {
        let text = damaged(&texts, &mut numbers);
        converted += usize::from(ends(&text));
    }
    assert!(converted > ROUNDS / 20, "only {converted} texts were still Dockerfiles");
}

/// A linear congruential generator: not random, only well mixed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}

fn damaged(texts: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    const PIECES: [&[u8]; 12] =
        [b"$", b"${", b"\\", b"\"", b"'", b"<<", b"--", b"=", b"\n", b"[", b"\xff", "é".as_bytes()];
    let mut text = texts[numbers.below(texts.len())].clone();
    for _ in 0..=numbers.below(3) {
        let from = numbers.below(text.len());
        let to = (from + numbers.below(12)).min(text.len());
        let piece = match numbers.below(4) {
            0 => Vec::new(),
            1 => PIECES[numbers.below(PIECES.len())].to_vec(),
            2 => text[from..to].repeat(2),
            _ => texts[numbers.below(texts.len())].clone(),
        };
        text.splice(from..to, piece);
    }
    text
}

/// Whether the text was a Dockerfile.
fn ends(text: &[u8]) -> bool {
    let options = options();
    let mut images = Images::default();
    let lines = text.split(|byte| *byte == b'\n').count() as u32;
    for _ in 0..MAX_QUESTIONS {
        match convert(text, &options, &images) {
            Err(error) => {
                assert!(!error.message.is_empty());
                assert!(*error.lines.start() >= 1 && *error.lines.end() <= lines.max(1), "{error:?}");
                return false;
            }
            Ok(Conversion::Done(_)) => return true,
            Ok(Conversion::NeedsImages(requests)) => {
                for request in requests {
                    let config = ImageConfig { os: "linux".to_owned(), ..ImageConfig::default() };
                    let info = ImageInfo { digest: Digest::of("image"), config };
                    images.insert(request.reference, request.platform, info);
                }
            }
            Ok(Conversion::NeedsTime(request)) => images.insert_time(request.value, None),
        }
    }
    panic!("asks for images without end: {}", String::from_utf8_lossy(text));
}

/// What is made of a text without images.
fn converted(text: &str) -> Result<gantry_dockerfile::Converted, String> {
    let options = Options::new("linux/arm64".parse().unwrap(), "linux/amd64".parse().unwrap());
    match convert(text.as_bytes(), &options, &Images::default()) {
        Ok(Conversion::Done(converted)) => Ok(*converted),
        Ok(_) => panic!("it needs nothing"),
        Err(error) => Err(error.message),
    }
}

/// As many lines, each made of its number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|number| line(number) + "\n").collect()
}

#[test]
fn variables_that_grow_are_refused() {
    let value = "x".repeat(60_000);
    // 60 KB, 3.6 MB, and 1.8 GB.
    let (one, some, many) = ("\"$a\"", format!("\"{}\"", "$a".repeat(60)), "$a".repeat(30_000));
    let stage = format!("FROM scratch\nENV a={value}\n");
    let (text, file) =
        ("it grows beyond 4 MiB", "what the variables of the file stand for grows beyond 64 MiB");
    for (name, dockerfile, message) in [
        ("a word", format!("{stage}ENV b={many}"), text),
        ("a word in quotes", format!("{stage}ENV b=\"{many}\""), text),
        ("a word for another", format!("{stage}ENV b=${{u:-\"{many}\"}}"), text),
        ("a replacement", format!("{stage}ENV b=\"${{a//x/\"$a\"}}\""), text),
        ("a template", format!("{stage}ENV b=${{a//*/'{}'}}", "$0".repeat(500)), text),
        ("the name of a step", format!("{stage}RUN {many}"), text),
        (
            "pairs of a line",
            format!("{stage}ENV {}", lines(2_000, |i| format!("b{i}={some} \\")) + "c=1"),
            file,
        ),
        ("lines", stage.clone() + &lines(2_000, |i| format!("LABEL l{i}={some}")), file),
        ("many lines", stage.clone() + &lines(20_000, |i| format!("LABEL l{i}={one}")), file),
        ("names of steps", stage.clone() + &lines(2_000, |_| format!("RUN {some}")), file),
        ("volumes", format!("{stage}VOLUME {}", some.clone() + &format!(" {some}").repeat(500)), file),
        ("ports", stage.clone() + &lines(2_000, |i| format!("EXPOSE {}${{u:+{some}}}", i + 1)), file),
        (
            "global arguments",
            format!("ARG a={value}\n{}FROM scratch", lines(2_000, |i| format!("ARG b{i}={some}"))),
            file,
        ),
        (
            "bases",
            format!("ARG a={value}\n{}", lines(2_000, |i| format!("FROM scratch${{u:+{some}}} AS s{i}"))),
            file,
        ),
        ("inline files", stage.clone() + &lines(2_000, |_| format!("COPY <<E /\n{some}\nE")), file),
    ] {
        let error = converted(&dockerfile).err().unwrap_or_else(|| panic!("{name} is refused"));
        assert!(error.contains(message), "{name}: {error}");
    }
}

#[test]
fn patterns_that_take_long_are_refused() {
    let stage = format!("FROM scratch\nENV a={}\n", "a".repeat(60_000));
    for (name, dockerfile) in [
        ("a pattern", format!("{stage}ENV b=${{a#{}b}}", "*a".repeat(20_000))),
        ("a template", format!("{stage}ENV b=${{a//a/'{}'}}", "$0-".repeat(20_000))),
        ("lines", stage.clone() + &lines(20_000, |i| format!("LABEL l{i}=${{a#*a*a*b}}"))),
        ("names of steps", stage.clone() + &lines(20_000, |i| format!("RUN {i} ${{a%*a*a*b}}"))),
        ("inline files", stage.clone() + &lines(20_000, |_| "COPY <<E /\n${a#*a*a*b}\nE".to_owned())),
    ] {
        let error = converted(&dockerfile).err().unwrap_or_else(|| panic!("{name} is refused"));
        assert!(error.contains("the values that they are matched against are too long"), "{name}: {error}");
    }
    // A template may be long, and there may be many matches.
    let nothing = converted(&format!("{stage}LABEL l=<${{a//a/'${}'}}>", "b".repeat(60_000))).unwrap();
    assert_eq!(nothing.config.config.labels.unwrap()["l"], "<>");
}

#[test]
fn many_arguments_are_looked_up() {
    let count = 60_000;
    let declared = lines(count / 100, |i| {
        format!("ARG {}", (0..100).map(|j| format!("declared-{i}-{j} ")).collect::<String>())
    });
    let used = lines(count / 100, |i| {
        format!("LABEL l={}", (0..100).map(|j| format!("$undeclared_{i}_{j}")).collect::<String>())
    });
    let warnings = converted(&format!("FROM scratch\n{declared}{used}")).unwrap().warnings;
    assert_eq!(warnings.iter().filter(|warning| warning.message.contains("$undeclared_")).count(), count);
    // One that is declared again is no further one.
    let (declared, used) = (lines(20_000, |i| format!("ARG a={i}")), lines(5_000, |i| format!("RUN {i}")));
    let history = converted(&format!("FROM scratch\n{declared}{used}")).unwrap().config.history;
    assert_eq!(history[24_999].created_by, "RUN |1 a=19999 /bin/sh -c 4999 # buildkit");
}

fn many(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

/// Each text says a little very often, and what is made of it would grow with its square.
#[test]
fn texts_that_grow_are_refused() {
    let refusals = [
        (
            "children of a stage with triggers",
            format!(
                "FROM scratch AS s\n{}{}FROM scratch\n{}",
                "ONBUILD ARG a\n".repeat(1500),
                "FROM s\n".repeat(1500),
                many(1500, |i| format!("COPY --from={} a b\n", i + 1))
            ),
            "the triggers (ONBUILD) of all bases together grow beyond 64 MiB",
            1501,
        ),
        (
            "triggers of a FROM of many lines",
            format!(
                "FROM scratch AS s\n{}FROM \\\n{}s\nRUN a\n",
                "ONBUILD RUN a\n".repeat(2000),
                "\\\n".repeat(2000)
            ),
            "the triggers (ONBUILD) of all bases together grow beyond 64 MiB",
            2001,
        ),
        (
            "addresses, each with the name of the instruction",
            format!("FROM scratch\nADD{} /\n", many(10_000, |i| format!(" \\\nhttp://a/{i}"))),
            "what is built grows beyond 128 MiB",
            1,
        ),
        (
            "copies, each with the owner's name",
            format!("FROM scratch\nCOPY --chown={}{} /\n", "a".repeat(50_000), " \\\na".repeat(10_000)),
            "what is built grows beyond 128 MiB",
            1,
        ),
        (
            "stages that each expose one more port",
            format!(
                "FROM scratch AS s\nEXPOSE 0\n{}",
                many(20_000, |i| format!("FROM s AS s\nEXPOSE {}\n", i + 1))
            ),
            "what is built grows beyond 128 MiB",
            2,
        ),
        (
            "bases that are misnamed",
            many(20_000, |i| format!("FROM A AS b{i}\n")),
            "`A` is not an image reference",
            0,
        ),
    ];
    for (what, text, message, line) in refusals {
        let error = convert(text.as_bytes(), &options(), &Images::default()).expect_err(what);
        assert!(error.message.contains(message), "{what}: {}", error.message);
        assert!(*error.lines.start() > line, "{what}: {error:?}");
    }
}

/// Each text says a little very often. It would take minutes, or all memory, if anything were looked for one by one or kept
/// more than once.
#[test]
fn texts_that_say_little_very_often() {
    let accepted = [
        (
            "comments above an instruction with many warnings",
            format!(
                "FROM scratch\n{}WORKDIR /{}\n",
                "# a\n".repeat(30_000),
                many(18_000, |i| format!(" \\\n$b{i}"))
            ),
            18_000,
        ),
        (
            "comments above an instruction with many names",
            format!(
                "FROM scratch\n{}ARG{}\n",
                "# a b\n".repeat(60_000),
                many(40_000, |i| format!(" \\\nb{i}"))
            ),
            0,
        ),
        (
            "global arguments of one instruction",
            format!("ARG{}\nFROM scratch\n", many(20_000, |i| format!(" \\\nb{i}"))),
            0,
        ),
        (
            "arguments in FROM that are not declared",
            format!(
                "ARG{}\n{}",
                many(40_000, |i| format!(" \\\nb{i}")),
                many(40_000, |i| format!("FROM scratch$c{i}\n"))
            ),
            40_000,
        ),
        (
            "triggers that need one more stage each",
            format!(
                "FROM scratch AS c0\nRUN a\n{}",
                many(15_000, |i| {
                    format!("FROM scratch AS a{i}\nONBUILD COPY --from=c{i} a b\nFROM a{i} AS c{}\n", i + 1)
                })
            ),
            0,
        ),
        (
            "heredocs of one instruction",
            format!(
                "FROM scratch\nCOPY{} /\n{}",
                many(100_000, |i| format!(" \\\n<<b{i}")),
                many(100_000, |i| format!("b{i}\n"))
            ),
            0,
        ),
    ];
    for (what, text, warnings) in accepted {
        match convert(text.as_bytes(), &options(), &Images::default()) {
            Ok(Conversion::Done(converted)) => assert_eq!(converted.warnings.len(), warnings, "{what}"),
            other => panic!("{what}: {:?}", other.map(drop)),
        }
    }
}

/// Thousands of warnings about one instruction of thousands of lines: the places are told, but not each line with each.
#[test]
fn warnings_of_an_instruction_of_many_lines() {
    let names: String = (0..2000).map(|i| format!(" \\\n$b{i}")).collect();
    let report =
        check(format!("FROM scratch\nWORKDIR /{names}\n").as_bytes(), &options(), &Images::default());
    assert_eq!(report.warnings.len(), 2000);
    let report = report.to_json();
    let ranges = |warning: usize| report["warnings"][warning]["location"]["ranges"].as_array().unwrap();
    assert_eq!((ranges(0).len(), ranges(1999).len()), (2001, 1));
    assert_eq!(ranges(1999)[0], serde_json::json!({ "start": { "line": 2 }, "end": { "line": 2002 } }));
}

fn options() -> Options {
    Options::new("linux/arm64".parse().unwrap(), "linux/amd64".parse().unwrap())
}
