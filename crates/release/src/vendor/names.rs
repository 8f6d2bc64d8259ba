//! What the copies are called: below a common prefix, the name without its first part, which is the registry.
//!
//! `docker.io/alpine:3.15` below `r.io/p/thirdparty` is `r.io/p/thirdparty/alpine:3.15`. Two images of different
//! registries can come to have one name; that is found out before anything is copied.

use std::collections::BTreeMap;

use gantry_oci::Reference;

use super::list::VendorImage;
use crate::error::{Class, Error};

/// An image of the list and what its copy is called.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) image: VendorImage,
    pub(super) destination: Reference,
    /// The destination's name below the prefix.
    pub(super) short: String,
}

/// Names the copies. An image that stands in the list twice is copied once.
pub(super) fn plan(prefix: &str, images: &[VendorImage]) -> Result<Vec<Planned>, Error> {
    let prefix = prefix.trim_end_matches('/');
    let bare: Result<Reference, _> = format!("{prefix}/x").parse();
    if let Err(error) = bare {
        return Err(Error::new(Class::Usage, format!("`{prefix}` is no place for images: {error}")));
    }
    let mut planned: BTreeMap<String, Planned> = BTreeMap::new();
    let mut order = Vec::new();
    for image in images {
        let short = short_name(image);
        let destination =
            format!("{prefix}/{short}").parse().map_err(|error: gantry_oci::ReferenceError| {
                Error::new(Class::Usage, format!("`{}` cannot be copied to `{prefix}`: {error}", image.name))
            })?;
        match planned.get(&short) {
            Some(known) if known.image.source == image.source && known.image.platforms == image.platforms => {
            }
            Some(known) => return Err(collision(&known.image, image, &destination)),
            None => {
                order.push(short.clone());
                planned.insert(short.clone(), Planned { image: image.clone(), destination, short });
            }
        }
    }
    Ok(order.iter().filter_map(|short| planned.remove(short)).collect())
}

fn short_name(image: &VendorImage) -> String {
    let path = image.name.split_once('/').map_or(image.name.as_str(), |(_, path)| path);
    match (image.source.tag(), image.source.digest()) {
        (Some(tag), _) => format!("{path}:{tag}"),
        (None, Some(digest)) => format!("{path}@{digest}"),
        (None, None) => path.to_owned(),
    }
}

fn collision(first: &VendorImage, second: &VendorImage, destination: &Reference) -> Error {
    let place = |image: &VendorImage| match image.line {
        Some(line) => format!("`{}` (line {line})", image.source),
        None => format!("`{}`", image.source),
    };
    let message = format!("{} and {} would both be `{destination}`", place(first), place(second));
    Error::new(Class::Usage, message).hint(
        "the first part of a name, its registry, is not part of the copy's name: copy one of them elsewhere",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::parse_list;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let planned = plan("us-docker.pkg.dev/p/docker-dev/thirdparty/", &parse_list("t", text).unwrap());
        planned
            .map(|planned| planned.iter().map(|one| one.destination.to_string()).collect())
            .map_err(|error| error.message)
    }

    #[test]
    fn as_the_script_named_them() {
        let prefix = "us-docker.pkg.dev/p/docker-dev/thirdparty";
        for (line, name) in [
            ("docker.io/alpine: 3.15", "alpine:3.15"),
            ("docker.io/library/alpine: 3.15", "library/alpine:3.15"),
            ("alpine: 3.15", "alpine:3.15"),
            ("localhost:5000/a/b: 1", "a/b:1"),
            ("quay.io/a/b: 1", "a/b:1"),
        ] {
            assert_eq!(names(line).unwrap(), [format!("{prefix}/{name}")], "{line}");
        }
    }

    #[test]
    fn collisions() {
        let error = names("quay.io/a/b: 1 2\nghcr.io/a/b: 2\n").unwrap_err();
        assert_eq!(
            error,
            "`quay.io/a/b:2` (line 1) and `ghcr.io/a/b:2` (line 2) would both be \
             `us-docker.pkg.dev/p/docker-dev/thirdparty/a/b:2`"
        );
        assert_eq!(names("quay.io/a/b: 1 1\nquay.io/a/b: 1\n").unwrap().len(), 1, "the same is no collision");
        assert!(names("docker.io/alpine: 1\ndocker.io/library/alpine: 1").is_ok(), "another name");
        assert!(plan("a b", &[]).is_err());
    }
}
