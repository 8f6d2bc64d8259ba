//! Which credentials the sources give for which repository.

use std::os::unix::fs::PermissionsExt;

use std::time::Duration;

use super::super::{CredentialStore, Kept, SecretKind};
use super::*;

fn password(user: &str, password: &str) -> Credential {
    Credential::Password { user: user.to_owned(), password: Secret::new(password) }
}

struct Home(tempfile::TempDir);

impl Home {
    fn new(config: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.write(config);
        home
    }

    fn write(&self, config: &str) {
        std::fs::write(self.0.path().join("config.json"), config).unwrap();
    }

    fn helper(&self, name: &str, script: &str) {
        let path = self.0.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn file(&self) -> CredentialSource {
        CredentialSource::File(self.0.path().join("config.json"))
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        vec![("PATH".into(), path.into())]
    }

    fn credentials(&self) -> CredentialSources {
        CredentialSources::new(vec![self.file()], self.environment())
    }

    fn store(&self) -> CredentialStore {
        CredentialStore::new(self.0.path().join("config.json"), self.environment())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.0.path().join("config.json")).unwrap()
    }

    async fn find(&self, host: &str, repository: &str) -> Result<Credential, CredentialError> {
        self.credentials().find(host, repository).await
    }
}

#[tokio::test]
async fn the_longest_key_that_fits_wins() {
    let home = Home::new(
        r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOmh1YnB3"},
            "r.test": {"username": "all", "password": "1"},
            "r.test/team": {"username": "team", "password": "2"},
            "https://r.test/team/app/": {"username": "app", "password": "3"},
            "old.test:5000": {"identitytoken": "idt"},
            "api.test/team/v2": {"username": "two", "password": "4"},
            "https://api.test/v2/": {"username": "api", "password": "5"},
            "raw.test": {"registrytoken": "raw"},
            "empty.test": {}
        }}"#,
    );
    let identity = Credential::IdentityToken { user: "<token>".to_owned(), token: Secret::new("idt") };
    for (host, repository, expected) in [
        ("docker.io", "library/busybox", password("hub", "hubpw")),
        ("r.test", "other", password("all", "1")),
        ("r.test", "team", password("team", "2")),
        ("r.test", "team/web", password("team", "2")),
        ("r.test", "team/app", password("app", "3")),
        ("r.test", "team/application", password("team", "2")),
        ("r.test:5000", "team", Credential::Anonymous),
        ("old.test:5000", "x", identity),
        ("api.test", "team/v2", password("two", "4")),
        ("api.test", "team/app", password("api", "5")),
        ("raw.test", "x", Credential::RegistryToken(Secret::new("raw"))),
        ("empty.test", "x", Credential::Anonymous),
        ("r.test.evil.test", "team/app", Credential::Anonymous),
        ("docker.io.evil.test", "library/busybox", Credential::Anonymous),
        ("evil-r.test", "team", Credential::Anonymous),
        ("test", "team", Credential::Anonymous),
    ] {
        assert_eq!(home.find(host, repository).await.unwrap(), expected, "{host}/{repository}");
    }
}

