//! Conversions compared with BuildKit's own: graph, step names, capabilities, image config, refusals.
//!
//! A case is a folder: a Dockerfile, the arguments of the build (`args.json`), and BuildKit's graph (`llb.json`) and
//! config (`config.json`), or its refusal (`error.txt`). What base images resolved to is in `images.json`. Vertices that
//! depend on a local directory have digests of the session that made them, so those are compared by content; all others
//! by digest too.

#![allow(clippy::unwrap_used, reason = "a fixture that cannot be read has to end the test")]

mod case;

use case::Case;

#[test]
fn every_case_is_as_buildkit_has_it() {
    let cases = Case::all();
    assert!(cases.len() > 100, "only {} cases were found", cases.len());
    let differs = |case: &Case| Some(format!("{}: {}", case.name, case.check().err()?));
    let wrong: Vec<String> = cases.iter().filter_map(differs).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
