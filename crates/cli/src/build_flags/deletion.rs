//! `mode=delete` of an output deletes what was in its directory. Below the current directory that is what it says; anywhere
//! else it has to be allowed, by buildx's word.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

use gantry_release::{Error, OtherFiles, Output};

use crate::failure::usage;

/// What `--allow` says for it.
pub(crate) const LOCAL_DELETE: &str = "buildx.local.delete";

/// Refuses outputs that would delete files where nobody allowed it.
pub(crate) fn check(outputs: &[Output], allow: &[String]) -> Result<(), Error> {
    if allow.iter().any(|text| text == LOCAL_DELETE) {
        return Ok(());
    }
    for output in outputs {
        let Output::Local(path, form) = output else { continue };
        if form.others == OtherFiles::Go && !is_below_working_directory(path) {
            let message = format!(
                "mode=delete would delete everything in `{}`, which is not below the current directory",
                path.display()
            );
            return Err(usage(message).hint(format!("say --allow {LOCAL_DELETE} if that is meant")));
        }
    }
    Ok(())
}

fn is_below_working_directory(path: &Path) -> bool {
    let Some(here) = env::current_dir().ok().and_then(|here| fs::canonicalize(here).ok()) else {
        return false;
    };
    let place = real(&here.join(path));
    place.starts_with(&here) && place != here
}

/// The place without links, as far as it exists; what does not exist has none.
fn real(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match (path.parent(), path.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => real(parent).join(name),
        (Some(parent), Some(Component::ParentDir)) => {
            real(parent).parent().map_or_else(PathBuf::new, Path::to_owned)
        }
        (Some(parent), _) => real(parent),
        (None, _) => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use gantry_release::FilesForm;

    use super::*;

    #[test]
    fn deletion_below_the_current_directory_only() {
        let delete = |path: &str| {
            Output::Local(path.into(), FilesForm { others: OtherFiles::Go, ..FilesForm::default() })
        };
        for (path, good) in [
            ("no-such/out", true),
            ("./src", true),
            (".", false),
            ("..", false),
            ("src/../..", false),
            ("no-such/../../x", false),
            ("/no-such", false),
        ] {
            assert_eq!(check(&[delete(path)], &[]).is_ok(), good, "{path}");
            assert!(check(&[delete(path)], &[LOCAL_DELETE.to_owned()]).is_ok(), "{path}");
        }
        assert!(check(&[Output::Local("/x".into(), FilesForm::default())], &[]).is_ok());
    }
}
