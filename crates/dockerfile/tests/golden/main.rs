//! Conversions compared with BuildKit's own: graph, step names, capabilities, image config, refusals.
//!
//! A case is a folder: a Dockerfile, the arguments of the build (`args.json`), and BuildKit's graph (`llb.json`) and
//! config (`config.json`), or its refusal (`error.txt`). What `busybox` resolved to is in `images.json`. Vertices that
//! depend on a local directory have digests of the session that made them, so those are compared by content; all others
//! by digest too.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read has to end the test")]

mod case;
mod op_json;

use std::collections::BTreeSet;

use case::Case;

/// Cases that differ from BuildKit, with the reason. One that stops differing has to leave the list.
const DIFFERENT: [(&str, &str); 2] = [
    ("ctx-image", "BuildKit leaves the tag of a named context unresolved, we pin it to the digest"),
    ("ctx-replace-stage", "BuildKit leaves the tag of a named context unresolved, we pin it to the digest"),
];

#[test]
fn every_case_is_as_buildkit_has_it() {
    let cases = Case::all();
    assert!(cases.len() > 100, "only {} cases were found", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let expected = DIFFERENT.iter().find(|(name, _)| *name == case.name);
        match (case.check(), expected) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(_)) => {
                wrong.push(format!("{}: no longer differs, take it off the list", case.name));
            }
            (Err(difference), None) => wrong.push(format!("{}: {difference}", case.name)),
        }
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    wrong.extend(
        DIFFERENT
            .iter()
            .filter(|(name, _)| !names.contains(name))
            .map(|(name, _)| format!("{name}: no such case")),
    );
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
