//! Any text as a word with variables, read by each of the lexer's rules: with quotes, split into words, as the body of a
//! file, as the name of a step.

#![no_main]

use gantry_dockerfile::{Images, Options, convert};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.contains(['\n', '\r']) {
        return;
    }
    let platform = || "linux/amd64".parse().expect("it is a platform");
    let options = Options::new(platform(), platform());
    let variables = "ENV A=a E= W=\"two words\" P=/a/b/c.tar.gz L=aaaaaaaaaaaaaaaa";
    for instruction in ["LABEL l=", "WORKDIR /", "EXPOSE ", "RUN "] {
        for escape in ['\\', '`'] {
            let file = format!("# escape={escape}\nFROM scratch\n{variables}\n{instruction}{text}\n");
            let _ = convert(file.as_bytes(), &options, &Images::default());
        }
    }
    let file = format!("FROM scratch\n{variables}\nCOPY <<E /\n{text}\nE\n");
    let _ = convert(file.as_bytes(), &options, &Images::default());
});
