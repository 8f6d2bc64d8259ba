//! The build context, and `--build-context NAME=SOURCE`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gantry_oci::Reference;
use gantry_release::{ContextSource, Error, NamedSource, Place, PlaceError, is_address};

use crate::failure::usage;

const SCRATCH: &str = "scratch";

/// The build context. A directory is one, whatever it is called.
pub(crate) fn main(text: &str) -> ContextSource {
    match text {
        "-" => ContextSource::Stdin,
        text if is_address(text) && !Path::new(text).is_dir() => ContextSource::Remote(text.to_owned()),
        text => ContextSource::Directory(PathBuf::from(text)),
    }
}

/// All further contexts by their normalised names.
pub(crate) fn named(texts: &[String]) -> Result<BTreeMap<String, NamedSource>, Error> {
    let mut contexts = BTreeMap::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let (name, source) = parse(text)?;
        contexts.insert(name, source);
    }
    Ok(contexts)
}

fn parse(text: &str) -> Result<(String, NamedSource), Error> {
    let (name, source) = text
        .split_once('=')
        .filter(|(name, source)| !name.is_empty() && !source.is_empty())
        .ok_or_else(|| usage(format!("--build-context `{text}` is not NAME=SOURCE")))?;
    let reference: Reference =
        name.parse().map_err(|error| usage(format!("--build-context {text}: invalid name: {error}")))?;
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
    Ok((name, read_source(text, source)?))
}

fn read_source(text: &str, source: &str) -> Result<NamedSource, Error> {
    let wrong = |reason: String| usage(format!("--build-context {text}: {reason}"));
    if let Some(image) = source.strip_prefix("docker-image://") {
        return match image {
            SCRATCH => Ok(NamedSource::Scratch),
            image => match image.parse() {
                Ok(reference) => Ok(NamedSource::Image { reference, written: image.to_owned() }),
                Err(error) => Err(wrong(format!("{error}"))),
            },
        };
    }
    if source.starts_with("oci-layout://")
        && let Place::Layout(layout) = source.parse().map_err(|error: PlaceError| wrong(error.to_string()))?
    {
        return Ok(NamedSource::Layout(layout));
    }
    if source.starts_with("target:") {
        return Err(wrong("one build has no other targets to take something from".to_owned()));
    }
    Ok(match is_address(source) && !Path::new(source).is_dir() {
        true => NamedSource::Remote(source.to_owned()),
        false => NamedSource::Directory(PathBuf::from(source)),
    })
}

#[cfg(test)]
mod tests {
    use gantry_release::LayoutPlace;

    use super::*;

    #[test]
    fn contexts() {
        let remote = |text: &str| ContextSource::Remote(text.to_owned());
        assert_eq!(main("-"), ContextSource::Stdin);
        assert_eq!(main("."), ContextSource::Directory(".".into()));
        assert_eq!(main("nothing/here"), ContextSource::Directory("nothing/here".into()));
        for text in ["https://h/a.git#main", "git@h:a/b", "github.com/a/b", "ssh://h/a", "http://h/x.tar"] {
            assert_eq!(main(text), remote(text));
        }
    }

    #[test]
    fn named_contexts() {
        let layout = |path: &str, tag: Option<&str>, digest: Option<&str>| {
            NamedSource::Layout(LayoutPlace {
                path: path.into(),
                tag: tag.map(str::to_owned),
                digest: digest.map(|digest| digest.parse().unwrap()),
            })
        };
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, name, source) in [
            ("src=.".to_owned(), "src", NamedSource::Directory(".".into())),
            ("alpine:latest=docker-image://scratch".to_owned(), "alpine", NamedSource::Scratch),
            (
                "alpine:3=docker-image://r.io/a:1".to_owned(),
                "alpine:3",
                NamedSource::Image { reference: "r.io/a:1".parse().unwrap(), written: "r.io/a:1".to_owned() },
            ),
            ("docker.io/library/b=git@h:a/b".to_owned(), "b", NamedSource::Remote("git@h:a/b".into())),
            ("b=oci-layout:///a/b".to_owned(), "b", layout("/a/b", None, None)),
            ("b=oci-layout://a:v1".to_owned(), "b", layout("a", Some("v1"), None)),
            (format!("b=oci-layout://./a:v1@{digest}"), "b", layout("./a", Some("v1"), Some(&digest))),
        ] {
            assert_eq!(parse(&text).unwrap(), (name.to_owned(), source), "{text}");
        }
        let several = named(&["a=.,b=..".to_owned(), String::new(), "a=/".to_owned()]).unwrap();
        assert_eq!(several["a"], NamedSource::Directory("/".into()), "the last one counts");
        assert_eq!(several.len(), 1, "a comma is part of a path");
        for text in
            ["a", "=x", "a=", "UPPER=.", "a=target:b", "a=oci-layout://x@md5:1", "a=docker-image://UP"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
