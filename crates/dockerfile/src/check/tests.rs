//! The report in BuildKit's form.

use super::*;

fn options() -> Options {
    Options::new("linux/amd64".parse().unwrap(), "linux/amd64".parse().unwrap())
}

fn report(text: &str, options: &Options) -> Value {
    let report = check(text.as_bytes(), options, &Images::default());
    assert_eq!(report.wanted, []);
    report.to_json()
}

#[test]
fn warnings_with_their_lines() {
    let at = |line: u32| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
    assert_eq!(
        report("FROM scratch\nMAINTAINER me\nBAD", &options()),
        json!({
            "warnings": [{
                "ruleName": "MaintainerDeprecated",
                "description":
                    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
                "url": "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/",
                "detail": "Maintainer instruction is deprecated in favor of using label",
                "location": at(2),
            }],
            "sources": [{
                "filename": "Dockerfile",
                "data": "RlJPTSBzY3JhdGNoCk1BSU5UQUlORVIgbWUKQkFE",
                "language": "Dockerfile",
            }],
            "buildError": { "message": "unknown instruction: BAD (did you mean `ADD`?)", "location": at(3) },
        })
    );
    assert_eq!(report("FROM scratch", &options())["warnings"], Value::Null);
}

#[test]
fn errors_without_lines() {
    let text = "# check=error=true\nFROM scratch as a";
    assert_eq!(
        report(text, &options())["buildError"],
        json!({ "message": "lint violation found for rules: FromAsCasing", "location": {} })
    );
    let options = Options { target: Some("b".into()), ..options() };
    assert_eq!(report(text, &options)["buildError"]["location"], json!({}));
}

#[test]
fn stages_that_nobody_needs() {
    let text = "FROM scratch AS a\nMAINTAINER me\nENV a b\nFROM scratch AS b";
    let count = |options: &Options| report(text, options)["warnings"].as_array().unwrap().len();
    assert_eq!(count(&options()), 2);
    assert_eq!(count(&Options { target: Some("b".into()), ..options() }), 1, "the parser's warnings stay");
    let report = check(b"FROM one AS a\nMAINTAINER me\nFROM two", &options(), &Images::default());
    assert_eq!((report.wanted.len(), report.warnings.len()), (2, 1), "what is known is said");
}

#[test]
fn all_lines_of_a_circle() {
    let text =
        "FROM scratch AS a\nCOPY --from=b / /\nCOPY --from=b \\\n / /\nFROM scratch AS b\nCOPY --from=a / /";
    let error = &report(text, &options())["buildError"];
    let lines: Vec<u64> = error["location"]["ranges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| range["start"]["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 6], "{error}");
    let error = check(text.as_bytes(), &options(), &Images::default()).error.unwrap();
    assert!(error.hints[0].contains("a → b → a"), "{error:?}");
}
