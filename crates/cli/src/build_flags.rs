//! The values of those flags of `gantry build` that have a grammar of their own, as `docker buildx` reads them. A file for
//! each.

mod context;
mod deletion;
mod extra_host;
mod secret;
mod size;
mod ssh;
mod ulimit;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use gantry_release::{CacheUse, Entitlement, Error, NetworkMode, RunOptions, Secrets, StepOptions};

use crate::args::Build;
use crate::failure::usage;
use deletion::LOCAL_DELETE;

pub(crate) use context::{main as main_context, named as named_contexts};
pub(crate) use deletion::check as check_deleted;

/// What steps are given and may do, from all the flags that say so.
pub(crate) fn steps(args: &Build) -> Result<StepOptions, Error> {
    let allowed = args.allow.iter().filter(|text| !text.is_empty() && *text != LOCAL_DELETE);
    let mut allow = allowed.map(|text| entitlement(text)).collect::<Result<BTreeSet<_>, _>>()?;
    let network = network(args.network.as_deref())?;
    if network == Some(NetworkMode::Host) {
        // Who gives it to all steps allows it.
        allow.insert(Entitlement::HostNetwork);
    }
    let run = RunOptions {
        network,
        extra_hosts: args.add_host.iter().map(|text| extra_host::parse(text)).collect::<Result<_, _>>()?,
        shm_size: args.shm_size.as_deref().map(size::parse).transpose()?.unwrap_or_default(),
        ulimits: args.ulimit.iter().map(|text| ulimit::parse(text)).collect::<Result<_, _>>()?,
        cgroup_parent: args.cgroup_parent.clone().unwrap_or_default(),
    };
    let variable = |name: &str| env::var_os(name);
    let secrets =
        args.secret.iter().filter(|text| !text.is_empty()).map(|text| secret::parse(text, variable));
    let mut agents = BTreeMap::new();
    for text in args.ssh.iter().filter(|text| !text.is_empty()) {
        let (id, paths) = ssh::parse(text, variable)?;
        if agents.insert(id.clone(), paths).is_some() {
            return Err(usage(format!("--ssh gives `{id}` twice")));
        }
    }
    Ok(StepOptions { run, secrets: secrets.collect::<Result<Secrets, _>>()?, ssh: agents, allow })
}

/// Which earlier results may be used.
pub(crate) fn cache(args: &Build) -> Result<CacheUse, Error> {
    let stages: Vec<String> =
        args.no_cache_filter.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
    match (args.no_cache, stages.is_empty()) {
        (true, false) => Err(usage("--no-cache leaves nothing for --no-cache-filter to leave out")),
        (true, true) => Ok(CacheUse::Ignore),
        (false, true) => Ok(CacheUse::Use),
        (false, false) => Ok(CacheUse::IgnoreStages(stages)),
    }
}

fn network(text: Option<&str>) -> Result<Option<NetworkMode>, Error> {
    match text {
        None | Some("" | "default") => Ok(None),
        Some("none") => Ok(Some(NetworkMode::None)),
        Some("host") => Ok(Some(NetworkMode::Host)),
        Some(other) => Err(usage(format!("--network is default, none or host, not `{other}`"))
            .hint("give it to single steps with `RUN --network=…`")),
    }
}

fn entitlement(text: &str) -> Result<Entitlement, Error> {
    [Entitlement::Insecure, Entitlement::HostNetwork]
        .into_iter()
        .find(|entitlement| entitlement.to_string() == text)
        .ok_or_else(|| {
            usage(format!("--allow knows security.insecure, network.host and {LOCAL_DELETE}, not `{text}`"))
        })
}

/// The comma-separated fields of a value, with CSV's quotes.
fn fields(flag: &str, text: &str) -> Result<Vec<String>, Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let record = reader.records().next().ok_or_else(|| usage(format!("{flag} is empty")))?;
    let record = record.map_err(|error| usage(format!("{flag} {text}: {error}")))?;
    Ok(record.iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_entitlements() {
        assert_eq!(network(Some("default")).unwrap(), None);
        assert_eq!(network(Some("host")).unwrap(), Some(NetworkMode::Host));
        assert!(network(Some("bridge")).is_err());
        assert_eq!(entitlement("network.host").unwrap(), Entitlement::HostNetwork);
        assert!(entitlement("device").is_err());
    }
}
