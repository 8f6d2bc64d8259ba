//! Which machine the programs of a platform are for, and what the files are called that say so.

use gantry_layer::Elf;
use gantry_oci::Platform;

/// What is known about the programs of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The OCI architecture.
    pub(crate) architecture: String,
    /// Whether ELF headers tell this architecture; if not, its programs are among those of no known one.
    is_told: bool,
    /// The names of its own dynamic loaders, glibc's and musl's.
    pub(crate) loaders: &'static [&'static str],
    /// Another architecture whose programs its CPUs run, too.
    pub(crate) also_runs: Option<&'static str>,
}

/// Architectures that ELF headers tell, with the names of their loaders. Variants of `arm` are not told apart: a header
/// does not say which one a program needs.
const LOADERS: [(&str, &[&str]); 19] = [
    ("amd64", &["ld-linux-x86-64.so.2", "ld-linux-x32.so.2", "ld-musl-x86_64.so.1"]),
    ("arm64", &["ld-linux-aarch64.so.1", "ld-musl-aarch64.so.1"]),
    ("arm", &["ld-linux-armhf.so.3", "ld-linux.so.3", "ld-musl-armhf.so.1", "ld-musl-arm.so.1"]),
    ("386", &["ld-linux.so.2", "ld-musl-i386.so.1"]),
    ("riscv64", &["ld-linux-riscv64-lp64d.so.1", "ld-linux-riscv64-lp64.so.1", "ld-musl-riscv64.so.1"]),
    ("s390x", &["ld64.so.1", "ld-musl-s390x.so.1"]),
    ("ppc64le", &["ld64.so.2", "ld-musl-powerpc64le.so.1"]),
    ("ppc64", &["ld-musl-powerpc64.so.1"]),
    ("loong64", &["ld-linux-loongarch-lp64d.so.1", "ld-musl-loongarch64.so.1"]),
    ("mips64le", &["ld-musl-mips64el.so.1"]),
    ("mipsle", &["ld-musl-mipsel.so.1"]),
    ("mips64", &["ld-musl-mips64.so.1"]),
    ("mips", &["ld-musl-mips.so.1"]),
    ("ppc", &["ld-musl-powerpc.so.1"]),
    ("armbe", &["ld-musl-armeb.so.1"]),
    ("arm64be", &["ld-linux-aarch64_be.so.1", "ld-musl-aarch64_be.so.1"]),
    ("riscv", &["ld-musl-riscv32.so.1"]),
    ("s390", &[]),
    ("sparc64", &[]),
];
/// An architecture whose CPUs run the programs of another.
const ALSO_RUNS: (&str, &str) = ("amd64", "386");
/// Architectures whose programs are no ELF files: WebAssembly.
const WITHOUT_ELF: [&str; 3] = ["wasm", "wasm32", "wasm64"];

/// The machine of a platform; `None` for what has no ELF programs of its own: other systems, WebAssembly.
pub(crate) fn of(platform: &Platform) -> Option<Machine> {
    let architecture = platform.architecture();
    if platform.os() != "linux" || WITHOUT_ELF.contains(&architecture) {
        return None;
    }
    let known = LOADERS.iter().find(|(known, _)| *known == architecture);
    Some(Machine {
        architecture: architecture.to_owned(),
        is_told: known.is_some(),
        loaders: known.map_or(&[], |(_, loaders)| *loaders),
        also_runs: (architecture == ALSO_RUNS.0).then_some(ALSO_RUNS.1),
    })
}

impl Machine {
    /// Whether a program is for it. One of an unknown machine may be if headers do not tell this one.
    pub(crate) fn runs(&self, elf: &Elf) -> bool {
        match elf.architecture() {
            Some(found) => found == self.architecture,
            None => !self.is_told,
        }
    }
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
        for (architecture, loaders) in LOADERS {
            assert!(loaders.iter().all(|name| is_loader(name)), "{architecture}");
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
            ("linux/mips", Some("mips")),
            ("linux/m68k", Some("m68k")),
            ("windows/amd64", None),
            ("wasi/wasm", None),
            ("linux/wasm", None),
        ] {
            let found = of(&platform.parse().unwrap()).map(|machine| machine.architecture);
            assert_eq!(found.as_deref(), architecture, "{platform}");
        }
    }
}
