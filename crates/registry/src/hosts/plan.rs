//! From rules to a plan for one repository: the endpoints in their order, each setting with the place that says it.

use std::path::PathBuf;

use super::{
    Connection, DOCKER_HUB, HostPattern, HostRule, HostSettings, Hosts, KeyPair, Location, Mirror, Origin,
    PlainHttp, Rights, Trust,
};
use crate::endpoint::{Rename, strip};
use crate::{Fault, Secret};

/// A setting, and who says it; nobody says a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said<T> {
    pub(crate) value: T,
    pub(crate) by: Option<Origin>,
}

impl<T> Said<T> {
    fn by_nobody(value: T) -> Self {
        Self { value, by: None }
    }
}

/// How to connect to one host, all considered.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) http: Said<Option<PlainHttp>>,
    pub(crate) skip_verify: Said<bool>,
    pub(crate) ca: Said<Vec<PathBuf>>,
    pub(crate) client: Said<Option<KeyPair>>,
    pub(crate) headers: Said<Vec<(String, Secret)>>,
}

impl Settled {
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            ca: self.ca.value.clone(),
            client: self.client.value.clone(),
            skip_verify: self.skip_verify.value,
        }
    }
}

/// One endpoint of a plan.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) location: Location,
    /// The registry's name, by which its credentials are filed.
    pub(crate) name: String,
    pub(crate) rename: Rename,
    pub(crate) rights: Rights,
    /// The registry that a proxy is to serve.
    pub(crate) namespace: Option<String>,
    pub(crate) settled: Settled,
    /// Who says that this endpoint is used.
    pub(crate) by: Option<Origin>,
}

/// The endpoints of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) mirrors: Vec<Planned>,
    pub(crate) upstream: Planned,
}

impl Hosts {
    /// The plan for a repository of a registry.
    ///
    /// # Errors
    /// [`Fault::Blocked`] if a rule forbids the repository.
    pub(crate) fn plan(&self, host: &str, repository: &str) -> Result<Plan, Fault> {
        let blocked = self.first(host, repository, |settings| settings.blocked);
        if let Some((true, rule)) = blocked {
            let name = format!("{host}/{repository}");
            return Err(Fault::Blocked { name, by: rule.origin.to_string() });
        }
        let mirrors = self.first(host, repository, |settings| settings.mirrors.as_ref());
        let mirrors = mirrors.map_or_else(Vec::new, |(mirrors, rule)| {
            let rename = |location| renamed(rule, location, host, repository);
            mirrors.iter().map(|mirror| self.mirror(mirror, rule, host, rename(&mirror.location))).collect()
        });
        Ok(Plan { mirrors, upstream: self.upstream(host, repository) })
    }

    fn mirror(&self, mirror: &Mirror, rule: &HostRule, registry: &str, rename: Rename) -> Planned {
        let name = mirror.location.server.clone();
        let repository = rename.add.clone();
        let differs = mirror.proxy && name != registry;
        Planned {
            settled: self.settle(
                Some((rule, &addressed(&mirror.connection, &mirror.location))),
                &name,
                &repository,
            ),
            location: mirror.location.clone(),
            name,
            rename,
            rights: mirror.rights,
            namespace: differs.then(|| registry.to_owned()),
            by: Some(rule.origin.clone()),
        }
    }

    fn upstream(&self, host: &str, repository: &str) -> Planned {
        let all = Rights { pull: true, resolve: true, push: true };
        match self.first(host, repository, |settings| settings.location.as_ref()) {
            Some((location, rule)) => {
                let name = location.server.clone();
                let rename = renamed(rule, location, host, repository);
                let own = addressed(&rule.settings.connection, location);
                let settled = self.settle(Some((rule, &own)), &name, &rename.add);
                let (location, by) = (location.clone(), Some(rule.origin.clone()));
                Planned { location, name, rename, rights: all, namespace: None, settled, by }
            }
            None => Planned {
                location: Location {
                    server: host.to_owned(),
                    http: None,
                    root: "/v2/".to_owned(),
                    prefix: String::new(),
                },
                name: host.to_owned(),
                rename: Rename::default(),
                rights: all,
                namespace: None,
                settled: self.settle(None, host, repository),
                by: None,
            },
        }
    }

