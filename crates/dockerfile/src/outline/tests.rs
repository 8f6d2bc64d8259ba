//! What targets ask for, and the result in BuildKit's form.

use super::*;

const TEXT: &str = "\
# foo sets foo
ARG foo=1
# tag the tag
ARG tag=latest unused=$foo
# base is the base
FROM scratch AS base
# bar bars
ARG bar=$foo baz
ARG foo
RUN --mount=type=secret,id=s,required --mount=type=ssh,id=k --mount=type=secret,target=/x/tok true
FROM base AS second
ARG qux=${bar}
RUN --mount=type=ssh,required true
# last is the result
FROM scratch AS last
COPY --from=second /a /b
FROM scratch AS other
ARG gone
";

fn of(target: &str, build_args: &[(&str, &str)]) -> Outline {
    let platform = || "linux/amd64".parse().unwrap();
    let mut options = Options { target: Some(target.to_owned()), ..Options::new(platform(), platform()) };
    options.build_args =
        build_args.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    match outline(TEXT.as_bytes(), &options, &Images::default()).unwrap() {
        Conversion::Done(outline) => *outline,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_needed_stages_ask_for() {
    let outline = of("last", &[("baz", "b")]);
    let arguments: Vec<_> = outline
        .arguments
        .iter()
        .map(|argument| {
            format!(
                "{}={} ({}) {}",
                argument.name,
                argument.value,
                argument.description,
                argument.lines.start()
            )
        })
        .collect();
    assert_eq!(arguments, ["foo=1 (sets foo) 2", "bar= (bars) 8", "baz=b () 8", "qux= () 12"]);
    let secrets: Vec<_> = outline.secrets.iter().map(|s| (s.name.as_str(), s.required)).collect();
    assert_eq!(secrets, [("s", true), ("tok", false)]);
    let agents: Vec<_> = outline.agents.iter().map(|a| (a.name.as_str(), a.required)).collect();
    assert_eq!(agents, [("k", false), ("default", true)]);
    assert_eq!((outline.name.as_str(), outline.description.as_str()), ("last", "is the result"));
    assert_eq!(of("other", &[]).arguments.len(), 1);
}

#[test]
fn as_json() {
    let at = |line: u32| json!({ "ranges": [{ "start": { "line": line }, "end": { "line": line } }] });
    let mut found = of("base", &[]).to_json();
    assert!(found.as_object_mut().unwrap().remove("sources").unwrap()[0].is_string());
    assert_eq!(
        found,
        json!({
            "name": "base",
            "description": "is the base",
            "args": [
                { "name": "foo", "description": "sets foo", "value": "1", "location": at(2) },
                { "name": "bar", "description": "bars", "location": at(8) },
                { "name": "baz", "location": at(8) },
            ],
            "secrets": [
                { "name": "s", "required": true, "location": at(10) },
                { "name": "tok", "location": at(10) },
            ],
            "ssh": [{ "name": "k", "location": at(10) }],
        })
    );
}
