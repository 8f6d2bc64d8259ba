//! Which platforms a subject has, against those that were asked for.

use std::collections::BTreeSet;

use gantry_oci::Platform;

use super::report::{Check, CheckName, ImageReport};

/// Compares the platforms; each may be there once.
pub(crate) fn check(wanted: &[Platform], images: &[ImageReport]) -> Option<Check> {
    let found: Vec<&Platform> = images.iter().filter_map(|image| image.platform.as_ref()).collect();
    let set: BTreeSet<&Platform> = found.iter().copied().collect();
    let mut problems = Vec::new();
    for platform in &set {
        let count = found.iter().filter(|other| other == &platform).count();
        if count > 1 {
            problems.push(format!("{platform} is there {count} times"));
        }
    }
    if !wanted.is_empty() {
        let is_wanted = |platform: &Platform| wanted.iter().any(|wanted| is_same(wanted, platform));
        let is_found = |wanted: &&Platform| !set.iter().any(|platform| is_same(wanted, platform));
        problems.extend(wanted.iter().filter(is_found).map(|platform| format!("{platform} is missing")));
        let extra = set.iter().filter(|platform| !is_wanted(platform));
        problems.extend(extra.map(|platform| format!("{platform} is there and was not asked for")));
        let nameless = images.iter().filter(|image| image.platform.is_none()).count();
        if nameless > 0 {
            problems.push(format!("{nameless} manifests name no platform"));
        }
    }
    let names: Vec<_> = found.iter().map(ToString::to_string).collect();
    Some(match problems.is_empty() {
        true if images.is_empty() => Check::fail(CheckName::Platforms, "there is no image"),
        true if found.is_empty() => Check::skip(CheckName::Platforms, "no manifest names a platform"),
        true => Check::pass(CheckName::Platforms, names.join(", ")),
        false => Check::fail(CheckName::Platforms, problems.join("; ")),
    })
}

/// A version of the system counts only where it was asked for.
fn is_same(wanted: &Platform, found: &Platform) -> bool {
    let parts =
        |platform: &Platform| [platform.os(), platform.architecture(), platform.variant()].map(str::to_owned);
    parts(wanted) == parts(found)
        && (wanted.os_version().is_empty() || wanted.os_version() == found.os_version())
}
