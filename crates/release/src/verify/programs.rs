//! Proof from bytes: are the programs of a file system for the platform that its image claims?
//!
//! Images hold programs for other machines for good reasons: cross compilers' libraries, firmware, emulated roots. So
//! not every program decides, but those without which nothing would run: what a container starts, the shells, the
//! loader and the C library, and most of what stands in PATH. The rest is counted and reported.

mod command;

use std::collections::HashSet;

use gantry_layer::{Elf, FileTree, Node, Program};
use gantry_oci::{ContainerConfig, Platform};

use super::machine::{self, Machine};
use super::report::{Check, CheckName, Outcome, ProgramCounts};
use super::rules::CompiledRules;
use command::{Command, Found};

/// The search path of a container whose image sets none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What people and programs start when they want a shell.
const SHELLS: [&str; 7] =
    ["bin/sh", "bin/bash", "bin/dash", "bin/ash", "bin/busybox", "usr/bin/bash", "usr/bin/busybox"];
/// Where loaders and C libraries stand, besides one directory further down, which Debian names after the machine.
const LIBRARIES: [&str; 6] = ["lib", "lib64", "lib32", "usr/lib", "usr/lib64", "usr/lib32"];
/// Foreign programs that a report names.
const EXAMPLES: usize = 5;

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    pub(crate) checks: Vec<Check>,
    pub(crate) counts: ProgramCounts,
}

/// Judges the programs of a file system.
pub(crate) fn judge(
    tree: &FileTree,
    config: &ContainerConfig,
    platform: &Platform,
    rules: &CompiledRules,
) -> Judgement {
    let Some(machine) = machine::of(platform) else {
        let detail = format!("programs for {platform} are no ELF files");
        return Judgement {
            checks: vec![Check::skip(CheckName::Programs, detail)],
            counts: ProgramCounts::default(),
        };
    };
    let judge = Judge { tree, config, machine, rules };
    let counts = judge.counts();
    if counts.by_architecture.is_empty() {
        return Judgement { checks: vec![Check::pass(CheckName::Programs, "no programs")], counts };
    }
    let deciding = [
        judge.entry_point(),
        judge.shells(),
        judge.libraries(CheckName::Loaders, "loader", machine::is_loader),
        judge.libraries(CheckName::CLibrary, "C library", machine::is_c_library),
        judge.path_programs(),
        judge.named_by_rules(),
    ];
    let mut checks: Vec<Check> = deciding.into_iter().flatten().collect();
    let decided = checks.iter().any(|check| matches!(check.outcome, Outcome::Pass | Outcome::Fail));
    checks.push(judge.summary(&counts, decided));
    Judgement { checks, counts }
}

struct Judge<'a> {
    tree: &'a FileTree,
    config: &'a ContainerConfig,
    machine: Machine,
    rules: &'a CompiledRules,
}

/// A program that is looked at: where it is, and what.
type Located<'a> = (String, &'a Elf);

impl<'a> Judge<'a> {
    /// All that can be executed or loaded, each file once.
    fn counts(&self) -> ProgramCounts {
        let mut counts = ProgramCounts::default();
        let mut seen = HashSet::new();
        for (path, node) in self.tree.iter() {
            let Some(elf) = elf(node).filter(|elf| elf.is_loadable()) else { continue };
            let path = String::from_utf8_lossy(path).into_owned();
            if self.rules.ignore.excludes(&path) || !seen.insert(node.file) {
                continue;
            }
            let architecture = elf.architecture().unwrap_or("other");
            *counts.by_architecture.entry(architecture.to_owned()).or_default() += 1;
            if self.is_native(elf) {
                counts.native += 1;
            } else if !self.rules.allow_foreign.excludes(&path) {
                counts.foreign += 1;
                if counts.foreign_examples.len() < EXAMPLES {
                    counts.foreign_examples.push(format!("{path} is {elf}"));
                }
            }
        }
        counts
    }

