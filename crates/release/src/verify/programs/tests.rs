//! Which images are what they say they are, as tables.

use gantry_layer::{Limits, scan_layer};
use gantry_oci::ContainerConfig;
use gantry_testkit::{Entry, ImageBuilder, dynamic_program, program};

use super::super::rules::Rules;
use super::*;

fn tree(entries: &[Entry]) -> FileTree {
    let image = ImageBuilder::new("linux/amd64").layer(entries).build();
    FileTree::merge(&[scan_layer(&*image.blobs[0], Limits::default()).unwrap().index])
}

fn words(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|word| (*word).to_owned()).collect())
}

fn starting(entry_point: &[&str], command: &[&str]) -> ContainerConfig {
    ContainerConfig { entrypoint: words(entry_point), cmd: words(command), ..ContainerConfig::default() }
}

fn judged(entries: &[Entry], config: &ContainerConfig, platform: &str, rules: &Rules) -> Judgement {
    judge(&tree(entries), config, &platform.parse().unwrap(), &rules.compile().unwrap())
}

/// The checks that did not pass, and nothing else.
fn found(entries: &[Entry], config: &ContainerConfig, platform: &str) -> Vec<String> {
    lines(&judged(entries, config, platform, &Rules::default()), |check| {
        matches!(check.outcome, Outcome::Warn | Outcome::Fail)
    })
}

fn lines(judgement: &Judgement, is_wanted: impl Fn(&Check) -> bool) -> Vec<String> {
    let wanted = judgement.checks.iter().filter(|check| is_wanted(check));
    wanted.map(|check| format!("{:?} {}: {}", check.outcome, check.name.as_str(), check.detail)).collect()
}

fn file(path: &str, architecture: &str) -> Entry {
    Entry::file(path, program(architecture)).mode(0o755)
}

const NOTHING: [&str; 0] = [];

/// A small distribution for one architecture, with a shell that is one file under many names.
fn distribution(architecture: &str, loader: &str) -> Vec<Entry> {
    let loader_path = format!("lib/{loader}");
    vec![
        Entry::dir("usr/bin"),
        Entry::symlink("bin", "usr/bin"),
        Entry::file("usr/bin/busybox", dynamic_program(architecture, &format!("/{loader_path}"))).mode(0o755),
        Entry::hard_link("usr/bin/sh", "usr/bin/busybox"),
        Entry::symlink("usr/bin/ls", "/bin/busybox"),
        file(&loader_path, architecture),
        file(&format!("usr/lib/{architecture}-linux-gnu/libc.so.6"), architecture),
    ]
}

#[test]
fn every_linux_architecture_is_judged() {
    let shell = [file("bin/sh", "amd64")];
    let failed = ["Fail shells: /bin/sh is an x86-64 program"];
    for platform in ["linux/mips", "linux/ppc", "linux/s390", "linux/sparc64", "linux/m68k"] {
        let found = found(&shell, &ContainerConfig::default(), platform);
        assert!(found.contains(&failed[0].to_owned()), "{platform}: {found:?}");
    }
    // Of a machine that headers do not tell, a program may be for any that they do not.
    let unknown = [file("bin/sh", "xtensa")];
    assert_eq!(found(&unknown, &ContainerConfig::default(), "linux/m68k"), NOTHING);
    assert_ne!(found(&unknown, &ContainerConfig::default(), "linux/mips"), NOTHING);
    for platform in ["linux/wasm", "windows/amd64"] {
        assert_eq!(found(&shell, &ContainerConfig::default(), platform), NOTHING, "{platform}");
    }
}

#[test]
fn an_honest_image_passes_for_its_platform_and_fails_for_others() {
    for (architecture, loader) in [
        ("amd64", "ld-linux-x86-64.so.2"),
        ("arm64", "ld-linux-aarch64.so.1"),
        ("riscv64", "ld-musl-riscv64.so.1"),
        ("ppc64le", "ld64.so.2"),
    ] {
        let entries = distribution(architecture, loader);
        let config = starting(&[], &["sh"]);
        assert_eq!(found(&entries, &config, &format!("linux/{architecture}")), NOTHING);
        let judgement = judged(&entries, &config, "linux/s390x", &Rules::default());
        let failed = lines(&judgement, |check| check.outcome == Outcome::Fail);
        let names: Vec<_> = failed.iter().map(|line| line.split([' ', ':']).nth(1).unwrap()).collect();
        assert_eq!(names, ["entry-point", "shells", "loaders", "c-library", "path-programs"], "{failed:?}");
        assert_eq!((judgement.counts.native, judgement.counts.foreign), (0, 3));
    }
}

