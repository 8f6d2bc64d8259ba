//! What a branch, a tag or a commit is at the moment, by what `git ls-remote` says of a repository.

use gantry_llb::GitSource;

const TAGS: &str = "refs/tags/";

/// What a reference stands for at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The object: a commit, or the tag object that names one.
    pub(super) object: String,
    /// The commit, where it is known to be another object.
    pub(super) commit: Option<String>,
    /// Its full name in the repository elsewhere; `None` for a commit.
    pub(super) name: Option<String>,
    /// The full names that it gets in `.git`.
    pub(super) local_names: Vec<String>,
}

impl Resolved {
    /// A commit, which stands for itself. `reference` is what else it is to be called, if that is not the commit.
    pub(super) fn commit(commit: &str, reference: &str) -> Self {
        let local_names = match reference {
            "" => Vec::new(),
            reference if GitSource::is_commit(reference) => Vec::new(),
            reference if reference.starts_with("refs/") => local_names(reference, false),
            reference => local_names(&format!("refs/heads/{reference}"), false),
        };
        Self { object: commit.to_owned(), commit: None, name: None, local_names }
    }

    /// What of the answer of `ls-remote` the reference means: its full name, else a branch, else a tag.
    pub(super) fn choose(answer: &str, reference: &str) -> Option<Self> {
        let found = |name: &str| {
            let line =
                answer.lines().find(|line| line.split_once('\t').is_some_and(|(_, found)| found == name))?;
            let (object, _) = line.split_once('\t')?;
            GitSource::is_commit(object).then(|| object.to_owned())
        };
        let full = |prefix: &str| match reference.starts_with(prefix) {
            true => reference.to_owned(),
            false => format!("{prefix}{reference}"),
        };
        let names = [full("refs/"), full("refs/heads/"), full("refs/tags/")];
        let (name, object) = names.into_iter().find_map(|name| found(&name).map(|object| (name, object)))?;
        // A tag by its full name has a commit behind it, too.
        let commit = found(&format!("{name}^{{}}"));
        let local_names = local_names(reference, commit.is_some());
        Some(Self { object, commit, name: Some(name), local_names })
    }

    /// Whether it is the commit whose id begins so.
    pub(super) fn is(&self, prefix: &str) -> bool {
        self.object.starts_with(prefix)
            || self.commit.as_ref().is_some_and(|commit| commit.starts_with(prefix))
    }

    /// What to ask the server for: each of the names that it gets here, else the object alone.
    pub(super) fn wanted(&self) -> Vec<String> {
        let there = self.name.as_ref().unwrap_or(&self.object);
        match self.local_names.is_empty() {
            true => vec![there.clone()],
            false => self.local_names.iter().map(|here| format!("+{there}:{here}")).collect(),
        }
    }
}

/// The names that BuildKit's result has for a reference when nothing was fetched from the repository before. It comes by the
/// way of a copy in which all that is fetched is a tag, and tags of what is fetched come along.
fn local_names(reference: &str, is_annotated: bool) -> Vec<String> {
    let tag = match reference.starts_with(TAGS) {
        true => reference.to_owned(),
        false => format!("{TAGS}{reference}"),
    };
    let is_partial = ["heads/", "tags/", "remotes/"].iter().any(|prefix| reference.starts_with(prefix));
    let own = match (reference.starts_with("refs/"), is_partial) {
        (true, _) => reference.to_owned(),
        (false, true) => format!("refs/{reference}"),
        (false, false) => format!("refs/heads/{reference}"),
    };
    match is_annotated || own == tag {
        true => vec![tag],
        false => vec![own, tag],
    }
}

/// The branch that `ls-remote --symref` says HEAD is, by its short name.
pub(super) fn default_branch(answer: &str) -> Option<String> {
    let branch = answer.lines().find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
    // It becomes an argument; the server chose it.
    branch.strip_prefix("refs/heads/").filter(|branch| !branch.starts_with('-')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> String {
        digit.repeat(40)
    }

    fn answer() -> String {
        format!(
            "{}\trefs/heads/v1\n{}\trefs/tags/v1\n{}\trefs/tags/v1^{{}}\n{}\trefs/heads/x/v1\n{}\trefs/tags/light\n\
             nonsense\trefs/heads/bad\n",
            id("1"),
            id("2"),
            id("3"),
            id("4"),
            id("5"),
        )
    }

    #[test]
    fn branches_before_tags_and_full_names_before_both() {
        let of = |reference: &str| {
            Resolved::choose(&answer(), reference).map(|found| (found.object, found.commit))
        };
        assert_eq!(of("v1"), Some((id("1"), None)));
        assert_eq!(of("refs/tags/v1"), Some((id("2"), Some(id("3")))));
        assert_eq!(of("tags/v1"), Some((id("2"), Some(id("3")))));
        assert_eq!(of("heads/x/v1"), Some((id("4"), None)));
        assert_eq!(of("bad"), None);
        assert_eq!(of("none"), None);
        assert!(Resolved::choose(&answer(), "refs/tags/v1").unwrap().is("333"));
    }

    #[test]
    fn names_in_the_git_directory() {
        for (reference, names) in [
            ("x/v1", vec!["refs/heads/x/v1", "refs/tags/x/v1"]),
            ("light", vec!["refs/heads/light", "refs/tags/light"]),
            ("refs/heads/v1", vec!["refs/heads/v1", "refs/tags/refs/heads/v1"]),
            ("heads/x/v1", vec!["refs/heads/x/v1", "refs/tags/heads/x/v1"]),
            ("refs/tags/light", vec!["refs/tags/light"]),
            ("refs/tags/v1", vec!["refs/tags/v1"]),
            ("tags/v1", vec!["refs/tags/tags/v1"]),
        ] {
            assert_eq!(Resolved::choose(&answer(), reference).unwrap().local_names, names, "{reference}");
        }
        for (reference, names) in [
            ("", vec![]),
            ("v1", vec!["refs/heads/v1", "refs/tags/refs/heads/v1"]),
            ("refs/tags/v1", vec!["refs/tags/v1"]),
        ] {
            assert_eq!(Resolved::commit(&id("1"), reference).local_names, names, "{reference}");
        }
        assert_eq!(Resolved::commit(&id("1"), &id("1")).wanted(), [id("1")]);
        assert_eq!(Resolved::commit(&id("1"), "refs/tags/x").wanted(), [format!("+{}:refs/tags/x", id("1"))]);
    }

    #[test]
    fn the_default_branch_is_a_branch() {
        assert_eq!(default_branch("ref: refs/heads/main\tHEAD\nabc\tHEAD\n").unwrap(), "main");
        assert_eq!(default_branch("ref: --upload-pack=x\tHEAD\n"), None);
        assert_eq!(default_branch("ref: refs/heads/--upload-pack=x\tHEAD\n"), None);
        assert_eq!(default_branch("abc\tHEAD\n"), None);
    }
}