    /// What a container starts: the command's program, and whatever starts that.
    fn entry_point(&self) -> Option<Check> {
        let name = CheckName::EntryPoint;
        let commands = Command::of(self.config);
        if commands.is_empty() {
            return Some(Check::skip(name, "the image starts nothing by itself"));
        }
        let mut native = Vec::new();
        let mut doubts = Vec::new();
        for command in &commands {
            for found in command.programs(self.tree, self.path(), &self.config.working_dir) {
                match found {
                    Found::Elf { path, elf } => match self.verdict(&path, elf) {
                        Verdict::Exempt => {}
                        Verdict::Native => {
                            doubts.extend(self.missing_loader(&path, elf));
                            native.push(format!("/{path}"));
                        }
                        Verdict::AlsoRuns => doubts.push(format!("/{path} is {elf}")),
                        Verdict::Foreign => return Some(Check::fail(name, format!("/{path} is {elf}"))),
                    },
                    Found::Neither { path } => {
                        doubts.push(format!("/{path} is neither a program nor a script with a `#!` line"));
                    }
                    // Arguments look like commands, so only the first word is missed.
                    Found::Nothing { word } if command.is_required => {
                        doubts.push(format!("`{word}` is not in the image"));
                    }
                    Found::Nothing { .. } => {}
                }
            }
        }
        Some(match (doubts.is_empty(), native.is_empty()) {
            (false, _) => Check::warn(name, doubts.join("; ")),
            (true, false) => Check::pass(name, native.join(", ")),
            (true, true) => Check::skip(name, "the rules exempt it"),
        })
    }

    fn shells(&self) -> Option<Check> {
        let found = SHELLS.iter().filter_map(|path| {
            let (place, node) = self.tree.resolve(path.as_bytes())?;
            // Rules may name the file itself, which people and programs call by a link.
            let is_exempt = self.is_exempt(&String::from_utf8_lossy(&place));
            Some(((*path).to_owned(), elf(node)?)).filter(|_| !is_exempt)
        });
        self.all_native(CheckName::Shells, found.collect())
    }

    fn named_by_rules(&self) -> Option<Check> {
        let found = self.tree.iter().filter_map(|(path, node)| {
            let path = String::from_utf8_lossy(path).into_owned();
            self.rules.deciding.excludes(&path).then_some(())?;
            Some((path, elf(node)?))
        });
        self.all_native(CheckName::Rules, found.collect())
    }

    /// Every one of these decides.
    fn all_native(&self, name: CheckName, found: Vec<Located<'a>>) -> Option<Check> {
        let judged: Vec<_> = found.into_iter().filter(|(path, _)| !self.is_exempt(path)).collect();
        if judged.is_empty() {
            return None;
        }
        Some(match judged.iter().find(|(_, elf)| !self.is_native(elf)) {
            Some((path, elf)) => Check::fail(name, format!("/{path} is {elf}")),
            None => {
                let paths: Vec<_> = judged.iter().map(|(path, _)| format!("/{path}")).collect();
                Check::pass(name, paths.join(", "))
            }
        })
    }

    /// Loaders or C libraries: those of other machines may stand beside the platform's own, not in its place.
    fn libraries(&self, name: CheckName, what: &str, is_wanted: fn(&str) -> bool) -> Option<Check> {
        let mut found: Vec<Located<'_>> = Vec::new();
        for directory in LIBRARIES {
            self.collect_libraries(directory.as_bytes(), is_wanted, &mut found);
            let below = self.tree.list(directory.as_bytes());
            // Only directories that Debian names after a machine: others have libraries for reasons of their own.
            for (path, _) in below.filter(|(path, _)| path.windows(7).any(|part| part == b"-linux-")) {
                self.collect_libraries(path, is_wanted, &mut found);
            }
        }
        found.retain(|(path, _)| !self.is_exempt(path));
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.dedup_by(|one, other| one.0 == other.0);
        let (first, first_elf) = found.first()?;
        let own = |path: &str| self.machine.loaders.contains(&path.rsplit('/').next().unwrap_or_default());
        if let Some((path, elf)) = found.iter().find(|(path, elf)| own(path) && !self.is_native(elf)) {
            return Some(Check::fail(name, format!("/{path} is {elf}")));
        }
        Some(match found.iter().find(|(_, elf)| self.is_native(elf)) {
            Some((path, _)) => Check::pass(name, format!("/{path}")),
            None => Check::fail(name, format!("the only {what}, /{first}, is {first_elf}")),
        })
    }

