//! What flags say of registries.

use gantry_release::{
    Connection, Error, HostPattern, HostRule, HostSettings, Location, Mirror, Origin, PlainHttp, Rights,
    canonical_host,
};

use crate::args::Global;
use crate::failure::usage;

/// Rules from flags.
pub(super) fn rules(global: &Global) -> Result<Vec<HostRule>, Error> {
    let mut rules = mirrors(&global.registry_mirror)?;
    rules.extend(global.plain_http.iter().map(|host| {
        let connection = Connection { http: Some(PlainHttp::Yes), ..Connection::default() };
        let settings = HostSettings { connection, ..HostSettings::default() };
        rule(host, "--plain-http", settings)
    }));
    Ok(rules)
}

/// `[HOST=]MIRROR`, of Docker Hub without a host; those of one host in the order in which they were given.
fn mirrors(texts: &[String]) -> Result<Vec<HostRule>, Error> {
    let mut rules: Vec<HostRule> = Vec::new();
    for text in texts {
        let (host, mirror) = text.split_once('=').unwrap_or(("docker.io", text));
        let location =
            Location::of_names(mirror).map_err(|error| usage(format!("--registry-mirror: {error}")))?;
        if host.is_empty() {
            return Err(usage(format!("--registry-mirror: `{text}` names no registry before the `=`")));
        }
        let mirror =
            Mirror { location, rights: Rights::READ, proxy: false, connection: Connection::default() };
        let new = rule(host, "--registry-mirror", HostSettings::default());
        let position = rules.iter().position(|rule| rule.pattern == new.pattern).unwrap_or(rules.len());
        if position == rules.len() {
            rules.push(new);
        }
        rules[position].settings.mirrors.get_or_insert_default().push(mirror);
    }
    Ok(rules)
}

fn rule(host: &str, flag: &str, settings: HostSettings) -> HostRule {
    let pattern = HostPattern::Prefix(canonical_host(host).to_owned());
    HostRule { pattern, origin: Origin::new(flag, ""), settings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_of_several_registries() {
        let texts = ["mirror.gcr.io", "quay.io=m.test/quay", "index.docker.io=http://second.test:5000"];
        let rules = mirrors(&texts.map(str::to_owned)).unwrap();
        let shown: Vec<_> = rules
            .iter()
            .map(|rule| {
                let mirrors = rule.settings.mirrors.as_ref().unwrap().iter();
                (rule.pattern.clone(), mirrors.map(|one| one.location.to_string()).collect::<Vec<_>>())
            })
            .collect();
        let prefix = |host: &str| HostPattern::Prefix(host.to_owned());
        let expected = [
            (prefix("docker.io"), vec!["mirror.gcr.io/v2/".to_owned(), "second.test:5000/v2/".to_owned()]),
            (prefix("quay.io"), vec!["m.test/v2/quay".to_owned()]),
        ];
        assert_eq!(shown, expected);
        for text in ["=m.test", "ftp://m.test", "quay.io="] {
            assert!(mirrors(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}
