//! The variables of a step: the operation's, those of proxies and secrets, and what every process has.
//!
//! Their order is BuildKit's, and runc's rules for what is set twice or to nothing are the last to apply.

use std::collections::HashSet;

use gantry_llb::pb;

/// Where programs are, for a step whose image does not say; BuildKit's.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const PATH: &str = "PATH=";
const HOME: &str = "HOME=";

/// The variables of a step but for its HOME, in BuildKit's order. Of one that is set twice the last value counts, and an
/// empty HOME is none.
pub(crate) fn variables(meta: &pb::Meta, secrets: Vec<String>) -> Vec<String> {
    let mut env = meta.env.clone();
    if let Some(proxy) = &meta.proxy_env {
        add_proxies(&mut env, proxy);
    }
    if !env.iter().any(|pair| pair.starts_with(PATH)) {
        env.push(format!("{PATH}{DEFAULT_PATH}"));
    }
    env.extend(secrets);
    let mut seen = HashSet::new();
    let name = |pair: &String| pair.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<_> = env.into_iter().rev().filter(|pair| seen.insert(name(pair))).collect();
    kept.retain(|pair| pair != HOME);
    kept.reverse();
    kept
}

fn add_proxies(env: &mut Vec<String>, proxy: &pb::ProxyEnv) {
    for (name, value) in [
        ("HTTP_PROXY", &proxy.http_proxy),
        ("HTTPS_PROXY", &proxy.https_proxy),
        ("FTP_PROXY", &proxy.ftp_proxy),
        ("NO_PROXY", &proxy.no_proxy),
        ("ALL_PROXY", &proxy.all_proxy),
    ] {
        if !value.is_empty() {
            env.push(format!("{name}={value}"));
            env.push(format!("{}={value}", name.to_lowercase()));
        }
    }
}

/// Adds HOME where it is not set.
pub(crate) fn with_home(mut env: Vec<String>, home: &str) -> Vec<String> {
    if !env.iter().any(|pair| pair.starts_with(HOME)) {
        env.push(format!("{HOME}{home}"));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_buildkits() {
        let env = |pairs: &[&str], secrets: &[&str], proxy: Option<pb::ProxyEnv>| {
            let own = |pairs: &[&str]| pairs.iter().map(ToString::to_string).collect::<Vec<_>>();
            let meta = pb::Meta { env: own(pairs), proxy_env: proxy, ..pb::Meta::default() };
            variables(&meta, own(secrets)).join(" ")
        };
        let path = format!("PATH={DEFAULT_PATH}");
        let proxy = pb::ProxyEnv { no_proxy: "n".to_owned(), ..pb::ProxyEnv::default() };
        assert_eq!(env(&[], &[], None), path);
        assert_eq!(env(&["A=1", "PATH=/b"], &["S=2"], None), "A=1 PATH=/b S=2");
        assert_eq!(env(&["PATH="], &[], None), "PATH=");
        assert_eq!(env(&["A=1", "PATH=p", "A=2"], &["PATH=q"], None), "A=2 PATH=q");
        assert_eq!(
            env(&["HOME=", "B=2"], &["S=3"], Some(proxy)),
            format!("B=2 NO_PROXY=n no_proxy=n {path} S=3")
        );
        assert_eq!(env(&["PATH=p", "HOME=/h"], &["HOME="], None), "PATH=p");
    }
}
