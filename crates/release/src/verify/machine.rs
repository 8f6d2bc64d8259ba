//! Which machine the programs of a platform are for, and what the files are called that say so.

use gantry_oci::Platform;

/// What is known about the programs of a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The OCI architecture, as the ELF header tells it.
    pub(crate) architecture: &'static str,
    /// The names of its own dynamic loaders, glibc's and musl's.
    pub(crate) loaders: &'static [&'static str],
    /// Another architecture whose programs its CPUs run, too.
    pub(crate) also_runs: Option<&'static str>,
}

const fn machine(architecture: &'static str, loaders: &'static [&'static str]) -> Machine {
    Machine { architecture, loaders, also_runs: None }
}

const MACHINES: [Machine; 12] = [
    Machine {
        also_runs: Some("386"),
        ..machine("amd64", &["ld-linux-x86-64.so.2", "ld-linux-x32.so.2", "ld-musl-x86_64.so.1"])
    },
    machine("arm64", &["ld-linux-aarch64.so.1", "ld-musl-aarch64.so.1"]),
    // Variants are not told apart: an ELF header does not say which one a program needs.
    machine("arm", &["ld-linux-armhf.so.3", "ld-linux.so.3", "ld-musl-armhf.so.1", "ld-musl-arm.so.1"]),
    machine("386", &["ld-linux.so.2", "ld-musl-i386.so.1"]),
    machine(
        "riscv64",
        &["ld-linux-riscv64-lp64d.so.1", "ld-linux-riscv64-lp64.so.1", "ld-musl-riscv64.so.1"],
    ),
    machine("s390x", &["ld64.so.1", "ld-musl-s390x.so.1"]),
    machine("ppc64le", &["ld64.so.2", "ld-musl-powerpc64le.so.1"]),
    machine("ppc64", &["ld-musl-powerpc64.so.1"]),
    machine("loong64", &["ld-linux-loongarch-lp64d.so.1", "ld-musl-loongarch64.so.1"]),
    machine("mips64le", &["ld-musl-mips64el.so.1"]),
    machine("mipsle", &["ld-musl-mipsel.so.1"]),
    machine("mips64", &["ld-musl-mips64.so.1"]),
];

/// The machine of a platform; `None` for what has no ELF programs of its own: other systems, WebAssembly.
pub(crate) fn of(platform: &Platform) -> Option<&'static Machine> {
    if platform.os() != "linux" {
        return None;
    }
    MACHINES.iter().find(|machine| machine.architecture == platform.architecture())
}

/// Whether a file of this name is a dynamic loader of any machine.
pub(crate) fn is_loader(name: &str) -> bool {
    let is_versioned =
        |rest: &str| rest.split_once(".so").is_some_and(|(_, version)| version.starts_with('.'));
    name == "ld.so.1"
        || ["ld-linux", "ld-musl-", "ld64"]
            .iter()
            .any(|start| name.strip_prefix(start).is_some_and(is_versioned))
}

/// Whether a file of this name is a C library of any machine.
pub(crate) fn is_c_library(name: &str) -> bool {
    name == "libc.so.6" || name.starts_with("libc.musl-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_told_by_their_names() {
        for machine in MACHINES {
            assert!(machine.loaders.iter().all(|name| is_loader(name)), "{machine:?}");
        }
        for other in ["ld", "ld.gold", "ld-linux", "ldconfig", "ld64.lld", "x86_64-linux-gnu-ld"] {
            assert!(!is_loader(other), "{other}");
        }
    }

    #[test]
    fn platforms_without_programs_of_their_own() {
        for (platform, architecture) in [
            ("linux/amd64/v3", Some("amd64")),
            ("linux/arm/v5", Some("arm")),
            ("linux/386", Some("386")),
            ("windows/amd64", None),
            ("wasi/wasm", None),
            ("linux/wasm", None),
        ] {
            let found = of(&platform.parse().unwrap()).map(|machine| machine.architecture);
            assert_eq!(found, architecture, "{platform}");
        }
    }
}
