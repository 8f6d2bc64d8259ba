//! Bad Dockerfiles: each is refused where the reference refuses it, with the user's own line shown.
//!
//! `tests/differential/refused` has them, and in `refused.json` what the reference said; `scripts/differential refuse`
//! writes that. Its words are there to be read: ours are to be better, not the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use gantry_testkit::GantryCommand;
use serde_json::Value;

/// A folder that is not found must not pass for one without mistakes.
const FEWEST: usize = 80;
const WORKERS: usize = 2;

/// The Dockerfile, or what it names, is at fault.
const REFUSALS: [i32; 3] = [1, 2, 4];

/// Where ours is another line, and on purpose: of two directives the second is one too many, not the first.
const OTHER_LINE: [&str; 1] = ["directive-duplicate"];

#[test]
fn root_bad_dockerfiles_are_refused_where_the_reference_refuses_them() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/differential/refused");
    let recorded = std::fs::read(folder.join("refused.json")).expect("the refusals are in the repository");
    let recorded: BTreeMap<String, Value> = serde_json::from_slice(&recorded).expect("they are JSON");
    assert!(recorded.len() >= FEWEST, "only {} were found", recorded.len());
    let queue = Mutex::new(recorded.iter());
    let problems = Mutex::new(Vec::new());
    let work = || {
        let next = || queue.lock().expect("nobody panics while holding it").next();
        while let Some((name, reference)) = next() {
            if let Err(problem) = check(&folder, name, reference) {
                problems.lock().expect("nobody panics while holding it").push(format!("{name}: {problem}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let mut problems = problems.into_inner().expect("nobody panicked while holding it");
    problems.sort();
    assert!(problems.is_empty(), "{} of {}:\n\n{}", problems.len(), recorded.len(), problems.join("\n"));
}

fn check(folder: &Path, name: &str, reference: &Value) -> Result<(), String> {
    let text = std::fs::read(folder.join(format!("{name}.dockerfile"))).map_err(|error| error.to_string())?;
    let gantry = GantryCommand::new(env!("CARGO_BIN_EXE_gantry"));
    gantry.write("Dockerfile", text);
    let output = gantry.run(["build", "--progress=quiet", "."]);
    let said = output.snapshot();
    if !output.status.code().is_some_and(|code| REFUSALS.contains(&code)) {
        return Err(format!("the reference says: {}\n{said}", reference["message"]));
    }
    let place = match reference["line"].as_u64() {
        Some(line) if !OTHER_LINE.contains(&name) => format!("--> Dockerfile:{line}:"),
        _ => "--> Dockerfile:".to_owned(),
    };
    match output.stderr.contains(&place) {
        true => Ok(()),
        false => Err(format!("it should show `{place}`: {}\n{said}", reference["message"])),
    }
}
