//! How stages hang together: what takes from what, in which no circle may be, and what the target reaches.

use super::{Base, Origin, SCRATCH, Stage, StageId, Stages};
use crate::environment::Environment;
use crate::error::{Error, Fault, Lines};
use crate::instruction::{Copy, Instruction, Kind};
use crate::options::Options;

/// How much of a file is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What the target needs.
    Target,
    /// All stages.
    All,
}

impl Stages {
    /// Finds the sources of all commands.
    pub(super) fn connect(&mut self, options: &Options) -> Result<(), Error> {
        for stage in 0..self.list.len() {
            let mut commands = std::mem::take(&mut self.list[stage].commands);
            for command in &mut commands {
                command.sources = self.sources(stage, &command.instruction, options)?;
            }
            self.list[stage].commands = commands;
        }
        Ok(())
    }

    /// The stages that an instruction of a stage takes something from; anonymous ones are made.
    pub(super) fn sources(
        &mut self,
        stage: StageId,
        instruction: &Instruction,
        options: &Options,
    ) -> Result<Vec<StageId>, Error> {
        let lines = &instruction.lines;
        let sources = match &instruction.kind {
            Kind::Copy(copy) if !copy.from.is_empty() => {
                vec![self.copy_source(copy, lines, options).map_err(|fault| fault.at(lines))?]
            }
            Kind::Run(run) => {
                let named = run.mounts_from.iter().map(|from| from.as_deref().unwrap_or(SCRATCH));
                named.map(|name| self.named(name, lines, options)).collect()
            }
            _ => Vec::new(),
        };
        self.list[stage].needs.extend(&sources);
        Ok(sources)
    }

    fn copy_source(&mut self, copy: &Copy, lines: &Lines, options: &Options) -> Result<StageId, Fault> {
        let name = copy.from.as_str();
        if self.lexer.word(name, &Environment::default())?.text != name {
            return Err(Fault::semantics("variable expansion is not supported for --from")
                .hint("define a stage with FROM and an ARG of global scope, and copy from that stage"));
        }
        if let Ok(index) = name.parse::<i64>() {
            return usize::try_from(index).ok().filter(|index| *index < self.list.len()).ok_or_else(|| {
                Fault::semantics(format!("invalid stage index {index}"))
                    .hint("stages count from 0; a name with AS cannot be miscounted")
            });
        }
        Ok(self.named(name, lines, options))
    }

    fn named(&mut self, name: &str, lines: &Lines, options: &Options) -> StageId {
        self.find(name).unwrap_or_else(|| self.anonymous(name, lines, options))
    }

    /// Adds a stage that nothing but a `--from` made.
    fn anonymous(&mut self, name: &str, lines: &Lines, options: &Options) -> StageId {
        let base = self.base(name, &options.platform, options, lines);
        self.list.push(Stage {
            name: None,
            label: String::new(),
            description: None,
            arguments: Default::default(),
            base,
            base_name: name.to_owned(),
            source: String::new(),
            platform: None,
            lines: lines.clone(),
            commands: Vec::new(),
            steps: 0,
            triggers: 0,
            ignore_cache: false,
            origin: Origin::Anonymous,
            needs: Vec::new(),
            triggered: false,
        });
        self.list.len() - 1
    }

    /// The stages that are converted, in order.
    pub(crate) fn within(&self, reach: Reach) -> Vec<StageId> {
        match reach {
            Reach::Target => self.reachable(),
            Reach::All => (0..self.list.len()).collect(),
        }
    }

    /// What the target needs, itself included, in order.
    pub(super) fn reachable(&self) -> Vec<StageId> {
        let mut reached = self.reached_from(self.target, &mut Vec::new());
        reached.sort_unstable();
        reached
    }

    /// What a stage needs, itself included, as far as it was not seen before.
    pub(super) fn reached_from(&self, stage: StageId, seen: &mut Vec<bool>) -> Vec<StageId> {
        seen.resize(self.list.len(), false);
        let mut reached = Vec::new();
        let mut open = vec![stage];
        while let Some(stage) = open.pop() {
            if std::mem::replace(&mut seen[stage], true) {
                continue;
            }
            reached.push(stage);
            open.extend(&self.list[stage].needs);
            if let Base::Stage(base) = self.list[stage].base {
                open.push(base);
            }
        }
        reached
    }

    /// Refuses stages that take something from one another, or from themselves.
    pub(super) fn refuse_cycles(&self) -> Result<(), Error> {
        let mut state = vec![Visit::No; self.list.len()];
        for start in 0..self.list.len() {
            // The path from `start`, with how many needs of each stage on it were followed.
            let mut path = vec![(start, 0)];
            while let Some((stage, followed)) = path.last_mut() {
                let stage = *stage;
                if state[stage] == Visit::Done {
                    path.pop();
                    continue;
                }
                state[stage] = Visit::OnPath;
                let Some(need) = self.list[stage].needs.get(*followed).copied() else {
                    state[stage] = Visit::Done;
                    path.pop();
                    continue;
                };
                *followed += 1;
                match state[need] {
                    Visit::OnPath => {
                        let path: Vec<StageId> = path.iter().map(|(stage, _)| *stage).collect();
                        return Err(self.circle(&path, need));
                    }
                    Visit::No => path.push((need, 0)),
                    Visit::Done => {}
                }
            }
        }
        Ok(())
    }

    /// The error of a path that leads back to one of its own stages.
    fn circle(&self, path: &[StageId], back: StageId) -> Error {
        let label = |stage: &StageId| self.list[*stage].label.as_str();
        let first = path.iter().position(|stage| *stage == back).unwrap_or(0);
        let circle: Vec<&str> = path[first..].iter().chain([&back]).map(label).collect();
        let last = *path.last().expect("a path has a stage that it starts from");
        let fault = Fault::semantics(format!("circular dependency detected on stage: {}", label(&back)))
            .hint(match circle.len() {
                2 => "a stage cannot take something from itself".to_owned(),
                _ => {
                    format!("the circle is {}: one of them has to take it from elsewhere", circle.join(" → "))
                }
            });
        let mut others: Vec<Lines> =
            path.windows(2).map(|pair| self.lines_of_need(pair[0], pair[1])).collect();
        others.push(self.lines_of_need(last, back));
        Error { lines: others.remove(first), others, ..fault.at(&self.list[back].lines) }
    }

    fn lines_of_need(&self, stage: StageId, need: StageId) -> Lines {
        let stage = &self.list[stage];
        let command = stage.commands.iter().rfind(|command| command.sources.contains(&need));
        command.map_or_else(|| stage.lines.clone(), |command| command.instruction.lines.clone())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    No,
    OnPath,
    Done,
}
