//! `gantry login` and its prompts.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;

use console::Term;
use gantry_release::{
    Error, Kept, Registries, Secret, SecretKind, known_user, login, registry_of, still_logged_in,
};

use crate::args::{Global, Login};
use crate::config;
use crate::failure::{usage, warn};

/// Runs the command.
pub(crate) async fn run(global: &Global, args: &Login) -> Result<ExitCode, Error> {
    let host = registry_of(args.server.as_deref())?;
    if args.password.is_some() {
        warn("a password on the command line can be seen by other users: --password-stdin hides it");
    }
    let registries = Registries::new(config::registries(global)?);
    registries.take_warnings().iter().for_each(|warning| warn(warning));
    let says_nothing = args.username.is_none() && args.password.is_none() && !args.password_stdin;
    if says_nothing && let Some(known) = still_logged_in(&registries, &host).await? {
        let whose = known.user.map(|user| format!(" of `{user}`")).unwrap_or_default();
        say(&format!("Authenticated with the credentials{whose} that are known already\nLogin Succeeded"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (user, password) = credentials(args, &registries, &host).await?;
    let logged_in = login(&registries, &host, &user, &password).await?;
    if let Kept::File(path) = &logged_in.kept {
        let what = match logged_in.secret {
            SecretKind::Password => "password",
            SecretKind::IdentityToken => "identity token",
        };
        warn(&format!("the {what} is kept unencrypted in {}", path.display()));
    }
    if let Some(source) = &logged_in.shadowed_by {
        warn(&format!("the credentials for {host} in {source} are used before these"));
    }
    say("Login Succeeded")?;
    Ok(ExitCode::SUCCESS)
}

async fn credentials(args: &Login, registries: &Registries, host: &str) -> Result<(String, Secret), Error> {
    let password = match (&args.password, args.password_stdin) {
        (Some(password), _) => Some(password.clone()),
        (None, true) if args.username.is_none() => {
            return Err(usage("--password-stdin needs --username"));
        }
        (None, true) => Some(from_stdin()?),
        (None, false) => None,
    };
    let user = match &args.username {
        Some(user) => user.clone(),
        None => {
            let known = known_user(registries, host).await?;
            ask_user(known.as_deref())?
        }
    };
    let password = match password {
        Some(password) => password,
        None => ask_password()?,
    };
    match (user.is_empty(), password.is_empty()) {
        (true, _) => Err(usage("the user name is empty")),
        (_, true) => Err(usage("the password is empty")),
        // What comes before the first colon is the user, in every place where both are kept or sent together.
        _ if user.contains(':') => Err(usage("a user name cannot have a colon")),
        _ => Ok((user, password)),
    }
}

/// The whole of standard input, without the end of its last line.
fn from_stdin() -> Result<Secret, Error> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| usage(format!("cannot read the password from standard input: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
}

fn ask_user(known: Option<&str>) -> Result<String, Error> {
    let prompt = match known {
        Some(known) => format!("Username ({known}): "),
        None => "Username: ".to_owned(),
    };
    let answer = ask(&prompt, Term::read_line)?;
    Ok(match (answer.trim(), known) {
        ("", Some(known)) => known.to_owned(),
        (answer, _) => answer.to_owned(),
    })
}

fn ask_password() -> Result<Secret, Error> {
    ask("Password: ", Term::read_secure_line).map(Secret::new)
}

/// Asks on the terminal.
fn ask(prompt: &str, read: fn(&Term) -> std::io::Result<String>) -> Result<String, Error> {
    let terminal = Term::stderr();
    if !std::io::stdin().is_terminal() || !terminal.is_term() {
        return Err(usage("there is no terminal to ask on")
            .hint("give --username, and the password on standard input with --password-stdin"));
    }
    let answer = terminal.write_str(prompt).and_then(|()| read(&terminal));
    answer.map_err(|error| usage(format!("cannot ask on the terminal: {error}")))
}

/// Writes a line to standard output.
pub(super) fn say(line: &str) -> Result<(), Error> {
    writeln!(std::io::stdout(), "{line}")
        .map_err(|error| crate::failure::internal(format!("cannot write to standard output: {error}")))
}
