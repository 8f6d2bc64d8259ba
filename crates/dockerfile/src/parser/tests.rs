//! Tables for lines, continuations, directives, flags, forms and heredocs.

mod layout;

use super::*;

fn nodes(text: &str) -> Vec<Node> {
    parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}")).nodes
}

fn text_of(node: &Node) -> &str {
    match &node.arguments {
        Arguments::Text(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

#[test]
fn lines_of_instructions() {
    for (text, lines) in [
        ("FROM a", &[1..=1][..]),
        ("\u{feff}FROM a\r\n\r\nRUN b\r\n", &[1..=1, 3..=3]),
        ("# c\n\n  FROM a \\\n  AS b\nRUN x\n", &[3..=4, 5..=5]),
        ("FROM a\nRUN x \\\n# c\n\n y\nRUN z", &[1..=1, 2..=5, 6..=6]),
        ("FROM a\nRUN <<E\n1\n2\nE\nRUN x", &[1..=1, 2..=5, 6..=6]),
        ("FROM a\nRUN x \\", &[1..=1, 2..=2]),
    ] {
        assert_eq!(nodes(text).iter().map(|node| node.lines.clone()).collect::<Vec<_>>(), lines, "{text:?}");
    }
}

#[test]
fn continuations() {
    for (text, joined) in [
        ("RUN a \\\n  b", "RUN a   b"),
        ("RUN a \\  \t\nb", "RUN a b"),
        ("RUN a\\\\\n", "RUN a\\\\"),
        ("RUN a \\\n# comment \\\n\n  b", "RUN a   b"),
        ("\\\nRUN a", "RUN a"),
        ("# escape=`\nRUN a `\nb \\\n", "RUN a b \\"),
        ("RUN a \\\n\\\nb", "RUN a b"),
    ] {
        assert_eq!(nodes(text)[0].original, joined, "{text:?}");
    }
    assert_eq!(parse("RUN a \\\n\n b\nRUN b").unwrap().empty_continuations, [3]);
}

#[test]
fn directives_stand_at_the_top() {
    for (text, escape, syntax) in [
        ("# escape=`\nRUN a", '`', None),
        ("# SYNTAX = x/y:1 \n#escape = `\nRUN a", '`', Some(("x/y:1", 1))),
        ("# comment\n# escape=`\nRUN a", '\\', None),
        ("\n# escape=`\nRUN a", '\\', None),
        ("# check=skip=all\n# syntax=z\nRUN a", '\\', Some(("z", 2))),
        ("RUN a\n# escape=`", '\\', None),
        ("# unknown=x\n# escape=`\nRUN a", '\\', None),
        ("\u{feff}# syntax=x with words\nRUN a", '\\', Some(("x with words", 1))),
        ("#!/bin/sh\n# syntax=x\nRUN a", '\\', Some(("x", 2))),
        ("#!/bin/sh\n\n# syntax=x\nRUN a", '\\', None),
        ("//syntax=x\nRUN a", '\\', Some(("x", 1))),
        ("{\"a\": [1],\n \"syntax\": \"x\"}", '\\', Some(("x", 1))),
        ("{\"syntax\": \"x\"}\n# syntax=y", '\\', None),
        ("# escape=\nRUN a", '\\', None),
        // Only some blanks may stand around what is between the name and the end.
        ("#\u{a0}escape=`\t\nRUN a", '`', None),
        ("# escape\u{b}=`\nRUN a", '\\', None),
        ("# syntax=\u{a0}x\u{b}\nRUN a", '\\', Some(("\u{a0}x\u{b}", 1))),
    ] {
        let found = directive::find("syntax", text, directive::Format::Any);
        let found = found.as_ref().map(|found| (found.value.as_str(), found.line));
        assert_eq!(found, syntax, "{text:?}");
        assert_eq!(parse(text).unwrap().escape, escape, "{text:?}");
    }
    assert_eq!(directive::find("check", "//check=skip=all\nRUN a", directive::Format::Dockerfile), None);
    for bad in
        ["# escape= \nRUN a", "# escape=\u{a0}`\nRUN a", "# escape=x\nRUN a", "# escape=`\n# escape=`\nRUN a"]
    {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn flags_come_first() {
    for (text, flags, rest) in [
        ("COPY --from=a --link b c", &["--from=a", "--link"][..], "b c"),
        ("COPY --a=\"x y\" b", &["--a=x y"], "b"),
        ("COPY --a='x\\'y' b", &["--a=x'y"], "b"),
        ("COPY -- --b c", &[], "--b c"),
        ("COPY a --b", &[], "a --b"),
        ("COPY -x b", &[], "-x b"),
        ("COPY --only", &["--only"], ""),
        // Bytes are characters in flags.
        ("COPY --ä=ö b", &["--Ã¤=Ã¶"], "b"),
        ("COPY --from=à b", &["--from=Ã"], "b"),
        ("COPY --from=\u{2803} b", &["--from=â"], "\u{fffd} b"),
        ("COPY --a=x\u{85}b", &["--a=xÂ"], "b"),
    ] {
        let node = &nodes(text)[0];
        assert_eq!(
            (&node.flags[..], text_of(node)),
            (&flags.iter().map(|flag| flag.to_string()).collect::<Vec<_>>()[..], rest),
            "{text}"
        );
    }
}

#[test]
fn json_or_text() {
    let list = |text: &str| match &nodes(text)[0].arguments {
        Arguments::Json(list) => Some(list.clone()),
        _ => None,
    };
    assert_eq!(list(r#"CMD ["a", "b c"]"#).unwrap(), ["a", "b c"]);
    assert_eq!(list("CMD []").unwrap(), [""; 0]);
    for text in ["CMD ['a']", "CMD [\"a\"", "CMD a", "CMD [\"a\"] x", "WORKDIR [\"a\"]"] {
        assert_eq!(list(text), None, "{text}");
    }
    assert_eq!(list("CMD [1e999]"), None);
    for text in ["CMD [1]", "RUN [\"a\", [\"b\"]]", "COPY [null]", "CMD [true]", "CMD [{\"a\": -1}, -1, 1.5]"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
    let deep = format!("CMD {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(parse(&deep).is_err());
}

#[test]
fn heredocs_are_attached() {
    let heredoc = |name: &str, content: &str, expand: bool, chomp: bool| Heredoc {
        name: name.into(),
        content: content.into(),
        expand,
        chomp,
    };
    for (text, expected) in [
        ("RUN <<E\na\nE", vec![heredoc("E", "a\n", true, false)]),
        ("RUN <<'E'\n$a\nE\n", vec![heredoc("E", "$a\n", false, false)]),
        ("RUN <<-E\n\ta\n\tE\n", vec![heredoc("E", "\ta\n", true, true)]),
        (
            "RUN cat <<A <<B > o\n1\nA\n2\nB",
            vec![heredoc("A", "1\n", true, false), heredoc("B", "2\n", true, false)],
        ),
        ("RUN 3<< E\nE", vec![heredoc("E", "", true, false)]),
        ("RUN <<E\r\na\r\nE\r\n", vec![heredoc("E", "a\r\n", true, false)]),
        ("RUN echo '<<E'", vec![]),
        ("RUN a <<<b", vec![]),
        ("RUN a << b < c\nb", vec![heredoc("b", "", true, false)]),
        ("RUN [\"a\", \"<<E\"]", vec![]),
        ("ENV a=<<E", vec![]),
        ("ONBUILD ONBUILD RUN <<E", vec![]),
        ("ONBUILD RUN <<E\na\nE", vec![heredoc("E", "a\n", true, false)]),
    ] {
        assert_eq!(nodes(text)[0].heredocs, expected, "{text:?}");
    }
    let error = parse("FROM a\nRUN <<E\nx").unwrap_err();
    assert_eq!((error.lines, error.message.as_str()), (2..=3, "the heredoc `E` is not terminated"));
    assert_eq!(heredoc("E", "\t\ta\n\tb", true, true).body(), "a\nb");
}

#[test]
fn pairs() {
    let values = |text: &str| {
        let (pairs, old) = key_values(text, "ENV", '\\').unwrap();
        (pairs.into_iter().map(|pair| (pair.key, pair.value)).collect::<Vec<_>>(), old)
    };
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    for (text, expected, old) in [
        ("a=1 b=\"x y\" c=x\\ y", vec![pair("a", "1"), pair("b", "\"x y\""), pair("c", "x\\ y")], false),
        ("a= b=c=d", vec![pair("a", ""), pair("b", "c=d")], false),
        ("a b c", vec![pair("a", "b c")], true),
        ("a   b=c", vec![pair("a", "b=c")], true),
    ] {
        assert_eq!(values(text), (expected, old), "{text}");
    }
    for bad in ["a", "a=1 b", "a=b c d=e"] {
        assert!(key_values(bad, "ENV", '\\').is_err(), "{bad}");
    }
}

#[test]
fn files_without_instructions() {
    for text in ["", "\n\n", "# a\n# b\n", "\u{feff}"] {
        assert!(parse(text).unwrap_err().message.contains("no instructions"), "{text:?}");
    }
}

#[test]
fn any_text_ends() {
    for text in [
        "\\",
        "<<",
        "RUN <<",
        "RUN <<-",
        "RUN <<\"",
        "--",
        "COPY --",
        "COPY --\"",
        "RUN \0",
        "é",
        "RUN <<é\né",
    ] {
        let _ = parse(text);
    }
}
