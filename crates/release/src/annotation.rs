//! Annotations that a build adds to its image, on four levels: of the manifests, of their entries in the index, of the
//! index, and of what names the index.
//!
//! An image has one set of them, whichever output they were given with: what is pushed is what is in the archive.

use std::collections::BTreeMap;

use gantry_oci::Platform;

use crate::error::{Class, Error};

/// Where an image, a layout or an index tells when it was made (OCI image specification, annotations). As in a config it is no
/// time of day, so that equal builds give equal bytes.
pub(crate) const CREATED: &str = "org.opencontainers.image.created";

/// Where an annotation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// Into the manifest.
    Manifest,
    /// To the manifest's descriptor: the entry in the index.
    ManifestDescriptor,
    /// Into the index.
    Index,
    /// To the index's descriptor: the entry in a layout's `index.json`.
    IndexDescriptor,
}

/// One annotation on one level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// Where it goes.
    pub level: AnnotationLevel,
    /// Which image it is for; every one if none is named. An index has no platform.
    pub platform: Option<Platform>,
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Finds annotations that no part of the image could have.
pub(crate) fn check(annotations: &[Annotation], platforms: &[Platform]) -> Result<(), Error> {
    use AnnotationLevel::{Index, IndexDescriptor};
    for annotation in annotations {
        let key = &annotation.key;
        // Who builds the platforms of an image one by one gives all builds the same flags.
        let several = platforms.len() > 1;
        if let Some(platform) =
            annotation.platform.as_ref().filter(|platform| several && !platforms.contains(platform))
        {
            let message = format!("annotation `{key}` is for {platform}, for which nothing is built");
            return Err(Error::new(Class::Usage, message));
        }
        if matches!(annotation.level, Index | IndexDescriptor) && platforms.len() == 1 {
            let message =
                format!("annotation `{key}` is for an index, and an image for one platform has none");
            return Err(Error::new(Class::Usage, message)
                .hint("annotate the manifest: `--annotation manifest:KEY=VALUE`"));
        }
    }
    Ok(())
}

/// Finds annotations that no part of an image with Docker's media types could have.
pub(crate) fn check_docker(annotations: &[Annotation]) -> Result<(), Error> {
    match annotations.iter().find(|one| one.level != AnnotationLevel::Manifest) {
        None => Ok(()),
        Some(Annotation { key, .. }) => Err(Error::new(
            Class::Usage,
            format!("annotation `{key}` is for an index or a descriptor, and Docker's have none"),
        )
        .hint("leave oci-mediatypes=false out, or annotate the manifest")),
    }
}

/// The annotations of one level. Those for one platform count more than those for all, and later ones more than earlier.
pub(crate) fn at(
    annotations: &[Annotation],
    level: AnnotationLevel,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let of_level = || annotations.iter().filter(|one| one.level == level);
    let general = of_level().filter(|one| one.platform.is_none());
    let special = of_level().filter(|one| one.platform.is_some() && one.platform.as_ref() == platform);
    general.chain(special).map(|one| (one.key.clone(), one.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(level: AnnotationLevel, platform: Option<&str>, key: &str, value: &str) -> Annotation {
        let platform = platform.map(|text| text.parse().unwrap());
        Annotation { level, platform, key: key.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn the_special_counts_more_than_the_general() {
        use AnnotationLevel::{Index, Manifest};
        let all = [
            annotation(Manifest, Some("linux/arm64"), "a", "special"),
            annotation(Manifest, None, "a", "general"),
            annotation(Manifest, None, "b", "first"),
            annotation(Manifest, None, "b", "last"),
            annotation(Index, None, "c", "index"),
        ];
        let at = |level, platform: Option<&str>| -> Vec<String> {
            let platform = platform.map(|text| text.parse().unwrap());
            at(&all, level, platform.as_ref()).iter().map(|(key, value)| format!("{key}={value}")).collect()
        };
        assert_eq!(at(Manifest, Some("linux/arm64")), ["a=special", "b=last"]);
        assert_eq!(at(Manifest, Some("linux/amd64")), ["a=general", "b=last"]);
        assert_eq!(at(Index, None), ["c=index"]);
        assert_eq!(at(AnnotationLevel::IndexDescriptor, None), Vec::<String>::new());
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let platforms = ["linux/amd64", "linux/arm64"].map(|text| text.parse::<Platform>().unwrap());
        for (annotation, platforms, good) in [
            (annotation(AnnotationLevel::Index, None, "a", ""), &platforms[..], true),
            (annotation(AnnotationLevel::Index, None, "a", ""), &platforms[..1], false),
            (annotation(AnnotationLevel::Manifest, Some("linux/arm64"), "a", ""), &platforms[..], true),
            (annotation(AnnotationLevel::Manifest, Some("linux/arm64"), "a", ""), &platforms[..1], true),
            (annotation(AnnotationLevel::Manifest, Some("linux/s390x"), "a", ""), &platforms[..], false),
        ] {
            assert_eq!(check(std::slice::from_ref(&annotation), platforms).is_ok(), good, "{annotation:?}");
        }
    }
}
