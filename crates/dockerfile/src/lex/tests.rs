//! Tables for words and variables; the values are those of BuildKit's lexer.

mod conformance;

use super::*;

fn environment() -> Environment {
    let mut environment = Environment::default();
    for (name, value) in [
        ("A", "a"),
        ("P", "/a/b/c.tar.gz"),
        ("E", ""),
        ("W", "two words"),
        ("AXA", "xaxbx"),
        ("L", "one\ntwo"),
    ] {
        environment.set(name, value);
    }
    environment
}

#[test]
fn one_word() {
    for (text, expected) in [
        ("plain", "plain"),
        ("$A", "a"),
        ("${A}b", "ab"),
        ("$Ab", ""),
        ("$", "$"),
        ("$.", "$."),
        ("$1x", "x"),
        ("$12", ""),
        ("$@!", "!"),
        (r"\$A", "$A"),
        (r"\\$A", r"\a"),
        (r"a\", "a"),
        ("'$A'", "$A"),
        (r#""$A""#, "a"),
        (r#""\$A \" \\ \n""#, r#"$A " \ \n"#),
        (r"'a\'b", r"a\b"),
        ("a  b", "a  b"),
        ("${U:-d}", "d"),
        ("${U-d}", "d"),
        ("${E:-d}", "d"),
        ("${E-d}", ""),
        ("${A:-d}", "a"),
        ("${U:-${E:-n}}", "n"),
        ("${U:-$A}", "a"),
        ("${A:+alt}", "alt"),
        ("${E:+alt}", ""),
        ("${E+alt}", "alt"),
        ("${U+alt}", ""),
        ("${A:?no}", "a"),
        ("${E?no}", ""),
        ("${P#*/}", "a/b/c.tar.gz"),
        ("${P##*/}", "c.tar.gz"),
        ("${P%.*}", "/a/b/c.tar"),
        ("${P%%.*}", "/a/b/c"),
        ("${P#x}", "/a/b/c.tar.gz"),
        ("${P%??}", "/a/b/c.tar."),
        ("${P/b/x}", "/a/x/c.tar.gz"),
        (r"${P/\//-}", "-a/b/c.tar.gz"),
        (r"${P//\//-}", "-a-b-c.tar.gz"),
        ("${P/*/x}", "x"),
        ("${P//a/}", "//b/c.tr.gz"),
        ("${AXA//x/y}", "yayby"),
        ("${AXA/a*b/-}", "x-x"),
        ("${AXA//?/.}", "....."),
        (r"${AXA//a/<\$0>}", r"x<\a>xbx"),
        ("${L#*}", "one\ntwo"),
        ("${L##*}", "\ntwo"),
        ("${U/a/b}", ""),
        ("${U/*/b}", "b"),
        ("${U#*}", ""),
        ("ä$A", "äa"),
        // Names are made of what Go takes for letters and digits.
        ("$A²", "a²"),
        ("$Aª$٣x", "x"),
        ("\u{feff}$A", "a"),
        ("\u{feff}", ""),
    ] {
        let expanded = Lexer::new('\\').word(text, &environment());
        assert_eq!(expanded.map(|expanded| expanded.text), Ok(expected.to_owned()), "{text}");
    }
}

#[test]
fn backtick_as_escape() {
    for (text, expected) in [(r"c:\dir", r"c:\dir"), ("`$A", "$A"), (r"\$A", r"\a")] {
        assert_eq!(Lexer::new('`').word(text, &environment()).unwrap().text, expected, "{text}");
    }
}

#[test]
fn refused() {
    for (text, part) in [
        ("'a", "single quote"),
        (r#""a"#, "double quote"),
        ("${A", "`}` is missing"),
        ("${", "`}` is missing"),
        ("${}", "bad substitution"),
        ("${:x}", "bad substitution"),
        ("${A!x}", "unsupported modifier (!)"),
        ("${A:#x}", "unsupported modifier (:#)"),
        ("${A:x}", "unsupported modifier (:x)"),
        ("${A:!${U:?gone}}", "U: gone"),
        ("${A:", "`}` is missing"),
        ("${A:-x", "`}` is missing"),
        ("${A/x", "`/` is missing"),
        ("${U:?gone}", "U: gone"),
        ("${U?}", "U: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        (r"${A#\x}", "backslash"),
        (r"${U#\x}", "backslash"),
    ] {
        let fault = Lexer::new('\\').word(text, &environment()).unwrap_err().at(&(1..=1));
        assert!(fault.message.contains(part), "{text}: {fault}");
        assert!(fault.message.contains(text), "{text}: {fault}");
    }
}

#[test]
fn a_backslash_at_the_end_of_a_pattern() {
    let mut environment = Environment::default();
    environment.set("D", r"x/\");
    environment.set("Q", r"x\?");
    // It stays there with another escape character. BuildKit turns patterns of ends round, and then it is in front.
    let lexer = Lexer::new('`');
    let word = |text: &str| lexer.word(text, &environment).map(|expanded| expanded.text);
    assert_eq!(word(r"${D%\/\}"), Ok("x".to_owned()));
    assert_eq!(word(r"${Q%?\}"), Ok(r"x\".to_owned()));
    assert!(word(r"${D%x\}").is_err() && word(r"${D#?\}").is_err());
}

#[test]
fn several_words() {
    for (text, expected) in [
        ("a b", &["a", "b"][..]),
        ("  a  ", &["a"]),
        ("$W", &["two", "words"]),
        ("\"$W\"", &["two words"]),
        ("x$W-y", &["xtwo", "words-y"]),
        (r"a\ b", &["a b"]),
        // BuildKit loses what stands before the braces.
        ("1${U:-2}", &["2"]),
        ("1${A:-2}", &["a"]),
        ("1${A}2", &["1a2"]),
        ("a 1\"x${U:-2}\"y", &["a", "x2y"]),
        ("'a b'c", &["a bc"]),
        ("", &[]),
    ] {
        assert_eq!(Lexer::new('\\').words(text, &environment()).unwrap(), expected, "{text}");
    }
}

#[test]
fn unset_variables_are_reported_or_kept() {
    let expanded = Lexer::new('\\').word("$U ${V} ${A} ${X:-d}", &environment()).unwrap();
    assert_eq!(Vec::from_iter(expanded.unset), ["U", "V", "X"]);
    let lexer = Lexer { keep_unset: true, quotes: Quotes::Keep, ..Lexer::new('\\') };
    for (text, expected) in [
        ("echo $U ${V} $A", "echo $U ${V} a"),
        ("'$A' \"$A\"", "'$A' \"a\""),
        ("${U:-x} ${U/a/b} ${U#p}", "${U:-x} ${U/a/b} ${U#p}"),
        ("${U:x$A} ${U:$}", "${U:xa} ${U:$}"),
    ] {
        assert_eq!(lexer.word(text, &environment()).unwrap().text, expected, "{text}");
    }
}

#[test]
fn hostile_texts_end() {
    let deep = "${a:-".repeat(10_000);
    assert!(
        Lexer::new('\\').word(&deep, &environment()).unwrap_err().at(&(1..=1)).message.contains("nested")
    );
    let mut large = Environment::default();
    large.set("X", &"x".repeat(1 << 20));
    assert!(Lexer::new('\\').word("$X$X$X$X$X", &large).is_err());
    let mut long = Environment::default();
    long.set("X", &"ab".repeat(20_000));
    assert_eq!(Lexer::new('\\').word("${X//*c/}", &long).unwrap().text.len(), 40_000);
}
