//! `words.txt`, and what the lexer says about the variables that it met.

use super::*;

fn with(variables: &[(&str, &str)]) -> Environment {
    let mut environment = Environment::default();
    variables.iter().for_each(|(name, value)| environment.set(name, value));
    environment
}

/// The table's halves, as pairs of a text and what is expected of it.
fn table(part: usize) -> Vec<(String, String)> {
    let part = include_str!("words.txt").split("\n---\n").nth(part).unwrap();
    let pairs = part.lines().map(|line| {
        let (text, expected) = line.split_once(" =>").expect(line);
        (text.to_owned(), expected.strip_prefix(' ').unwrap_or(expected).replace("<blank>", " "))
    });
    pairs.collect()
}

#[test]
fn one_word_each() {
    let environment = with(&[("DIR", "/dir"), ("FISH", "fish"), ("JAPAN", "日本語"), ("VOID", "")]);
    let table = table(1);
    assert!(table.len() > 120, "{}", table.len());
    for (text, expected) in table {
        match Lexer::new('\\').word(&text, &environment) {
            Ok(found) => assert_eq!(found.text, expected, "{text}"),
            Err(_) => assert_eq!(expected, "error", "{text}"),
        }
    }
}

#[test]
fn parameters_of_a_shell_are_never_set() {
    for name in
        ["1", "2", "3", "4", "5", "6", "7", "8", "9", "999", "001", "0", "@", "*", "#", "?", "-", "$", "!"]
    {
        for (text, expected) in [
            (format!("${name}"), ""),
            (format!("${{{name}}}"), ""),
            (format!("${{{name}:+def}}"), ""),
            (format!("${{{name}:-def}}"), "def"),
            (format!("${name}any"), "any"),
            (format!("${{{name}}}any"), "any"),
            (format!("${{{name}:+def}}any"), "any"),
            (format!("${{{name}:-def}}any"), "defany"),
        ] {
            let found = Lexer::new('\\').word(&text, &Environment::default()).map(|found| found.text);
            assert_eq!(found, Ok(expected.to_owned()), "{text}");
        }
    }
    let found = Lexer::new('\\').word("$@@@", &Environment::default()).unwrap();
    assert_eq!(found.text, "@@");
}

