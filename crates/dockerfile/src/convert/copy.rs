//! COPY and ADD: files of the context, of stages and images, of the Dockerfile itself, and, for ADD, of the network.

use gantry_llb::pattern::{Matcher, clean, has_wildcard};
use gantry_llb::pb;

use super::names::TRIGGER;
use super::remote::{Remote, Shared};
use super::state::State;
use super::{BUILD_CONTEXT, Converter, Place, metadata, owner};
use crate::error::Fault;
use crate::graph::{NONE, NodeId, Recipe};
use crate::instruction::{Copy, CopyKind};
use crate::lint::Rule;
use crate::paths::{self, Slash, Style};

/// The permissions of a file that is written in the Dockerfile.
const INLINE_MODE: i32 = 0o644;
const MAX_MODE: u32 = 0o7777;

type Action = (Option<NodeId>, pb::file_action::Action);

/// A COPY or ADD with its variables expanded.
struct Expanded {
    sources: Vec<String>,
    destination: String,
    chown: String,
    chmod: String,
    checksum: String,
}

impl Converter<'_> {
    pub(super) fn copy(&mut self, state: &mut State, copy: &Copy, place: Place<'_>) -> Result<(), Fault> {
        let expanded = self.expand_copy(state, copy, place)?;
        let inline = self.expand_inline(state, copy, place)?;
        let template = template(state, copy, &expanded)?;
        let files = match place.command.sources.first() {
            None => Some(self.locals[BUILD_CONTEXT].node),
            Some(source) => self.files_of(*source, state, place).ok_or_else(|| {
                Fault::semantics(format!("cannot copy from stage `{}`, it is defined later", copy.from))
                    .hint("move the stage before the one that copies from it")
            })?,
        };
        let name = self.instruction_name(state, place);
        let count = expanded.sources.len() + inline.len();
        self.spend(count.saturating_mul(size_of(&template, &expanded)))?;
        let mut actions = Vec::new();
        let mut shared = Shared { keep_git_dir: copy.keep_git_dir, checksum: expanded.checksum.clone() };
        for source in &expanded.sources {
            let remote = Remote::parse(source)?;
            // BuildKit takes a repository that is no web address for a path of the context, too.
            if remote.is_none() || !(source.starts_with("http://") || source.starts_with("https://")) {
                self.note_path(state, place, source);
            }
            actions.push(match remote {
                None => {
                    self.warn_of_ignored(copy, source, place);
                    (files, path_action(&template, source, copy, state.style())?)
                }
                Some(remote) if copy.kind == CopyKind::Copy => {
                    let what = if matches!(remote, Remote::Git(_)) { "git ref" } else { "URL" };
                    return Err(
                        Fault::semantics(format!("source can't be a {what} for COPY")).hint("use ADD")
                    );
                }
                Some(remote) => self.remote_action(&template, &remote, &mut shared, copy, &name)?,
            });
        }
        for (file, body) in inline {
            let file = state.style().without_drive(&file, Slash::Drop)?;
            let node = self.inline_file(&file, INLINE_MODE, body);
            let source = paths::join("/", &file);
            let action = pb::FileActionCopy { src: source, ..template.clone() };
            actions.push((Some(node), pb::file_action::Action::Copy(action)));
        }
        self.add_copy(state, actions, name, copy.link && expanded.chmod.is_empty(), place);
        state.note_layer(history(copy, &expanded));
        Ok(())
    }

    fn expand_copy(&mut self, state: &State, copy: &Copy, place: Place<'_>) -> Result<Expanded, Fault> {
        let mut expand = |text: &str| self.expand(state, text, place);
        let expanded = Expanded {
            chown: expand(&copy.chown)?,
            chmod: expand(&copy.chmod)?,
            checksum: expand(&copy.checksum)?,
            sources: copy.sources.iter().map(|source| expand(source)).collect::<Result<_, _>>()?,
            destination: expand(&copy.destination)?,
        };
        if !expanded.checksum.is_empty() {
            let [source] = &expanded.sources[..] else {
                return Err(Fault::semantics("checksum can't be specified for multiple sources")
                    .hint("write one ADD for each of them"));
            };
            if Remote::parse(source)?.is_none() {
                return Err(Fault::semantics("checksum requires HTTP(S) or Git sources")
                    .hint("files of the build context need none: leave --checksum out"));
            }
        }
        Ok(expanded)
    }

    /// The files that are written in the Dockerfile: name and content.
    fn expand_inline(
        &mut self,
        state: &State,
        copy: &Copy,
        place: Place<'_>,
    ) -> Result<Vec<(String, String)>, Fault> {
        let quotes = crate::lex::Quotes::Ignore;
        let lexer = crate::lex::Lexer { quotes, escape: '\\', ..self.lexer.clone() };
        let mut files = Vec::new();
        for heredoc in &copy.inline {
            let mut body = heredoc.body();
            if heredoc.expand {
                let expanded = lexer
                    .word(&body, &state.environment)
                    .map_err(|fault| fault.hint("quote the heredoc's name to keep it as it is"))?;
                self.warn_of_unset(state, &expanded.unset, place);
                body = expanded.text;
            }
            self.spend(body.len())?;
            files.push((heredoc.name.clone(), body));
        }
        Ok(files)
    }

    /// A file that the context leaves out cannot be copied from it.
    fn warn_of_ignored(&mut self, copy: &Copy, source: &str, place: Place<'_>) {
        let source = clean(source);
        let from_context = place.command.sources.is_empty();
        if from_context && self.ignored.as_ref().is_some_and(|ignored| ignored.has(&source)) {
            let verb = match copy.kind {
                CopyKind::Copy => "Copy",
                CopyKind::Add => "Add",
            };
            let message = format!("Attempting to {verb} file {source:?} that is excluded by .dockerignore");
            self.warn(Rule::CopyIgnoredFile, message, place);
        }
    }

    /// Notes that a path of the source is wanted.
    fn note_path(&mut self, state: &State, place: Place<'_>, path: &str) {
        match place.command.sources.first() {
            None => self.use_local(BUILD_CONTEXT, path),
            Some(source) => self.use_path(*source, path, state, place),
        }
    }

    /// A tree with one file in it.
    pub(super) fn inline_file(&mut self, name: &str, mode: i32, content: String) -> NodeId {
        let mkfile = pb::FileActionMkFile {
            path: paths::join("/", name),
            mode,
            data: content.into_bytes(),
            timestamp: NONE,
            owner: None,
        };
        let actions = vec![(None, pb::file_action::Action::Mkfile(mkfile))];
        let name = "[internal] preparing inline document".to_owned();
        self.graph.add(Recipe::File { base: None, actions }, metadata(&["file.base"], name), None)
    }

    fn remote_action(
        &mut self,
        template: &pb::FileActionCopy,
        remote: &Remote,
        shared: &mut Shared,
        copy: &Copy,
        name: &str,
    ) -> Result<Action, Fault> {
        let (source, caps, path) = remote.operation(shared)?;
        // Each of them has the name of the whole instruction.
        self.spend(name.len())?;
        let mut metadata = metadata(&caps, name.to_owned());
        if matches!(remote, Remote::Http(_)) {
            super::set_command(&mut metadata, "");
        }
        let node = self.graph.add(Recipe::Source { source, platform: None }, metadata, None);
        let unpack = matches!(remote, Remote::Http(_)) && copy.unpack.unwrap_or(false);
        let action =
            pb::FileActionCopy { src: path, attempt_unpack_docker_compatibility: unpack, ..template.clone() };
        Ok((Some(node), pb::file_action::Action::Copy(action)))
    }

    /// Adds the vertex of a copy; with `link`, on an empty tree that is then laid over the files.
    fn add_copy(
        &mut self,
        state: &mut State,
        actions: Vec<Action>,
        name: String,
        link: bool,
        place: Place<'_>,
    ) {
        let mut copied = metadata(&["file.base"], name.clone());
        copied.ignore_cache = self.stages.list[place.stage].ignore_cache;
        if !link {
            let recipe = Recipe::File { base: state.node, actions };
            state.node = Some(self.graph.add(recipe, copied, Some(place.lines())));
            return;
        }
        let group = |weak| {
            let key = format!("{} {} {name}", self.options.platform, place.lines().start());
            let id = gantry_oci::Digest::of(key).hex();
            Some(pb::ProgressGroup { id, name: name.clone(), weak })
        };
        let linked = linked_name(&name);
        let mut merged = metadata(&["mergeop"], linked);
        merged.ignore_cache = copied.ignore_cache;
        (copied.progress_group, merged.progress_group) = (group(true), group(false));
        let layer = self.graph.add(Recipe::File { base: None, actions }, copied, Some(place.lines()));
        state.node = Some(match state.node {
            // Nothing under it: the copy is the whole.
            None => layer,
            Some(under) => self.graph.add(Recipe::Merge([under, layer]), merged, Some(place.lines())),
        });
    }
}