    /// How to connect to a host: what rules say of it. What one says together with the host's address counts in its
    /// place among them.
    pub(super) fn settle(
        &self,
        own: Option<(&HostRule, &Connection)>,
        host: &str,
        repository: &str,
    ) -> Settled {
        let name = format!("{host}/{repository}");
        let mut all: Vec<(&Connection, &Origin)> = Vec::new();
        for rule in &self.rules {
            if let Some((_, connection)) = own.filter(|(naming, _)| std::ptr::eq(*naming, rule)) {
                all.push((connection, &rule.origin));
            }
            if fits(&rule.pattern, &name) {
                all.push((&rule.settings.connection, &rule.origin));
            }
        }
        fn pick<T>(
            all: &[(&Connection, &Origin)],
            default: T,
            says: impl Fn(&Connection) -> Option<T>,
        ) -> Said<T> {
            let found = all.iter().find_map(|(connection, by)| Some((says(connection)?, *by)));
            match found {
                Some((value, by)) => Said { value, by: Some(by.clone()) },
                None => Said::by_nobody(default),
            }
        }
        let some = |list: &Vec<PathBuf>| (!list.is_empty()).then(|| list.clone());
        Settled {
            http: pick(&all, None, |connection| connection.http.map(Some)),
            skip_verify: pick(&all, false, |connection| connection.skip_verify),
            ca: pick(&all, Vec::new(), |connection| some(&connection.ca)),
            client: pick(&all, None, |connection| connection.client.clone().map(Some)),
            headers: pick(&all, Vec::new(), |connection| {
                (!connection.headers.is_empty()).then(|| connection.headers.clone())
            }),
        }
    }

    fn first<'a, T>(
        &'a self,
        host: &str,
        repository: &str,
        says: impl Fn(&'a HostSettings) -> Option<T>,
    ) -> Option<(T, &'a HostRule)> {
        self.fitting(host, repository).find_map(|rule| Some((says(&rule.settings)?, rule)))
    }

    fn fitting<'a>(&'a self, host: &str, repository: &str) -> impl Iterator<Item = &'a HostRule> {
        let name = format!("{host}/{repository}");
        self.rules.iter().filter(move |rule| fits(&rule.pattern, &name))
    }
}

/// What is said of a connection together with its address, whose scheme says something, too.
fn addressed(connection: &Connection, location: &Location) -> Connection {
    Connection { http: location.http.or(connection.http), ..connection.clone() }
}

fn fits(pattern: &HostPattern, name: &str) -> bool {
    match pattern {
        HostPattern::Prefix(prefix) => strip(name, prefix).is_some(),
        HostPattern::Subdomains(domain) => {
            let host = name.split(['/', ':']).next().unwrap_or_default();
            host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
        HostPattern::Any => true,
    }
}

/// What becomes of repositories' names: the pattern's path gives way to the location's.
fn renamed(rule: &HostRule, location: &Location, host: &str, repository: &str) -> Rename {
    let path = match &rule.pattern {
        HostPattern::Prefix(prefix) => strip(prefix, host).unwrap_or_default(),
        HostPattern::Subdomains(_) | HostPattern::Any => "",
    };
    let path = strip(repository, path).map_or("", |_| path);
    Rename { strip: path.to_owned(), add: location.prefix.clone() }
}

impl Planned {
    /// The server that answers for the name.
    pub(crate) fn server(&self) -> &str {
        if self.location.server == DOCKER_HUB.0 { DOCKER_HUB.1 } else { &self.location.server }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(host: &str, file: &str, connection: Connection) -> HostRule {
        let settings = HostSettings { connection, ..HostSettings::default() };
        let pattern = HostPattern::Prefix(host.to_owned());
        HostRule { pattern, origin: Origin::new(file, ""), settings }
    }

    fn speaking(http: PlainHttp) -> Connection {
        Connection { http: Some(http), ..Connection::default() }
    }

    /// A registry whose mirror is named with its scheme, and a rule for the mirror's host before or after that.
    #[test]
    fn what_is_said_with_an_address_counts_in_its_place() {
        let mut naming = rule("r.test", "naming", Connection::default());
        naming.settings.mirrors = Some(vec![Mirror {
            location: Location::of_names("https://m.test/x").unwrap(),
            rights: Rights::READ,
            proxy: false,
            connection: Connection::default(),
        }]);
        let other = rule("m.test", "other", speaking(PlainHttp::Yes));
        for (rules, http, by) in [
            (vec![naming.clone(), other.clone()], PlainHttp::No, "naming"),
            (vec![other, naming], PlainHttp::Yes, "other"),
        ] {
            let plan = Hosts::new(rules).plan("r.test", "a").unwrap();
            let said = &plan.mirrors[0].settled.http;
            assert_eq!((said.value, said.by.as_ref().unwrap().file.as_str()), (Some(http), by));
        }
    }

    #[test]
    fn patterns_fit_whole_components() {
        let prefix = |text: &str| HostPattern::Prefix(text.to_owned());
        for (pattern, name, fitting) in [
            (prefix("r.test"), "r.test/a", true),
            (prefix("r.test"), "r.test.evil.test/a", false),
            (prefix("r.test"), "r.test:5000/a", false),
            (prefix("r.test/team"), "r.test/team/a", true),
            (prefix("r.test/team"), "r.test/teamwork", false),
            (HostPattern::Subdomains("test".to_owned()), "a.r.test:5000/a", true),
            (HostPattern::Subdomains("r.test".to_owned()), "r.test/a", false),
            (HostPattern::Subdomains("r.test".to_owned()), "evil-r.test/a", false),
            (HostPattern::Any, "r.test/a", true),
        ] {
            assert_eq!(fits(&pattern, name), fitting, "{pattern:?} {name}");
        }
    }
}