#[test]
fn several_words_each() {
    let environment =
        with(&[("set", "YES"), ("space", "uvw  def"), ("leading", "  uv w"), ("trailing", "uv w   ")]);
    for (text, expected) in table(2) {
        let found = Lexer::new('\\').words(text.trim(), &environment);
        let found = found.unwrap_or_else(|_| vec!["error".to_owned()]);
        assert_eq!(found, expected.split(',').collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn variables_that_were_met() {
    let a = &[("A", "uvw"), ("B", "")][..];
    for (text, variables, expected, used, unset) in [
        ("x", &[][..], "x", &[][..], &[][..]),
        ("x ${C}", a, "x ", &[], &["C"]),
        ("x ${A}", a, "x uvw", &["A"], &[]),
        ("${A-1} ${B-2} ${C-3}", a, "uvw  3", &["A", "B"], &["C"]),
        ("${A:-1} ${B:-2} ${C:-3}", a, "uvw 2 3", &["A", "B"], &["C"]),
        ("${A:-}", a, "uvw", &["A"], &[]),
        ("${C:-}", a, "", &[], &["C"]),
        ("${A+1} ${B+2} ${C+3}", a, "1 2 ", &["A", "B"], &["C"]),
        ("${A:+1} ${B:+2} ${C:+3}", a, "1  ", &["A", "B"], &["C"]),
        ("${A?x}${B?x}", a, "uvw", &["A", "B"], &[]),
        ("${A:?x}", a, "uvw", &["A"], &[]),
        ("${S#()[]{\\}^$.\\*\\?|\\\\}", &[("S", "()[]{}^$.*?|\\x")], "x", &["S"], &[]),
        ("${S%%\\**}", &[("S", "yy**")], "yy", &["S"], &[]),
        ("${S#*y*z}", &[("S", "yyzz")], "z", &["S"], &[]),
        ("${S#*}", &[("S", "yyzz")], "yyzz", &["S"], &[]),
        ("${S#$T}", &[("S", "yyzz"), ("T", "y")], "yzz", &["S", "T"], &[]),
        ("${S#$T}", &[("S", "yyzz"), ("T", "")], "yyzz", &["S", "T"], &[]),
        ("${S#}", &[("S", "yyzz")], "yyzz", &["S"], &[]),
        ("${S##*y}", &[("S", "yyzz")], "zz", &["S"], &[]),
        ("${S##}", &[("S", "yyzz")], "yyzz", &["S"], &[]),
        ("${S#?\\?}", &[("S", "???z")], "?z", &["S"], &[]),
        ("${N:-.}${S%y}${N:-.}", &[("S", "yyzz")], ".yyzz.", &["S"], &["N"]),
        ("${S%%\\**\\*}", &[("S", "b***zz*")], "b", &["S"], &[]),
        ("${S%}", &[("S", "yyzz")], "yyzz", &["S"], &[]),
        ("${S%%$T}", &[("S", "yyzz"), ("T", "")], "yyzz", &["S", "T"], &[]),
        (
            "${S/$T/.} - ${S//$T/.}",
            &[("S", "/bar*/*/*.md"), ("T", "\\*/")],
            "/bar.*/*.md - /bar..*.md",
            &["S", "T"],
            &[],
        ),
        ("${S/$T/} - ${S//$T/}", &[("S", "/t/t/b.md"), ("T", "/t")], "/t/b.md - /b.md", &["S", "T"], &[]),
        (
            "${S/$T/$R} - ${S//$T/$R}",
            &[("S", "/x/bar/y/z.md"), ("T", "/?/"), ("R", "/")],
            "/bar/y/z.md - /bar/z.md",
            &["R", "S", "T"],
            &[],
        ),
        (
            "${S/$T/$R}",
            &[("S", "http://example.com"), ("T", "http://"), ("R", "https://")],
            "https://example.com",
            &["R", "S", "T"],
            &[],
        ),
        ("${S//\\//\\/}", &[("S", "/t/f.md")], "\\/t\\/f.md", &["S"], &[]),
        ("${S/$T/vv}", &[("S", "yyzz"), ("T", "")], "vvyyzz", &["S", "T"], &[]),
        ("${S///}", &[("S", "yyzz")], "yyzz", &["S"], &[]),
        ("${S///}", &[], "", &[], &["S"]),
        (
            "x-${V}.${O}-${M}${W:+-${W}}.tgz",
            &[("V", "1"), ("O", "linux"), ("M", "arm"), ("W", "v7")],
            "x-1.linux-arm-v7.tgz",
            &["M", "O", "V", "W"],
            &[],
        ),
        (
            "x-${V}.${O}-${M}${W:+-${W}}.tgz",
            &[("V", "1"), ("O", "linux"), ("M", "arm64")],
            "x-1.linux-arm64.tgz",
            &["M", "O", "V"],
            &["W"],
        ),
    ] {
        let found = Lexer::new('\\').word(text, &with(variables)).unwrap();
        assert_eq!(found.text, expected, "{text}");
        assert!(found.used.iter().eq(used) && found.unset.iter().eq(unset), "{text}: {found:?}");
    }
    for text in [
        "${C?x}",
        "${B:?x}",
        "${C:?x}",
        "${C:?}",
        "${A=x}",
        "${A=:x}",
        "${C=}",
        "${A:#}",
        "${A:##}",
        "${A:%}",
        "${A:%%}",
        "${A//v}",
        "${A//}",
        "${A#\\}",
        "${A#\\x}",
        "${A#\\\\\\}",
    ] {
        assert!(Lexer::new('\\').word(text, &with(a)).is_err(), "{text}");
    }
    let message = Lexer::new('\\').word("${C:?say $A}", &with(a)).unwrap_err().at(&(1..=1)).message;
    assert!(message.ends_with("C: say uvw"), "{message}");
}
