//! Which credentials a configuration file gives for which repository.

use std::os::unix::fs::PermissionsExt;

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

    fn credentials(&self) -> DockerConfig {
        let path = format!("{}:/usr/bin:/bin", self.0.path().display());
        DockerConfig::new(self.0.path().join("config.json"), vec![("PATH".into(), path.into())])
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
        ("raw.test", "x", Credential::RegistryToken(Secret::new("raw"))),
        ("empty.test", "x", Credential::Anonymous),
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
