//! Prints how much processor time conversions of large Dockerfiles take, the least of several. 5,000 instructions have to
//! take less than 50 ms. Processor time is Linux's, and does not count what other programs do meanwhile.
//!
//!     cargo run --profile dist -p gantry-dockerfile --example conversion-time [NAME…]

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::time::Duration;

use gantry_dockerfile::{Conversion, ImageInfo, Images, Options, check, convert};
use gantry_oci::{Digest, ImageConfig};

const INSTRUCTIONS: usize = 5_000;
const RUNS: usize = 15;

fn main() {
    let repeated = |count: usize, line: fn(usize) -> String| (0..count).map(line).collect::<String>();
    let files = [
        ("RUN", format!("FROM a\n{}", repeated(INSTRUCTIONS, |i| format!("RUN step {i} && other $PATH\n")))),
        (
            "COPY",
            format!(
                "FROM a\n{}",
                repeated(INSTRUCTIONS, |i| format!("COPY --chown=1:2 a{i} b{i} /to/{i}/\n"))
            ),
        ),
        (
            "mixed",
            format!(
                "FROM a\n{}",
                repeated(INSTRUCTIONS / 5, |i| format!(
                    "ARG A{i}=1\nLABEL l{i}=$A{i}\nWORKDIR /w{i}\nCOPY f /t{i}\nEXPOSE {}\n",
                    i % 65_000
                ))
            ),
        ),
        (
            "a chain of stages",
            format!(
                "FROM a AS s0\n{}",
                repeated(INSTRUCTIONS / 5, |i| format!(
                    "FROM s{i} AS s{}\nENV E{}=1\nRUN a\nCOPY --from=s{i} /a /b\nUSER u\n",
                    i + 1,
                    i % 20
                ))
            ),
        ),
        (
            "warnings",
            format!(
                "FROM a\n{}",
                repeated(INSTRUCTIONS / 2, |i| format!("ENV VAR_{i} x\nCOPY $VRA_{i} /\n"))
            ),
        ),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, text) in files.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| w == name))
    {
        let (converted, checked) = (best(|| conversion(text)), best(|| checked(text)));
        println!("{name:>20}: {converted:>8.1?} converted, {checked:>8.1?} checked");
    }
}

/// The least time of all runs; what they made is dropped outside of it.
fn best<T>(work: impl Fn() -> T) -> Duration {
    let timed = |_| {
        let start = processor_time();
        let made = work();
        let time = processor_time() - start;
        drop(made);
        time
    };
    (0..RUNS).map(timed).min().unwrap_or_default()
}

fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts");
    let nanoseconds = stat.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first field is a number"))
}

fn options() -> Options {
    let platform = || "linux/amd64".parse().expect("it is a platform");
    Options::new(platform(), platform())
}

/// Two rounds, as in a build: the first asks for the image.
fn conversion(text: &str) -> Conversion {
    let mut images = Images::default();
    loop {
        match convert(text.as_bytes(), &options(), &images).expect("it is a Dockerfile") {
            Conversion::NeedsImages(wanted) => wanted.into_iter().for_each(|request| {
                images.insert(request.reference, request.platform, image());
            }),
            done => return done,
        }
    }
}

fn checked(text: &str) {
    let mut images = Images::default();
    for request in check(text.as_bytes(), &options(), &images).wanted {
        images.insert(request.reference, request.platform, image());
    }
    let report = check(text.as_bytes(), &options(), &images);
    assert!(report.error.is_none() && report.wanted.is_empty());
}

fn image() -> ImageInfo {
    let config =
        ImageConfig { os: "linux".to_owned(), architecture: "amd64".to_owned(), ..ImageConfig::default() };
    ImageInfo { digest: Digest::of("image"), config }
}
