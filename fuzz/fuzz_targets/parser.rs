//! Any bytes as a Dockerfile, as far as its instructions: whatever they are, reading them ends, and an error has a place
//! in the file.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let lines = text.split(|byte| *byte == b'\n').count() as u32;
    match gantry_dockerfile::targets(text) {
        Ok(targets) => {
            assert!(targets.list.iter().all(|target| *target.lines.end() <= lines));
            targets.to_json();
        }
        Err(error) => assert!(*error.lines.start() >= 1 && *error.lines.end() <= lines.max(1), "{error:?}"),
    }
});
