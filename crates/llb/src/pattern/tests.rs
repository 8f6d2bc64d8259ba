//! Tables for both pattern languages; the cases are behaviours of `moby/patternmatcher` and Go's `filepath.Match`.

use super::*;

#[test]
fn ignore_files_are_read() {
    let text = "\u{feff}# comment\n  # no comment\n\n  *.md  \n/abs/x/\n! ./keep/../kept.md\n/\n";
    let patterns = read_ignore_file(text).unwrap();
    assert_eq!(patterns, ["# no comment", "*.md", "abs/x", "!kept.md", "/"]);
    let error = read_ignore_file("ok\n!\n").unwrap_err();
    assert_eq!((error.line, error.pattern.as_str()), (Some(2), "!"));
    assert_eq!(read_ignore_file("a\n\n[x\n").unwrap_err().line, Some(3));
}

#[test]
fn one_pattern_excludes() {
    for (pattern, path, excluded) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a", "b/a", false),
        ("a", "a/b/c", true),
        ("*", "a/b", true),
        ("*.md", "x.md", true),
        ("*.md", "d/x.md", false),
        ("*/x", "d/x", true),
        ("*/x", "d/e/x", false),
        ("d/*", "d", false),
        ("d/*", "d/e/f", true),
        ("**", "a", true),
        ("**", "a/b", true),
        ("**/x", "x", true),
        ("**/x", "a/b/x", true),
        ("**/x", "ax", false),
        ("**/x/y", "a/x/y", true),
        ("**x", "ax", true),
        ("**/*.go", "x.go", true),
        ("**/*.go", "a/b/x.go", true),
        ("**/*.go", "x.gox", false),
        ("a/**", "a", false),
        ("a/**", "a/b/c", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/x/yb", false),
        ("a/**/*", "a/b", true),
        ("a/**/*.txt", "a/b/c.txt", true),
        ("?", "a", true),
        ("a?b", "a/b", false),
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("a.b", "axb", false),
        ("a(b)+{c}|$", "a(b)+{c}|$", true),
        (r"\*", "*", true),
        (r"\*", "a", false),
        ("ä?", "äö", true),
        ("./a/../b", "b", true),
        ("a**", "a\nb", true),
        ("?**/", "a\nb", false),
        // Beside wildcards and brackets the original speaks more of Go's regular expressions than it says.
        ("]", "]", true),
        (r"foo\bar", "foobar", false),
        (r"v\d.[0-9]{2}", "v1.23", true),
        (r"\d+", "1+", true),
        (r"*.{js,ts}", "x.{js,ts}", true),
        (r"*.{js,ts}", "x.js", false),
        ("a{2}", "a{2}", true),
        ("a{2}*", "aab", true),
        ("a|b*", "xb", true),
        ("a|b", "a|b", true),
        ("a^*", "a^b", false),
        ("[*]", "*", false),
        ("[*]", "^]", true),
        ("[^a]", "b", true),
        ("[a^]", "^", true),
        ("x*[-a]", "x-", true),
        ("x*[]a]", "x]", true),
        ("[[:upper:]]*", "Xy", true),
        ("[[:upper:]]*", "xy", false),
        (r"[\w.]", "_", true),
        (r"a\x62\143", "abc", true),
        (r"\pLb", "äb", true),
        (r"\Q*\E?", "[^/]*x", true),
        (r"a\z", "a", true),
        (r"**/\bx*", "a/xy", true),
        (r"**/*[.]md", "a/b.md", true),
    ] {
        let matcher = Matcher::new(&[pattern]).unwrap();
        assert_eq!(matcher.excludes(path), excluded, "{pattern} on {path}");
    }
}

#[test]
fn a_walk_tries_only_what_could_matter() {
    for (patterns, path, excluded) in [
        (&["d", "!d/k"][..], "d/k", false),
        (&["d", "!d/k", "d"], "d/k", false),
        (&["a/b", "!a"], "a/b", true),
        (&["a/b", "!a", "!a/b/c"], "a/b/c", false),
        (&["*", "!a", "a/b"], "a/b/c", true),
        (&["**/x", "!y"], "y/x", true),
    ] {
        let matcher = Matcher::new(patterns).unwrap();
        let (mut known, mut found) = (Known::default(), false);
        for end in path.match_indices('/').map(|(end, _)| end).chain([path.len()]) {
            (found, known) = matcher.excludes_in(&path[..end], &known);
        }
        assert_eq!(found, excluded, "{patterns:?} on {path}");
        let unknown = matcher.excludes_in(path, &Known::default()).0;
        assert_eq!(unknown, matcher.excludes(path), "{patterns:?} on {path}, unprepared");
    }
}