#[test]
fn every_deciding_file_decides_by_itself() {
    let native = || distribution("arm64", "ld-linux-aarch64.so.1");
    for (entry, entry_point, message) in [
        (file("app", "amd64"), "/app", "Fail entry-point: /app is an x86-64 program"),
        (file("usr/bin/bash", "amd64"), "", "Fail shells: /bin/bash is an x86-64 program"),
        (file("usr/bin/bash", "386"), "", "Fail shells: /bin/bash is a 32-bit x86 program"),
        (
            file("lib/ld-linux-aarch64.so.1", "amd64"),
            "",
            "Fail loaders: /lib/ld-linux-aarch64.so.1 is an x86-64 program",
        ),
        (
            file("usr/lib/arm64-linux-gnu/libc.so.6", "arm"),
            "",
            "Fail c-library: the only C library, /usr/lib/arm64-linux-gnu/libc.so.6, is a 32-bit ARM program",
        ),
    ] {
        let mut entries = native();
        entries.push(entry);
        let config = match entry_point {
            "" => ContainerConfig::default(),
            word => starting(&[word], &[]),
        };
        assert_eq!(found(&entries, &config, "linux/arm64")[0], message);
    }
}

#[test]
fn foreign_programs_that_belong_there_are_only_reported() {
    let mut entries = distribution("amd64", "ld-linux-x86-64.so.2");
    entries.extend([
        file("usr/bin/gcc", "amd64"),
        file("usr/bin/aarch64-linux-gnu-gcc", "amd64"),
        file("usr/bin/aarch64-linux-gnu-test", "arm64"),
        file("usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1", "arm64"),
        file("usr/aarch64-linux-gnu/lib/libc.so.6", "arm64"),
        file("lib/ld-linux-aarch64.so.1", "arm64"),
        file("lib/ld-linux.so.2", "386"),
        file("usr/lib/i386-linux-gnu/libc.so.6", "386"),
        file("usr/lib/firmware/wifi.elf", "xtensa"),
        file("opt/root-arm64/bin/sh", "arm64"),
    ]);
    let config = starting(&["gcc"], &["--help"]);
    let judgement = judged(&entries, &config, "linux/amd64", &Rules::default());
    assert!(judgement.checks.iter().all(|check| check.outcome == Outcome::Pass), "{:?}", judgement.checks);
    let counts = &judgement.counts;
    assert_eq!((counts.native, counts.foreign, counts.foreign_examples.len()), (5, 8, EXAMPLES));
    assert_eq!(counts.by_architecture["other"], 1);
    assert_eq!(counts.foreign_examples[0], "lib/ld-linux-aarch64.so.1 is a 64-bit ARM program");
}

#[test]
fn scratch_images_are_judged_by_what_they_start() {
    let app = [file("app", "arm64")];
    assert_eq!(found(&app, &starting(&["/app"], &[]), "linux/arm64"), NOTHING);
    assert_eq!(
        found(&app, &starting(&["/app"], &[]), "linux/amd64"),
        ["Fail entry-point: /app is a 64-bit ARM program"]
    );
    assert_eq!(
        found(&app, &ContainerConfig::default(), "linux/amd64"),
        ["Warn programs: no file decides; 0 for amd64, 1 for others: app is a 64-bit ARM program"]
    );
    assert_eq!(
        found(&app, &starting(&["/other"], &[]), "linux/arm64"),
        ["Warn entry-point: `/other` is not in the image"]
    );
    let data = [Entry::file("data", "text"), Entry::file("run.sh", "#!/bin/sh\n")];
    let judgement = judged(&data, &starting(&["/run.sh"], &[]), "linux/arm64", &Rules::default());
    assert_eq!(lines(&judgement, |_| true), ["Pass programs: no programs"]);
}

#[test]
fn commands_are_found_as_a_container_finds_them() {
    let entries = || {
        vec![
            Entry::dir("srv"),
            file("srv/server", "arm64"),
            file("usr/local/bin/server", "amd64"),
            file("usr/bin/python3", "arm64"),
            Entry::file("usr/bin/entry", "#!/usr/bin/env -S python3 -u\n").mode(0o755),
            Entry::file("usr/bin/direct", "#! /usr/bin/python3\n").mode(0o755),
            Entry::file("usr/bin/nested", "#!/usr/bin/direct\n").mode(0o755),
            Entry::file("usr/bin/circle", "#!/usr/bin/circle\n").mode(0o755),
            Entry::file("usr/bin/plain", "echo\n").mode(0o755),
            file("usr/bin/env", "amd64"),
            file("sbin/tini", "amd64"),
            Entry::symlink("usr/bin/link", "../../srv/server"),
        ]
    };
    for (entry_point, command, expected) in [
        (&["server"][..], &[][..], None),
        (&["./server"], &[], Some("/srv/server")),
        (&["/srv/server"], &[], Some("/srv/server")),
        (&["link"], &[], Some("/srv/server")),
        (&["entry"], &[], Some("/usr/bin/python3")),
        (&["direct"], &[], Some("/usr/bin/python3")),
        (&["nested"], &[], Some("/usr/bin/python3")),
        (&["tini", "--", "link"], &[], Some("/srv/server")),
        (&["/sbin/tini", "-g", "--", "/srv/server"], &[], Some("/srv/server")),
        (&["env", "A=b", "link"], &[], Some("/srv/server")),
        (&["tini", "--"], &["link"], Some("/srv/server")),
        (&[], &["link", "server"], Some("/srv/server")),
        (&["server"], &["an argument"], None),
    ] {
        let config = ContainerConfig { working_dir: "/srv".to_owned(), ..starting(entry_point, command) };
        let judgement = judged(&entries(), &config, "linux/amd64", &Rules::default());
        let failed =
            lines(&judgement, |check| check.name == CheckName::EntryPoint && check.outcome == Outcome::Fail);
        let expected = expected.map(|path| format!("Fail entry-point: {path} is a 64-bit ARM program"));
        assert_eq!(failed, Vec::from_iter(expected), "{entry_point:?} {command:?}");
    }
    for (entry_point, message) in [
        ("plain", "/usr/bin/plain is neither a program nor a script with a `#!` line"),
        ("circle", "/usr/bin/circle is neither a program nor a script with a `#!` line"),
        ("absent", "`absent` is not in the image"),
    ] {
        let warned = found(&entries(), &starting(&[entry_point], &[]), "linux/amd64");
        assert_eq!(warned[0], format!("Warn entry-point: {message}"));
    }
}