#[tokio::test]
async fn the_file_is_read_again_each_time_and_need_not_exist() {
    let home = Home::new(r#"{"auths": {"r.test": {"username": "u", "password": "old"}}}"#);
    assert_eq!(home.find("r.test", "a").await.unwrap(), password("u", "old"));
    home.write(r#"{"auths": {"r.test": {"username": "u", "password": "new"}}}"#);
    assert_eq!(home.find("r.test", "a").await.unwrap(), password("u", "new"));
    std::fs::remove_file(home.0.path().join("config.json")).unwrap();
    assert_eq!(home.find("r.test", "a").await.unwrap(), Credential::Anonymous);
}

#[tokio::test]
async fn a_broken_file_is_named_and_not_quoted() {
    for config in [r#"{"auths": {"r.test": "hunter2""#, r#"{"auths": {"r.test": {"auth": "aHVudGVyMg=="}}}"#]
    {
        let error = Home::new(config).find("r.test", "a").await.unwrap_err().to_string();
        assert!(error.contains("config.json") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn helpers_are_asked_on_standard_input_and_with_the_given_environment_only() {
    let home = Home::new(r#"{"credHelpers": {"r.test": "one"}, "credsStore": "all"}"#);
    home.helper("one", r#"read server; echo "{\"Username\":\"$1-$server\",\"Secret\":\"${HOME-none}\"}""#);
    home.helper("all", r#"read server; echo "{\"Username\":\"<token>\",\"Secret\":\"$server\"}""#);
    assert_eq!(home.find("r.test", "a").await.unwrap(), password("get-r.test", "none"));
    let token = Credential::IdentityToken {
        user: "<token>".into(),
        token: Secret::new("https://index.docker.io/v1/"),
    };
    assert_eq!(home.find("docker.io", "library/a").await.unwrap(), token);
}

#[tokio::test]
async fn helpers_that_do_not_answer() {
    let home =
        Home::new(r#"{"credsStore": "x", "auths": {"inline.test": {"username": "u", "password": "p"}}}"#);
    home.helper("x", "echo 'credentials not found in native keychain'; exit 1");
    assert_eq!(home.find("r.test", "a").await.unwrap(), Credential::Anonymous);
    assert_eq!(home.find("inline.test", "a").await.unwrap(), password("u", "p"));
    for (script, message) in [
        ("echo 'the agent is locked' >&2; exit 2", "failed: the agent is locked"),
        ("echo '{\"Username\": 1}'", "answered something that is not its protocol"),
        ("cat /dev/zero", "answered more than 65536 bytes"),
        (
            r#"printf %s '{"Username":"a\nb","Secret":"s"}'"#,
            "answered with control characters in the user name",
        ),
        (r"printf 'line\n\033[2Jmore' >&2; exit 1", "failed: line[2Jmore"),
    ] {
        home.helper("x", script);
        let error = home.find("r.test", "a").await.unwrap_err();
        assert_eq!(error.to_string(), format!("credential helper `docker-credential-x` {message}"));
    }
    home.write(r#"{"credsStore": "absent"}"#);
    let error = home.find("r.test", "a").await.unwrap_err();
    assert!(error.to_string().contains("cannot be run"), "{error}");
    home.write(r#"{"credsStore": "../../bin/sh"}"#);
    let error = home.find("r.test", "a").await.unwrap_err();
    assert!(error.to_string().contains("has a name that is not allowed"), "{error}");
}

#[tokio::test]
async fn a_helper_that_never_answers_is_left() {
    let home = Home::new(r#"{"credsStore": "x"}"#);
    home.helper("x", "exec sleep 600");
    let mut credentials = home.credentials();
    credentials.surroundings.timeout = Duration::from_millis(50);
    let error = credentials.find("r.test", "a").await.unwrap_err().to_string();
    assert!(error.ends_with("did not answer within 0.05 s"), "{error}");
}

/// How often a helper that counts its runs was run.
fn runs(home: &Home) -> u64 {
    std::fs::read_to_string(home.0.path().join("runs")).map_or(0, |text| text.lines().count() as u64)
}

#[tokio::test]
async fn a_helper_runs_once_per_second_for_all_repositories_of_a_server() {
    for (script, found) in [
        (r#"echo '{"Username":"u","Secret":"s"}'"#, Ok(password("u", "s"))),
        ("echo credentials not found in native keychain; exit 1", Ok(Credential::Anonymous)),
        ("echo the cloud is gone; exit 1", Err(())),
    ] {
        let home = Home::new(r#"{"credsStore": "x"}"#);
        home.helper("x", &format!("cat >> {}/runs; {script}", home.0.path().display()));
        let credentials = home.credentials();
        // A client made afresh has the same sources.
        let clients = [credentials.clone(), credentials.clone()];
        let start = std::time::Instant::now();
        let names: Vec<_> = (0..30).map(|number| format!("team/app{number}")).collect();
        let finds = clients.iter().flat_map(|one| names.iter().map(|name| one.find("r.test", name)));
        for one in futures_util::future::join_all(finds).await {
            assert_eq!(one.map_err(drop), found);
        }
        assert!(runs(&home) <= 1 + start.elapsed().as_secs(), "{script}: {} runs", runs(&home));
        let before = runs(&home);
        credentials.find("other.test", "app").await.map_err(drop).unwrap_or(Credential::Anonymous);
        assert_eq!(runs(&home), before + 1, "another server is another question");
        let _ = credentials.locate("r.test", "app").await;
        assert_eq!(runs(&home), before + 2, "whoever explains or logs in looks at what is true now");
    }
}

#[tokio::test]
async fn the_first_source_that_has_an_entry_wins() {
    let (first, second) = (
        Home::new(r#"{"auths": {"one.test": {"username": "u", "password": "file"}, "two.test": {}}}"#),
        Home::new(
            r#"{"auths": {"one.test": {"username": "u", "password": "late"},
                "two.test": {"username": "u", "password": "late"}}}"#,
        ),
    );
    second.helper("print", r#"read server; echo "{\"Username\":\"$*\",\"Secret\":\"$server\"}""#);
    let program = second.0.path().join("docker-credential-print");
    let sources = vec![
        CredentialSource::Command {
            prefix: "cmd.test".into(),
            command: vec![program.to_str().unwrap().into(), "a b".into()],
            origin: "gantry.toml".into(),
        },
        CredentialSource::Command {
            prefix: "part.test/team".into(),
            command: vec![program.to_str().unwrap().into(), "team".into()],
            origin: "gantry.toml".into(),
        },
        CredentialSource::Command {
            prefix: "docker.io".into(),
            command: vec![program.to_str().unwrap().into(), "hub".into()],
            origin: "gantry.toml".into(),
        },
        CredentialSource::Variable {
            name: "DOCKER_AUTH_CONFIG".into(),
            json: Secret::new(r#"{"auths": {"env.test/team": {"username": "u", "password": "env"}}}"#),
        },
        CredentialSource::File(first.0.path().join("absent.json")),
        first.file(),
        second.file(),
    ];
    let credentials = CredentialSources::new(sources, second.environment());
    let directory = |home: &Home| home.0.path().display().to_string();
    for (host, repository, expected, source) in [
        (
            "cmd.test",
            "x",
            password("a b", "cmd.test"),
            format!("command `{}` of gantry.toml", program.display()),
        ),
        (
            "part.test",
            "team/x",
            password("team", "part.test"),
            format!("command `{}` of gantry.toml", program.display()),
        ),
        (
            "docker.io",
            "library/x",
            password("hub", "https://index.docker.io/v1/"),
            format!("command `{}` of gantry.toml", program.display()),
        ),
        (
            "env.test",
            "team/x",
            password("u", "env"),
            "variable DOCKER_AUTH_CONFIG, `auths` entry `env.test/team`".to_owned(),
        ),
        (
            "one.test",
            "x",
            password("u", "file"),
            format!("{}/config.json, `auths` entry `one.test`", directory(&first)),
        ),
        (
            "two.test",
            "x",
            password("u", "late"),
            format!("{}/config.json, `auths` entry `two.test`", directory(&second)),
        ),
    ] {
        let found = credentials.locate(host, repository).await.unwrap().unwrap();
        assert_eq!(found, Found { credential: expected, source });
    }
    assert_eq!(credentials.locate("env.test", "teamwork").await.unwrap(), None);
    assert_eq!(credentials.locate("none.test", "x").await.unwrap(), None);
    for other in ["other/x", "teamwork/x", ""] {
        assert_eq!(
            credentials.locate("part.test", other).await.unwrap(),
            None,
            "`{other}` is not the team's"
        );
    }
}

#[tokio::test]
async fn a_broken_variable_and_a_broken_command_are_named() {
    let home = Home::new("");
    for (source, message) in [
        (
            CredentialSource::Variable { name: "DOCKER_AUTH_CONFIG".into(), json: Secret::new("hunter2") },
            "cannot read credentials from the variable DOCKER_AUTH_CONFIG: it is not valid at line 1 column 1",
        ),
        (
            CredentialSource::Command {
                prefix: "r.test".into(),
                command: vec!["/absent/command".into()],
                origin: "gantry.toml".into(),
            },
            "credential command `/absent/command` of gantry.toml cannot be run: ",
        ),
    ] {
        let credentials = CredentialSources::new(vec![source, home.file()], home.environment());
        let error = credentials.find("r.test", "a").await.unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert!(!error.hints().is_empty());
    }
}

#[tokio::test]
async fn what_is_saved_is_found_and_everything_else_stays() {
    let home = Home::new(
        r#"{"zebra": 1, "auths": {"a.test": {"auth": "eDp5", "email": "e"}, "https://r.test/v1/": {"auth": "eDp5"}}, "aux": [1]}"#,
    );
    let link = home.0.path().join("link.json");
    std::os::unix::fs::symlink(home.0.path().join("config.json"), &link).unwrap();
    let store = CredentialStore::new(&link, home.environment());
    let kept = store.save("r.test", "me", (SecretKind::Password, &Secret::new("new:word"))).await.unwrap();
    assert_eq!(kept, Kept::File(link.clone()));
    assert_eq!(home.find("r.test", "x").await.unwrap(), password("me", "new:word"));
    assert!(std::fs::symlink_metadata(&link).unwrap().file_type().is_symlink());
    let text: String = home.text().split_whitespace().collect();
    assert_eq!(
        text,
        r#"{"zebra":1,"auths":{"a.test":{"auth":"eDp5","email":"e"},"r.test":{"auth":"bWU6bmV3OndvcmQ="}},"aux":[1]}"#
    );
    store.save("docker.io", "me", (SecretKind::Password, &Secret::new("hub"))).await.unwrap();
    assert!(home.text().contains("\"https://index.docker.io/v1/\": {"));
    assert!(store.erase("docker.io").await.unwrap() && store.erase("r.test").await.unwrap());
    assert!(!store.erase("r.test").await.unwrap());
    assert_eq!(home.find("a.test", "x").await.unwrap(), password("x", "y"));
    let entries = std::fs::read_dir(home.0.path()).unwrap().count();
    assert_eq!(entries, 2, "no temporary file stays");
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_alone() {
    let home = Home::new("");
    let path = home.0.path().join("new/deep/config.json");
    let store = CredentialStore::new(&path, home.environment());
    store.save("r.test", "me", (SecretKind::Password, &Secret::new("word"))).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    std::fs::write(&path, "{broken hunter2").unwrap();
    let error = store
        .save("r.test", "me", (SecretKind::Password, &Secret::new("word")))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 1") && !error.contains("hunter2"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{broken hunter2", "what is not understood stays");
}

#[tokio::test]
async fn a_helper_keeps_and_forgets() {
    let home = Home::new(r#"{"credsStore": "desktop", "credHelpers": {"r.test": "keep"}}"#);
    let kept = home.0.path().join("kept");
    let script = format!(
        "case $1 in store) cat > {0};; erase) rm {0} 2>/dev/null || {{ echo credentials not found; exit 1; }};; \
         get) cat {0};; esac",
        kept.display()
    );
    home.helper("keep", &script);
    let store = home.store();
    let kept_by = store.save("r.test", "me", (SecretKind::Password, &Secret::new("wo\"rd"))).await.unwrap();
    assert_eq!(kept_by, Kept::Helper("keep".to_owned()));
    assert_eq!(home.find("r.test", "x").await.unwrap(), password("me", "wo\"rd"));
    assert!(home.text().contains("\"r.test\": {}") && !home.text().contains("wo"));
    store.save("r.test", "me", (SecretKind::IdentityToken, &Secret::new("idt"))).await.unwrap();
    let token = Credential::IdentityToken { user: "<token>".to_owned(), token: Secret::new("idt") };
    assert_eq!(home.find("r.test", "x").await.unwrap(), token, "helpers tell by the user what it is");
    assert!(store.erase("r.test").await.unwrap());
    assert!(!home.text().contains("\"r.test\": {}"));
    assert!(!store.erase("r.test").await.unwrap());
    home.helper("keep", "echo 'the vault is locked'; exit 1");
    let error = store
        .save("r.test", "me", (SecretKind::Password, &Secret::new("word")))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("failed: the vault is locked"), "{error}");
}
