//! Annotations as people write them: `--annotation` in buildx's grammar, and the fields of `--output` in BuildKit's.
//!
//! ```text
//! --annotation  KEY=VALUE  |  TYPE[PLATFORM],TYPE,…:KEY=VALUE
//! --output      annotation.KEY=VALUE  |  annotation-TYPE[PLATFORM].KEY=VALUE
//! ```
//!
//! The brackets are meant literally: `manifest[linux/amd64]:key=value`. A type is `manifest`, `manifest-descriptor`,
//! `index` or `index-descriptor`; only the first two have platforms, and for the others none counts. So a key has no colon in `--annotation`.

use gantry_oci::Platform;
use gantry_release::{Annotation, AnnotationLevel, Error};

use crate::failure::usage;

/// Parses a value of `--annotation`: one annotation for each type that it names. An empty one says nothing.
fn parse(text: &str) -> Result<Vec<Annotation>, Error> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let refuse = |reason: String| usage(format!("--annotation {text}: {reason}"));
    let (key, value) = text.split_once('=').ok_or_else(|| refuse("it is not KEY=VALUE".to_owned()))?;
    let (types, key) = key.split_once(':').unwrap_or(("manifest", key));
    types.split(',').map(|kind| annotation(kind, key, value).map_err(refuse)).collect()
}

/// Parses a field of `--output`. `None` if it is no annotation.
pub(crate) fn parse_field(name: &str, value: &str) -> Option<Result<Annotation, String>> {
    let rest = name.strip_prefix("annotation")?;
    let (kind, key) = rest.split_once('.')?;
    let kind = match kind.strip_prefix('-') {
        Some(kind) => kind.to_owned(),
        None if kind.is_empty() || kind.starts_with('[') => format!("manifest{kind}"),
        None => return None,
    };
    Some(annotation(&kind, key, value))
}

/// Parses the values of all flags.
pub(crate) fn parse_all(texts: &[String]) -> Result<Vec<Annotation>, Error> {
    let parsed = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(parsed.into_iter().flatten().collect())
}

fn annotation(kind: &str, key: &str, value: &str) -> Result<Annotation, String> {
    let (name, platform) = match kind.split_once('[') {
        None => (kind, None),
        Some((name, platform)) => {
            let platform =
                platform.strip_suffix(']').ok_or_else(|| format!("`{kind}` has no closing bracket"))?;
            let platform: Platform = platform.parse().map_err(|error| format!("{error}"))?;
            (name, Some(platform))
        }
    };
    let level = match name {
        "manifest" => AnnotationLevel::Manifest,
        "manifest-descriptor" => AnnotationLevel::ManifestDescriptor,
        "index" => AnnotationLevel::Index,
        "index-descriptor" => AnnotationLevel::IndexDescriptor,
        other => {
            return Err(format!(
                "`{other}` is not a type of annotation: there are manifest, manifest-descriptor, index and index-descriptor"
            ));
        }
    };
    // An index is for all platforms, whichever one is named.
    let platform =
        platform.filter(|_| matches!(level, AnnotationLevel::Manifest | AnnotationLevel::ManifestDescriptor));
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(format!("`{key}` is not a key"));
    }
    Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(annotation: &Annotation) -> String {
        let platform = annotation.platform.as_ref().map_or(String::new(), |platform| format!("[{platform}]"));
        format!("{:?}{platform} {}={}", annotation.level, annotation.key, annotation.value)
    }

    #[test]
    fn of_the_flag() {
        for (text, annotations) in [
            ("a=b", &["Manifest a=b"][..]),
            ("a.b/c=d=e:f", &["Manifest a.b/c=d=e:f"]),
            ("a=", &["Manifest a="]),
            ("index:a=b", &["Index a=b"]),
            ("manifest[linux/amd64]:a=b", &["Manifest[linux/amd64] a=b"]),
            ("index[linux/amd64]:a=b", &["Index a=b"]),
            ("", &[]),
            (
                "index,manifest-descriptor[linux/arm/v7],index-descriptor:a=b",
                &["Index a=b", "ManifestDescriptor[linux/arm/v7] a=b", "IndexDescriptor a=b"],
            ),
        ] {
            let found: Vec<_> = parse(text).unwrap().iter().map(shown).collect();
            assert_eq!(found, annotations, "{text}");
        }
        for (text, message) in [
            ("a", "not KEY=VALUE"),
            ("=b", "not a key"),
            ("index:=b", "not a key"),
            ("config:a=b", "not a type"),
            ("manifest[linux/amd64:a=b", "no closing bracket"),
            ("manifest[nonsense]:a=b", "not a platform"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn of_an_output() {
        for (name, annotation) in [
            ("annotation.a.b", Some("Manifest a.b=v")),
            ("annotation-index.a", Some("Index a=v")),
            ("annotation-manifest[linux/amd64].a.b", Some("Manifest[linux/amd64] a.b=v")),
            ("annotation[linux/amd64].a", Some("Manifest[linux/amd64] a=v")),
            ("annotations.a", None),
            ("name", None),
        ] {
            let found = parse_field(name, "v").map(|found| shown(&found.unwrap()));
            assert_eq!(found.as_deref(), annotation, "{name}");
        }
        assert!(parse_field("annotation-config.a", "v").unwrap().is_err());
    }
}
