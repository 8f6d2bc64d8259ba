//! podman's, skopeo's and buildah's `registries.conf`, version 2, from text to rules.
//!
//! Short names are not resolved by its lists: here they are Docker Hub's, as docker and BuildKit have it.

use std::path::Path;

use serde::Deserialize;

use super::hosts_toml::describe;
use super::{
    Connection, HostPattern, HostRule, HostSettings, Location, Mirror, Origin, PlainHttp, Rights,
    canonical_host,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    registry: Vec<Registry>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: Option<bool>,
    blocked: Option<bool>,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirrored>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirrored {
    location: String,
    insecure: Option<bool>,
    pull_from_mirror: String,
}

/// Reads a file. Rules of longer prefixes come first. The error is a reason.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<HostRule>, String> {
    let file: File = toml::from_str(text).map_err(|error| describe(&error, text))?;
    let rules = file.registry.into_iter().map(|registry| rule(registry, path));
    let mut rules = rules.collect::<Result<Vec<_>, _>>()?;
    rules.sort_by_key(|rule| std::cmp::Reverse(length(&rule.pattern)));
    Ok(rules)
}

/// How much of a name a pattern says.
pub(super) fn length(pattern: &HostPattern) -> usize {
    match pattern {
        HostPattern::Prefix(prefix) => prefix.len(),
        HostPattern::Subdomains(domain) => domain.len(),
        HostPattern::Any => 0,
    }
}

fn rule(registry: Registry, path: &Path) -> Result<HostRule, String> {
    let prefix = if registry.prefix.is_empty() { &registry.location } else { &registry.prefix };
    if prefix.is_empty() {
        return Err("a `[[registry]]` has neither `prefix` nor `location`".to_owned());
    }
    let pattern = pattern(prefix);
    let moved = !registry.location.is_empty() && registry.location != *prefix;
    let location = match moved {
        true => Some(Location::of_names(&registry.location).map_err(|error| error.to_string())?),
        false => None,
    };
    let by_digest = registry.mirror_by_digest_only;
    let mirrors = registry.mirror.iter().map(|mirror| self::mirror(mirror, by_digest));
    let mirrors = mirrors.collect::<Result<Vec<_>, _>>()?;
    let settings = HostSettings {
        connection: connection(registry.insecure),
        mirrors: (!mirrors.is_empty()).then_some(mirrors),
        location,
        blocked: registry.blocked,
    };
    let origin = Origin::new(path.display(), format!("[[registry]] {prefix}"));
    Ok(HostRule { pattern, origin, settings })
}

fn pattern(prefix: &str) -> HostPattern {
    if let Some(domain) = prefix.strip_prefix("*.") {
        return HostPattern::Subdomains(domain.to_owned());
    }
    let prefix = prefix.trim_end_matches('/');
    let (host, path) = prefix.split_at(prefix.find('/').unwrap_or(prefix.len()));
    HostPattern::Prefix(format!("{}{path}", canonical_host(host)))
}

fn mirror(mirror: &Mirrored, by_digest_only: bool) -> Result<Mirror, String> {
    let rights = match mirror.pull_from_mirror.as_str() {
        "digest-only" => Rights::BY_DIGEST,
        "" if by_digest_only => Rights::BY_DIGEST,
        // A tag is resolved first and its content then read by digest, so that `tag-only` has to allow both.
        "" | "all" | "tag-only" => Rights::READ,
        other => return Err(format!("`pull-from-mirror` cannot be `{other}`")),
    };
    Ok(Mirror {
        location: Location::of_names(&mirror.location).map_err(|error| error.to_string())?,
        rights,
        proxy: false,
        connection: connection(mirror.insecure),
    })
}

/// `insecure` stands for both: certificates do not matter, and TLS does not.
fn connection(insecure: Option<bool>) -> Connection {
    let http = insecure.filter(|insecure| *insecure).map(|_| PlainHttp::WithoutTls);
    Connection { http, skip_verify: insecure, ..Connection::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the manual of the format, and from what OpenShift writes.
    const SAMPLE: &str = r#"
        unqualified-search-registries = ["example.com"]
        short-name-mode = "enforcing"
        credential-helpers = ["containers-auth.json"]

        [[registry]]
        prefix = "example.com/foo"
        insecure = false
        blocked = false
        location = "internal-registry-for-example.com/bar"

        [[registry.mirror]]
        location = "example-mirror-0.local/mirror-for-foo"
        [[registry.mirror]]
        location = "example-mirror-1.local/mirrors/foo"
        insecure = true
        pull-from-mirror = "digest-only"

        [[registry]]
        prefix = "*.blocked.test"
        blocked = true

        [[registry]]
        location = "registry.redhat.io/openshift4/ose-cli"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "mirror.corp:5000/ose-cli"
    "#;

    #[test]
    fn prefixes_locations_and_mirrors() {
        let rules = parse(SAMPLE, Path::new("/etc/containers/registries.conf")).unwrap();
        let patterns: Vec<_> = rules.iter().map(|rule| rule.pattern.clone()).collect();
        assert_eq!(
            patterns,
            [
                HostPattern::Prefix("registry.redhat.io/openshift4/ose-cli".to_owned()),
                HostPattern::Prefix("example.com/foo".to_owned()),
                HostPattern::Subdomains("blocked.test".to_owned()),
            ]
        );
        let [redhat, example, blocked] = [0, 1, 2].map(|index| &rules[index].settings);
        assert_eq!(redhat.location, None);
        assert_eq!(redhat.mirrors.as_ref().unwrap()[0].rights, Rights::BY_DIGEST);
        assert_eq!(
            example.location.as_ref().unwrap().to_string(),
            "internal-registry-for-example.com/v2/bar"
        );
        let mirrors = example.mirrors.as_ref().unwrap();
        assert_eq!((mirrors[0].rights, mirrors[0].connection.skip_verify), (Rights::READ, None));
        assert_eq!((mirrors[1].rights, mirrors[1].connection.skip_verify), (Rights::BY_DIGEST, Some(true)));
        assert_eq!(mirrors[1].connection.http, Some(PlainHttp::WithoutTls));
        assert_eq!(blocked.blocked, Some(true));
    }

    #[test]
    fn mistakes_are_reasons() {
        for (text, reason) in [
            ("[[registry]]\nblocked = true", "neither `prefix` nor `location`"),
            ("[[registry]]\nlocation = \"a.test\"\nblocked = 3", "line 3: invalid type"),
            (
                "[[registry]]\nlocation='a.test'\n[[registry.mirror]]\nlocation='b.test'\npull-from-mirror='x'",
                "cannot be `x`",
            ),
        ] {
            let error = parse(text, Path::new("x")).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
