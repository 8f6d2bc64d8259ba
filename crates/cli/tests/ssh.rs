//! Repositories behind a real SSH server: who is let in, which server is believed, and what a step can do with an agent.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may panic, as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gantry_testkit::{GitServer, SshServer, in_own_network};

#[path = "support/building.rs"]
mod building;
#[path = "support/world.rs"]
#[allow(dead_code, reason = "every build here is looked into")]
mod world;

use building::{build, built, result, text};
use world::World;

/// A repository with a submodule beside it, which is named relative to it.
fn repositories() -> GitServer {
    let git = GitServer::start();
    git.commit("library", &[("inside", "library")]);
    git.commit("repo", &[("Dockerfile", "FROM scratch\nCOPY . /\n"), ("a", "1"), ("sub/b", "2")]);
    git.run("repo", &["submodule", "add", "--quiet", &git.url("library"), "lib"]);
    git.run("repo", &["config", "--file=.gitmodules", "submodule.lib.url", "../library"]);
    git.commit("repo", &[]);
    git
}

fn key_of(ssh: &SshServer) -> String {
    format!("--ssh=default={}", ssh.key().display())
}

#[test]
fn root_ssh_lets_the_right_key_in() {
    let (git, ssh) = (repositories(), SshServer::start());
    let url = ssh.url(&git.repository("repo"));
    let mut world = World::bare(&format!("FROM scratch\nADD --keep-git-dir=true {url} /\n"));
    let image = built(&world, &[&key_of(&ssh), "."]);
    assert_eq!((text(&image, "a").as_str(), text(&image, "lib/inside").as_str()), ("1", "library"));
    assert!(text(&image, ".git/config").contains(&url), "{}", text(&image, ".git/config"));
    // It is asked again, who was let in before or not.
    let refused = build(&world, &["."]).code(2);
    assert!(refused.stderr.contains("SSH agent `default` is required"), "{}", refused.stderr);
    let strange = format!("--ssh=default={}", ssh.strange_key().display());
    let refused = build(&world, &[&strange, "."]).code(3);
    assert!(refused.stderr.contains("Permission denied"), "{}", refused.stderr);
    assert!(refused.stderr.contains("give a key that the server knows"), "{}", refused.stderr);
    let agent = ssh.agent();
    world.gantry = world.gantry.env("SSH_AUTH_SOCK", agent.socket());
    assert_eq!(text(&built(&world, &["--ssh=default", "."]), "sub/b"), "2");
    world.assert_nothing_left();
}

#[test]
fn root_ssh_contexts_use_the_users_agent_unasked() {
    let (git, ssh) = (repositories(), SshServer::start());
    let url = ssh.url(&git.repository("repo"));
    let mut world = World::bare("FROM scratch\nCOPY --from=repo b /\n");
    let refused = build(&world, &[&url]).code(2);
    assert!(refused.stderr.contains("--ssh default"), "{}", refused.stderr);
    let agent = ssh.agent();
    world.gantry = world.gantry.env("SSH_AUTH_SOCK", agent.socket());
    assert_eq!(text(&built(&world, &[&url]), "a"), "1");
    // A named context is no reason to hand out an agent.
    let named = format!("--build-context=repo={url}#main:sub");
    let _ = build(&world, &[&named, "."]).code(2);
    assert_eq!(text(&built(&world, &[&named, "--ssh=default", "."]), "b"), "2");
}

#[test]
fn root_ssh_hosts_have_the_keys_that_they_are_known_by() {
    let (git, ssh) = (repositories(), SshServer::start());
    let world = World::bare(&format!("FROM scratch\nADD {} /\n", ssh.url(&git.repository("repo"))));
    let known_hosts = world.gantry.home().join(".ssh/known_hosts");
    fs::create_dir(known_hosts.parent().unwrap()).unwrap();
    fs::write(&known_hosts, ssh.impostor()).unwrap();
    let refused = build(&world, &[&key_of(&ssh), "."]).code(3);
    assert!(refused.stderr.contains("Host key verification failed"), "{}", refused.stderr);
    assert!(refused.stderr.contains("known_hosts"), "{}", refused.stderr);
    fs::write(&known_hosts, ssh.known_host()).unwrap();
    assert_eq!(text(&built(&world, &[&key_of(&ssh), "."]), "a"), "1");
    assert_eq!(fs::read_to_string(&known_hosts).unwrap(), ssh.known_host(), "the user's file is only read");
}

#[test]
fn root_ssh_addresses_in_the_form_of_scp() {
    in_own_network(|| {
        let (git, ssh) = (repositories(), SshServer::start_at_standard_port());
        let address = format!("{}:{}", ssh.login(), git.repository("repo").display());
        let world =
            World::bare(&format!("FROM scratch\nADD {address}#main:sub /\nADD {address}?subdir=lib /\n"));
        let image = built(&world, &[&key_of(&ssh), "."]);
        assert_eq!((text(&image, "b").as_str(), text(&image, "inside").as_str()), ("2", "library"));
        let image = built(&world, &[&key_of(&ssh), &format!("{address}#main")]);
        assert_eq!(text(&image, "a"), "1");
    });
}

#[test]
fn root_ssh_steps_list_keys_and_clone() {
    let (git, ssh) = (repositories(), SshServer::start());
    let url = ssh.url(&git.repository("repo"));
    let world = World::new(&format!(
        "FROM BASE\nCOPY programs /\nENV GIT_EXEC_PATH=/bin GIT_TEMPLATE_DIR=/none\n\
         RUN --mount=type=ssh ssh-add -l > /keys && \
         GIT_SSH_COMMAND='ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null' git clone -q {url} /cloned\n"
    ));
    let programs = ["git", "ssh", "ssh-add"].map(find_program);
    copy_with_libraries(&programs, &world.gantry.directory().join("programs"));
    let image = built(&world, &[&key_of(&ssh), "."]);
    assert_eq!(text(&image, "cloned/a"), "1");
    assert!(text(&image, "keys").contains("(ED25519)"), "{}", text(&image, "keys"));
    assert_eq!(result(&world).after(1).get("keys"), None, "the keys were listed in a later step");
    world.assert_nothing_left();
}

fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: install it"))
}

/// Copies programs of this machine to `bin`, and the libraries that they need to where they look for them.
fn copy_with_libraries(programs: &[PathBuf], target: &Path) {
    let mut libraries = BTreeSet::new();
    for program in programs {
        copy(program, &target.join("bin").join(program.file_name().unwrap()));
        let output = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        libraries.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for library in libraries {
        copy(&library, &target.join(library.strip_prefix("/").unwrap()));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}