/// What an ignore file surely leaves out.
pub(super) struct Ignored {
    matcher: Matcher,
    everything: bool,
}

impl Ignored {
    /// Nothing is sure with patterns that bring something back.
    pub(super) fn new(patterns: &[String]) -> Option<Self> {
        let matcher = Matcher::new(patterns).ok().filter(|matcher| !matcher.reincludes())?;
        let everything =
            patterns.iter().any(|pattern| matches!(clean(pattern).as_str(), "*" | "**" | "**/*"));
        (!patterns.is_empty()).then_some(Self { matcher, everything })
    }

    /// Whether it leaves out this path, cleaned. The root is left out only if everything in it is.
    fn has(&self, path: &str) -> bool {
        match path {
            "." | "/" if !self.everything => false,
            path => self.matcher.excludes(path),
        }
    }
}

/// About how many bytes a copy of what all copies of an instruction have in common takes.
fn size_of(template: &pb::FileActionCopy, expanded: &Expanded) -> usize {
    let excluded: usize = template.exclude_patterns.iter().map(|pattern| pattern.len() + 32).sum();
    let texts = template.dest.len() + expanded.chown.len() + expanded.chmod.len();
    std::mem::size_of::<pb::FileActionCopy>() + texts + excluded
}

/// `[2/4] LINK COPY …`
fn linked_name(name: &str) -> String {
    let (step, text) = name.split_at(name.find("] ").map_or(0, |end| end + 2));
    match text.strip_prefix(TRIGGER).filter(|_| !step.is_empty()) {
        Some(text) => format!("{step}{TRIGGER}LINK {text}"),
        None => format!("{step}LINK {text}"),
    }
}