#[test]
fn the_last_match_wins() {
    for (patterns, path, excluded) in [
        (&["dir", "!dir/a"][..], "dir/a", false),
        (&["dir", "!dir/a"], "dir/a/below", false),
        (&["dir", "!dir/a"], "dir/b", true),
        (&["!dir/a", "dir"], "dir/a", true),
        (&["*.md", "!r*.md", "readme.md"], "readme.md", true),
        (&["*.md", "!r*.md", "readme.md"], "r.md", false),
        (&["**", "!**/*.go"], "a/b.go", false),
        (&["**", "!**/*.go"], "a/b.c", true),
        (&["!a"], "a", false),
        (&["", " "], "a", false),
    ] {
        assert_eq!(Matcher::new(patterns).unwrap().excludes(path), excluded, "{patterns:?} on {path}");
    }
}

#[test]
fn walks_enter_excluded_directories_only_for_a_reason() {
    for (patterns, directory, may) in [
        (&["dir"][..], "dir", false),
        (&["dir", "!dir/a"], "dir", true),
        (&["dir", "!dir/a/b"], "dir/a", true),
        (&["dir", "!dir/a/b"], "dir/c", false),
        (&["*", "!*.md"], "dir", false),
        (&["*", "!*/keep"], "dir", true),
        (&["*", "!*/keep"], "dir/sub", false),
        (&["*", "!**/keep"], "any/where", true),
        (&["*", "!src/**"], "src/a/b", true),
        (&["*", "!src/**"], "lib", false),
    ] {
        assert_eq!(
            Matcher::new(patterns).unwrap().may_reinclude_below(directory),
            may,
            "{patterns:?} {directory}"
        );
    }
}

#[test]
fn bad_patterns_are_refused() {
    for bad in ["!", "[", "a[", "[]a]", "[-x]", "[x-]", "[a-b-c]", r"\", "[^bc"] {
        assert!(Matcher::new(&[bad]).is_err(), "{bad}");
        assert!(bad == "!" || Glob::new(bad).is_err(), "{bad}");
    }
    for bad in [
        r"dist\css",
        r"a\1",
        r"a\é",
        r"\p",
        r"\pX",
        r"x\E",
        r"[a-\d]",
        "x*[b-a]",
        "x*[",
        "[[:no:]]",
        "*{2}",
        "*{1001}b",
        r"\x4",
        "**[",
    ] {
        assert!(Matcher::new(&[bad]).is_err(), "{bad}");
    }
    assert_eq!(
        Glob::new("[a").unwrap_err().to_string(),
        "`[a` is not a valid pattern: its `[` is not closed"
    );
}

#[test]
fn globs_match_as_go_does() {
    for (pattern, name, matches) in [
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*c", "abc", true),
        ("a*", "ab/c", false),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
        ("a**b", "axxb", true),
        ("**", "a/b", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("ab[c]", "abc", true),
        ("ab[b-d]", "abc", true),
        ("ab[e-g]", "abc", false),
        ("ab[^c]", "abc", false),
        ("ab[^e-g]", "abc", true),
        (r"a\*b", "a*b", true),
        (r"a\*b", "ab", false),
        ("a?b", "a☺b", true),
        ("a[^a]b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("*[a-ζ]", "A", false),
        ("a?b", "a/b", false),
        (r"[\]a]", "]", true),
        (r"[\-x]", "-", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(Glob::new(pattern).unwrap().matches(name), matches, "{pattern} on {name}");
    }
}

#[test]
fn a_hostile_pattern_ends() {
    let pattern = "a*".repeat(500) + "b";
    assert!(!Glob::new(&pattern).unwrap().matches(&"a".repeat(2000)));
    let pattern = "**/a/".repeat(200) + "b*";
    assert!(!Matcher::new(&[pattern]).unwrap().excludes(&"a/".repeat(500)));
}

#[test]
fn a_list_of_expressions_has_room_for_real_ones_only() {
    // What they are compiled to grows with their numbers, what they need to be read grows with their lengths.
    let full = "with those before it, it is too large for a list of expressions";
    for (pattern, lines) in [(r"\pL{40}", 1000), (&r"\pL{0}".repeat(500), 1000)] {
        let error = read_ignore_file(&format!("{pattern}\n").repeat(lines)).unwrap_err();
        assert!(error.line.is_some_and(|line| line > 3 && line < lines / 2), "{pattern}: {error:?}");
        assert_eq!(error.reason, full);
    }
    assert_eq!(Matcher::new(&[r"\pL{40}"; 1000]).unwrap_err().reason, full);
    for pattern in [r"\pL{1000}", &r"\pL{0}".repeat(100_000)] {
        assert_eq!(Matcher::new(&[pattern]).unwrap_err().reason, "it is too large for an expression");
    }
    let lines = (0..500)
        .map(|line| format!("**/*.py[cod]\n!src-{line}/[Bb]in/*.{{js,ts}}\nnode_modules/**/{line}*.c\n"));
    assert_eq!(read_ignore_file(&lines.collect::<String>()).unwrap().len(), 1500);
}

#[test]
fn wildcards_are_seen_unless_protected() {
    for (text, wild) in [
        ("a", false),
        ("a*", true),
        ("?", true),
        ("[", true),
        (r"a\*", false),
        (r"\\*", true),
        (r"a\", false),
    ] {
        assert_eq!(has_wildcard(text), wild, "{text}");
    }
}