    fn collect_libraries(&self, directory: &[u8], is_wanted: fn(&str) -> bool, found: &mut Vec<Located<'a>>) {
        for (path, _) in self.tree.list(directory) {
            let path = String::from_utf8_lossy(path).into_owned();
            if is_wanted(path.rsplit('/').next().unwrap_or_default())
                && let Some((place, node)) = self.tree.resolve(path.as_bytes())
                && let Some(elf) = elf(node)
                && !self.is_exempt(&String::from_utf8_lossy(&place))
            {
                found.push((path, elf));
            }
        }
    }

    /// Most of what PATH has.
    fn path_programs(&self) -> Option<Check> {
        let mut seen = HashSet::new();
        let mut foreign: Vec<Located<'a>> = Vec::new();
        let mut native = 0_u32;
        for directory in self.path().split(':').filter(|directory| !directory.is_empty()) {
            for (name, _) in self.tree.list(directory.as_bytes()) {
                let Some((path, node)) = self.tree.resolve(name) else { continue };
                let path = String::from_utf8_lossy(&path).into_owned();
                let Some(elf) = elf(node).filter(|elf| elf.is_loadable()) else { continue };
                if !seen.insert(node.file) || self.is_exempt(&path) {
                    continue;
                }
                match self.is_native(elf) {
                    true => native += 1,
                    false => foreign.push((path, elf)),
                }
            }
        }
        let all = f64::from(native) + foreign.len() as f64;
        let (first, elf) = match foreign.first() {
            None if native == 0 => return None,
            None => {
                return Some(Check::pass(
                    CheckName::PathPrograms,
                    format!("{native} of {native} are native"),
                ));
            }
            Some(first) => first,
        };
        let detail = format!("{} of {all} in PATH are for other machines: /{first} is {elf}", foreign.len());
        Some(match f64::from(native) / all >= self.rules.majority {
            true => Check::pass(CheckName::PathPrograms, detail),
            false => Check::fail(CheckName::PathPrograms, detail),
        })
    }

    fn summary(&self, counts: &ProgramCounts, decided: bool) -> Check {
        let Machine { architecture, .. } = &self.machine;
        let mut detail = format!("{} for {architecture}, {} for others", counts.native, counts.foreign);
        if let Some(example) = counts.foreign_examples.first() {
            detail.push_str(&format!(": {example}"));
        }
        match decided || counts.foreign == 0 {
            true => Check::pass(CheckName::Programs, detail),
            false => Check::warn(CheckName::Programs, format!("no file decides; {detail}")),
        }
    }

    /// A program that names a loader which is not there does not start.
    fn missing_loader(&self, path: &str, elf: &Elf) -> Option<String> {
        let loader = elf.interpreter()?;
        match self.tree.resolve(loader) {
            Some(_) => None,
            None => Some(format!(
                "the loader of /{path}, {}, is not in the image",
                String::from_utf8_lossy(loader)
            )),
        }
    }

    fn verdict(&self, path: &str, elf: &Elf) -> Verdict {
        if self.is_exempt(path) {
            return Verdict::Exempt;
        }
        match elf.architecture() {
            _ if self.is_native(elf) => Verdict::Native,
            found if found.is_some() && found == self.machine.also_runs => Verdict::AlsoRuns,
            _ => Verdict::Foreign,
        }
    }

    fn is_native(&self, elf: &Elf) -> bool {
        self.machine.runs(elf)
    }

    fn is_exempt(&self, path: &str) -> bool {
        self.rules.ignore.excludes(path) || self.rules.allow_foreign.excludes(path)
    }

    fn path(&self) -> &'a str {
        let set = self.config.env.iter().flatten().rev().find_map(|variable| variable.strip_prefix("PATH="));
        set.unwrap_or(DEFAULT_PATH)
    }
}

/// What a program is to the platform.
enum Verdict {
    Native,
    AlsoRuns,
    Foreign,
    Exempt,
}

fn elf(node: &Node) -> Option<&Elf> {
    match node.content()?.program.as_deref()? {
        Program::Elf(elf) => Some(elf),
        Program::Script(_) => None,
    }
}

#[cfg(test)]
mod tests;