/// What all copies of an instruction have in common.
fn template(state: &State, copy: &Copy, expanded: &Expanded) -> Result<pb::FileActionCopy, Fault> {
    let (mode, mode_str) = mode(&expanded.chmod)?;
    Ok(pb::FileActionCopy {
        dest: state.style().destination(&state.directory(), &expanded.destination)?,
        owner: (!expanded.chown.is_empty()).then(|| owner::parse(&expanded.chown)),
        mode,
        mode_str,
        create_dest_path: true,
        exclude_patterns: copy.exclude.clone(),
        timestamp: NONE,
        ..pb::FileActionCopy::default()
    })
}

/// The copy of a path, which may have wildcards.
fn path_action(
    template: &pb::FileActionCopy,
    source: &str,
    copy: &Copy,
    style: Style,
) -> Result<pb::file_action::Action, Fault> {
    let mut action = pb::FileActionCopy {
        follow_symlink: true,
        dir_copy_contents: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        attempt_unpack_docker_compatibility: copy.unpack.unwrap_or(copy.kind == CopyKind::Add),
        ..template.clone()
    };
    let mut source = source;
    if copy.parents {
        let (root, pattern) = source.split_once("/./").unwrap_or(("/", source));
        source = root;
        let pattern = style.absolute("/", pattern)?;
        if !has_wildcard(root) && !has_wildcard(&pattern) {
            let required = clean(&format!("{root}/{pattern}"));
            action.required_paths = vec![style.absolute("/", &required)?];
        }
        action.include_patterns = vec![pattern.strip_prefix('/').unwrap_or(&pattern).to_owned()];
    }
    action.src = clean(&style.absolute("/", source)?);
    Ok(pb::file_action::Action::Copy(action))
}

/// `--chmod`: octal, or symbolic as `chmod` has it. Nothing keeps the mode.
fn mode(text: &str) -> Result<(i32, String), Fault> {
    if text.is_empty() {
        return Ok((NONE as i32, String::new()));
    }
    let octal = || {
        Fault::semantics(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))
    };
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=MAX_MODE) if !text.starts_with('+') => Ok((mode as i32, String::new())),
        Ok(_) => Err(octal()),
        Err(_) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(octal()),
        Err(_) if text.split(',').all(is_symbolic) => Ok((0, text.to_owned())),
        Err(_) => Err(Fault::semantics(format!("invalid chmod parameter: '{text}'"))
            .hint("write it like 755 or u=rwX,go=rX")),
    }
}

/// `[ugoa]*` and then one or more of `[-+=]` with permissions, and `ugo` for those that these have.
fn is_symbolic(clause: &str) -> bool {
    let mut rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if rest.is_empty() {
        return false;
    }
    while let Some(after) = rest.strip_prefix(['-', '+', '=']) {
        rest = after.trim_start_matches(['r', 'w', 'x', 'X', 's', 't', 'u', 'g', 'o']);
    }
    rest.is_empty()
}

fn history(copy: &Copy, expanded: &Expanded) -> String {
    let mut text = copy.kind.keyword().to_owned();
    let mut add = |flag: &str, value: &str| text.extend([" ", flag, value]);
    if copy.parents {
        add("--parents", "");
    }
    if !expanded.chown.is_empty() {
        add("--chown=", &expanded.chown);
    }
    if !expanded.chmod.is_empty() {
        add("--chmod=", &expanded.chmod);
    }
    expanded.sources.iter().for_each(|source| add("", source));
    copy.inline.iter().for_each(|heredoc| add("<<", &heredoc.name));
    add(&expanded.destination, " # buildkit");
    text
}
