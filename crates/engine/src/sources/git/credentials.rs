//! What a client's secrets say about how to log in to a repository on the web.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_llb::GitSource;

use crate::error::Fault;
use crate::solver::Solver;

/// The addresses for which one token counts: what GitHub's own tools do.
const GITHUB: [&str; 2] = ["https://github.com/", "https://www.github.com/"];

/// The setting of git's that makes it send the header `Authorization`, if the client has a secret for the host, or for
/// all of them.
pub(super) fn setting(solver: &Solver, source: &GitSource) -> Result<Option<(String, String)>, Fault> {
    let authorization = authorization(solver, source)?;
    Ok(authorization.map(|value| {
        let remote = match source.credentials() {
            // git, which does not see the address's own user, would take it for another address.
            Some(user) => source.remote.replacen(&format!("{user}@"), "", 1),
            None => source.remote.clone(),
        };
        (format!("http.{}.extraHeader", token_scope(&remote)), format!("Authorization: {value}"))
    }))
}

fn authorization(solver: &Solver, source: &GitSource) -> Result<Option<String>, Fault> {
    let Some(("http" | "https", rest)) = source.remote.split_once("://") else { return Ok(None) };
    let host = rest.split('/').next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let of_host = |id: &Option<String>| id.as_ref().map(|id| format!("{id}.{host}"));
    let candidates = [
        (of_host(&source.header_secret), false),
        (of_host(&source.token_secret), true),
        (source.header_secret.clone(), false),
        (source.token_secret.clone(), true),
    ];
    for (id, is_token) in candidates {
        let Some(id) = id else { continue };
        let Some(secret) = solver.job.secrets.get(&id)? else { continue };
        let text = secret.line().ok_or_else(|| Fault::Secret {
            id,
            problem: "a header can only hold one line of text".to_owned(),
        })?;
        return Ok(Some(match is_token {
            false => text.to_owned(),
            true => format!("Basic {}", STANDARD.encode(format!("x-access-token:{text}"))),
        }));
    }
    Ok(None)
}

/// The addresses that the token is sent to: the repository, or all of GitHub for one that is there, so that
/// submodules can be read, too.
fn token_scope(remote: &str) -> &str {
    GITHUB.into_iter().find(|prefix| remote.starts_with(prefix)).unwrap_or(remote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_where_they_belong() {
        assert_eq!(token_scope("https://github.com/a/b.git"), "https://github.com/");
        assert_eq!(token_scope("https://h.test/a/b.git"), "https://h.test/a/b.git");
    }
}
