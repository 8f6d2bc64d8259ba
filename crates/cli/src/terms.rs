//! The terms on which tags move, from flags and configuration.

use gantry_oci::Reference;
use gantry_release::{Error, Expectation, Expected, TagPolicy, Terms};

use crate::args::{Global, PolicyArg, TagPolicyArgs, TermsArgs};
use crate::config;
use crate::failure::usage;

/// The terms that the flags give.
pub(crate) fn terms(args: &TermsArgs) -> Result<Terms, Error> {
    if args.sign_cmd.as_ref().is_some_and(|command| command.trim().is_empty()) {
        return Err(usage("--sign-cmd is empty"));
    }
    Ok(Terms {
        policy: policy(&args.policy),
        expected: args.expect_digest.iter().map(|text| expectation(text)).collect::<Result<_, _>>()?,
        sign: args.sign_cmd.clone(),
    })
}

/// The policy that the flag gives.
fn policy(args: &TagPolicyArgs) -> Option<TagPolicy> {
    args.tag_policy.map(|policy| match policy {
        PolicyArg::Overwrite => TagPolicy::Overwrite,
        PolicyArg::Immutable => TagPolicy::Immutable,
        PolicyArg::Forward => TagPolicy::Forward,
    })
}

/// The policy that the flag gives, or else the configuration.
pub(crate) fn tag_policy(global: &Global, args: &TagPolicyArgs) -> Result<TagPolicy, Error> {
    match policy(args) {
        Some(policy) => Ok(policy),
        None => Ok(config::publish_terms(global)?.policy.unwrap_or_default()),
    }
}

fn expectation(text: &str) -> Result<Expectation, Error> {
    let refuse = |reason: &dyn std::fmt::Display| usage(format!("--expect-digest {text}: {reason}"));
    let (name, state) = match text.split_once('=') {
        Some((name, state)) => (Some(name.parse::<Reference>().map_err(|error| refuse(&error))?), state),
        None => (None, text),
    };
    let state = match state {
        "absent" => Expected::Absent,
        digest => Expected::Digest(digest.parse().map_err(|error| refuse(&error))?),
    };
    Ok(Expectation { name, state })
}

/// A name to publish under, as `--tag` says it.
pub(crate) fn tag(text: &str) -> Result<Reference, Error> {
    name(text).map_err(|message| usage(format!("--tag: {message}")))
}

/// A name for a result. It has no digest: that is the result's own.
pub(crate) fn name(text: &str) -> Result<Reference, String> {
    let reference: Reference = text.parse().map_err(|error| format!("{error}"))?;
    match reference.digest() {
        None => Ok(reference),
        Some(_) => Err(format!("`{text}` has a digest, which only the result can have")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations() {
        let digest = gantry_oci::Digest::of("x");
        let named = expectation(&format!("r.io/a:1={digest}")).unwrap();
        assert_eq!(named.name.unwrap().to_string(), "r.io/a:1");
        assert_eq!(named.state, Expected::Digest(digest));
        let all = expectation("absent").unwrap();
        assert_eq!((all.name, all.state), (None, Expected::Absent));
        for bad in ["", "latest", "r.io/a:1=", "UPPER=absent", "r.io/a:1=sha256:12"] {
            assert!(expectation(bad).is_err(), "{bad}");
        }
    }
}
