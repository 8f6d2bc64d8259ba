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
            settled: self.settle(Some((&mirror.connection, &rule.origin)), &name, &repository),
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
                let own = Some((&rule.settings.connection, &rule.origin));
                let (location, by) = (location.clone(), Some(rule.origin.clone()));
                let settled = self.settle(own, &name, &rename.add);
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

    /// How to connect to a host: what is said with its address first, then what rules say of it.
    pub(super) fn settle(
        &self,
        own: Option<(&Connection, &Origin)>,
        host: &str,
        repository: &str,
    ) -> Settled {
        let rules = self.fitting(host, repository);
        let rules = rules.map(|rule| (&rule.settings.connection, &rule.origin));
        let all: Vec<(&Connection, &Origin)> = own.into_iter().chain(rules).collect();
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
