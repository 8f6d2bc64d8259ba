//! Any text as an ignore file and as paths: compiling and matching end, and what is read from a file compiles again to
//! the same.

#![no_main]

use gantry_llb::pattern::{Glob, Matcher, clean, read_ignore_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (patterns, paths) = text.split_once('\0').unwrap_or((text, "a/b/c"));
    for path in paths.split('\0') {
        let cleaned = clean(path);
        assert_eq!(clean(&cleaned), cleaned, "cleaning again changes nothing");
    }
    if let Ok(glob) = Glob::new(patterns) {
        paths.split('\0').for_each(|path| {
            glob.matches(path);
        });
    }
    let Ok(patterns) = read_ignore_file(patterns) else { return };
    let Ok(matcher) = Matcher::new(&patterns) else { return };
    let again = Matcher::new(&patterns).expect("they compiled before");
    for path in paths.split('\0').map(clean) {
        let excluded = matcher.excludes(&path);
        assert_eq!(excluded, again.excludes(&path));
        let below = matcher.may_reinclude_below(&path);
        assert!(!below || matcher.reincludes(), "only a `!` brings something back");
    }
});