#[test]
fn a_loader_that_is_not_there_is_reported() {
    let app = Entry::file("app", dynamic_program("arm64", "/lib/ld-musl-aarch64.so.1")).mode(0o755);
    assert_eq!(
        found(&[app], &starting(&["/app"], &[]), "linux/arm64"),
        ["Warn entry-point: the loader of /app, /lib/ld-musl-aarch64.so.1, is not in the image"]
    );
}

#[test]
fn what_a_cpu_runs_besides_its_own_is_doubtful() {
    let mut entries = distribution("amd64", "ld-linux-x86-64.so.2");
    entries.push(file("opt/steamcmd", "386"));
    assert_eq!(
        found(&entries, &starting(&["/opt/steamcmd"], &[]), "linux/amd64"),
        ["Warn entry-point: /opt/steamcmd is a 32-bit x86 program"]
    );
}

#[test]
fn the_majority_in_path_decides() {
    let mixed = |foreign: usize| -> Vec<Entry> {
        let name = |number| format!("usr/bin/p{number}");
        (0..10).map(|number| file(&name(number), if number < foreign { "amd64" } else { "arm64" })).collect()
    };
    let config = ContainerConfig::default();
    assert_eq!(found(&mixed(5), &config, "linux/arm64"), NOTHING);
    assert_eq!(
        found(&mixed(6), &config, "linux/arm64"),
        ["Fail path-programs: 6 of 10 in PATH are for other machines: /usr/bin/p0 is an x86-64 program"]
    );
    let elsewhere = ContainerConfig { env: words(&["PATH=/opt/bin"]), ..ContainerConfig::default() };
    assert_eq!(found(&mixed(6), &elsewhere, "linux/arm64").len(), 1, "that they are not judged is said");
}

#[test]
fn rules_adjust_what_decides() {
    let mut entries = distribution("arm64", "ld-linux-aarch64.so.1");
    entries.extend([
        file("opt/vendor/tool", "amd64"),
        file("app/bin/one", "amd64"),
        file("usr/bin/bash", "386"),
    ]);
    let judged = |rules: Rules| {
        let judgement = judged(&entries, &starting(&["/opt/vendor/tool"], &[]), "linux/arm64", &rules);
        let failed = lines(&judgement, |check| check.outcome == Outcome::Fail);
        (failed, judgement.counts.foreign)
    };
    let patterns = |list: &[&str]| words(list).unwrap();
    let failed = judged(Rules::default());
    assert_eq!((failed.0.len(), failed.1), (2, 3));
    let allowing = Rules { allow_foreign: patterns(&["/opt/vendor/**", "usr/bin/bash"]), ..Rules::default() };
    assert_eq!(judged(allowing.clone()), (Vec::new(), 1));
    let deciding = Rules { deciding: patterns(&["app/bin/*"]), ..allowing.clone() };
    assert_eq!(judged(deciding).0, ["Fail rules: /app/bin/one is an x86-64 program"]);
    let ignoring = Rules { ignore: patterns(&["app"]), ..allowing };
    assert_eq!(judged(ignoring), (Vec::new(), 0));
    for wrong in [
        Rules { majority: 1.5, ..Rules::default() },
        Rules { majority: f64::NAN, ..Rules::default() },
        Rules { ignore: patterns(&["[a"]), ..Rules::default() },
    ] {
        assert_eq!(wrong.compile().unwrap_err().class, crate::Class::Usage, "{wrong:?}");
    }
}

#[test]
fn platforms_without_elf_programs_are_not_judged() {
    let judgement =
        judged(&[file("app", "amd64")], &starting(&["/app"], &[]), "windows/amd64", &Rules::default());
    assert_eq!(lines(&judgement, |_| true), ["Skip programs: programs for windows/amd64 are no ELF files"]);
}
