//! What a container's command starts: words of a config to files of the image, as `execvp` and the kernel find them.

use gantry_layer::{Elf, FileTree, Program};
use gantry_oci::ContainerConfig;

/// How often a script may name another script as its interpreter: the kernel's own limit.
const MAX_INTERPRETERS: usize = 5;
/// Programs that do nothing but start the command behind their own options.
const STARTERS: [&str; 6] = ["env", "tini", "tini-static", "dumb-init", "catatonit", "docker-init"];

/// Words that a container starts.
#[derive(Debug)]
pub(crate) struct Command<'a> {
    words: &'a [String],
    /// Whether the first word has to be a program; what follows an entry point may be just its argument.
    pub(crate) is_required: bool,
}

/// What a word of a command was found to be.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A program.
    Elf {
        /// Where.
        path: String,
        /// What.
        elf: &'a Elf,
    },
    /// A file that no kernel starts.
    Neither {
        /// Where.
        path: String,
    },
    /// Nothing of this name.
    Nothing {
        /// The word.
        word: String,
    },
}

impl<'a> Command<'a> {
    /// The commands of a config: the entry point and, as many entry points start it, the command.
    pub(crate) fn of(config: &'a ContainerConfig) -> Vec<Self> {
        let entry_point = config.entrypoint.as_deref().unwrap_or_default();
        let command = config.cmd.as_deref().unwrap_or_default();
        let mut commands = Vec::new();
        for words in [entry_point, command].into_iter().filter(|words| !words.is_empty()) {
            commands.push(Self { words, is_required: commands.is_empty() });
        }
        commands
    }

    /// The programs that it starts, one after the other.
    pub(crate) fn programs(&self, tree: &'a FileTree, path: &str, directory: &str) -> Vec<Found<'a>> {
        let search = Search { tree, path, directory };
        let mut found = Vec::new();
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        while let Some(word) = words.first().copied() {
            let is_first = words.len() == self.words.len();
            let known = found.len();
            search.follow(word, MAX_INTERPRETERS, &mut found);
            // What stands behind a starter may be the value of one of its options.
            if !is_first && matches!(found[known..], [Found::Nothing { .. }]) {
                found.truncate(known);
            }
            words = match STARTERS.contains(&base_name(word)) {
                true => words.into_iter().skip(1).skip_while(|word| is_option(word)).collect(),
                false => Vec::new(),
            };
        }
        found
    }
}

/// Where commands are looked for.
struct Search<'a, 'b> {
    tree: &'a FileTree,
    path: &'b str,
    directory: &'b str,
}

impl<'a> Search<'a, '_> {
    /// Finds a word and, if it is a script, what its first line names.
    fn follow(&self, word: &str, depth: usize, found: &mut Vec<Found<'a>>) {
        let Some((path, node)) = self.locate(word) else {
            found.push(Found::Nothing { word: word.to_owned() });
            return;
        };
        let path = String::from_utf8_lossy(&path).into_owned();
        match node.content().and_then(|content| content.program.as_deref()) {
            Some(Program::Elf(elf)) => found.push(Found::Elf { path, elf }),
            Some(Program::Script(line)) if depth > 0 => {
                let line = String::from_utf8_lossy(line);
                let mut words = line.split_ascii_whitespace();
                let Some(interpreter) = words.next() else {
                    found.push(Found::Neither { path });
                    return;
                };
                self.follow(interpreter, depth - 1, found);
                if base_name(interpreter) == "env"
                    && let Some(program) = words.find(|word| !is_option(word))
                {
                    self.follow(program, depth - 1, found);
                }
            }
            _ => found.push(Found::Neither { path }),
        }
    }

    /// The file that a word names: in the working directory if it has a slash, else in PATH.
    fn locate(&self, word: &str) -> Option<(Vec<u8>, &'a gantry_layer::Node)> {
        let is_file = |(_, node): &(Vec<u8>, &'a gantry_layer::Node)| node.content().is_some();
        let at = |path: String| self.tree.resolve(path.as_bytes()).filter(is_file);
        match word {
            "" => None,
            _ if word.starts_with('/') => at(word.to_owned()),
            _ if word.contains('/') => at(format!("{}/{word}", self.directory)),
            _ => self.path.split(':').find_map(|directory| match directory.starts_with('/') {
                true => at(format!("{directory}/{word}")),
                false => at(format!("{}/{directory}/{word}", self.directory)),
            }),
        }
    }
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// An option, or a variable that `env` sets.
fn is_option(word: &str) -> bool {
    word.starts_with('-') || word.contains('=')
}
