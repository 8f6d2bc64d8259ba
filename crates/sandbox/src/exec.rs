//! The last step: finding the program and becoming it. Its failures are the ones that users cause and can mend, so
//! they are told apart with care.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;

use nix::errno::Errno;

use crate::{Error, Process};

/// Replaces the calling process by `process`, whose root and working directory it is already in.
///
/// # Errors
/// [`Error::ProgramNotFound`], [`Error::ProgramInWorkingDirectory`], [`Error::MissingInterpreter`],
/// [`Error::ExecFormat`] or [`Error::Exec`].
pub(crate) fn exec(process: &Process) -> Result<Infallible, Error> {
    let args = strings(&process.args);
    let env = strings(&process.env);
    let program = &process.args[0];
    let path = process.env_var("PATH").unwrap_or_default();
    // As execvp does: a match that may not be executed counts only if there is no other.
    let mut denied = None;
    for candidate in candidates(program, path) {
        if !program.contains('/') && !candidate.starts_with('/') {
            // That there is one ends the search, too: another one further on may not be what is meant.
            if is_executable(&candidate) {
                let found =
                    Error::ProgramInWorkingDirectory { program: program.clone(), path: path.to_owned() };
                return Err(denied.unwrap_or(found));
            }
            continue;
        }
        let file = CString::new(candidate.as_str()).expect("arguments were checked for NUL");
        let Err(errno) = nix::unistd::execve(&file, &args, &env);
        match errno {
            Errno::ENOENT if std::fs::metadata(&candidate).is_ok() => {
                return Err(Error::MissingInterpreter { program: candidate });
            }
            Errno::ENOENT | Errno::ENOTDIR => {}
            Errno::ENOEXEC => return Err(Error::ExecFormat { program: candidate }),
            Errno::EACCES => {
                denied.get_or_insert(Error::Exec { program: candidate, errno: errno as i32 });
            }
            _ => return Err(Error::Exec { program: candidate, errno: errno as i32 }),
        }
    }
    Err(denied.unwrap_or_else(|| Error::ProgramNotFound { program: program.clone(), path: path.to_owned() }))
}

fn is_executable(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Where the program may be. Empty parts of PATH, which would mean the working directory, are passed over.
fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    if program.is_empty() {
        return Vec::new();
    }
    path.split(':').filter(|part| !part.is_empty()).map(|part| format!("{part}/{program}")).collect()
}

fn strings(strings: &[String]) -> Vec<CString> {
    strings
        .iter()
        .map(|text| CString::new(text.as_str()).expect("the specification was checked for NUL"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_searched_in_path_only_by_bare_name() {
        for (program, path, expected) in [
            ("sh", "/usr/bin:/bin", vec!["/usr/bin/sh", "/bin/sh"]),
            ("sh", ":/bin:", vec!["/bin/sh"]),
            ("./sh", "/bin", vec!["./sh"]),
            ("/x/sh", "/bin", vec!["/x/sh"]),
            ("sh", "", vec![]),
            ("", "/bin", vec![]),
        ] {
            assert_eq!(candidates(program, path), expected, "{program:?} in {path:?}");
        }
    }
}
