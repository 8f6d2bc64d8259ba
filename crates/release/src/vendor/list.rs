//! The list of images, `thirdparty.txt`:
//!
//! ```text
//! # base images
//! docker.io/alpine: 3.19 3.20
//! localhost:5000/team/tool: 1@sha256:…
//!   ghcr.io/owner/app: latest      # after a space, too
//! quay.io/a/b@sha256:…
//! ```
//!
//! One image a line: its name, a colon, its tags. A tag may be pinned to a digest; a digest alone is an image without a
//! tag.

use gantry_oci::{Digest, Platform, Reference};

use crate::error::{Class, Error, Excerpt};

/// One image of the list: one tag of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorImage {
    /// The name as it was written, without tag and digest.
    pub name: String,
    /// What to copy.
    pub source: Reference,
    /// Only these platforms; the command's where there is none.
    pub platforms: Vec<Platform>,
    /// Where it stands, for messages.
    pub line: Option<u32>,
}

impl VendorImage {
    /// One tag of an image: `tag`, `tag@sha256:…`, `@sha256:…` or `sha256:…`.
    ///
    /// # Errors
    /// Why it is none.
    pub fn new(name: &str, tag: &str, platforms: Vec<Platform>) -> Result<Self, String> {
        let pinned = tag.strip_prefix('@').unwrap_or(tag);
        let text = match pinned.parse::<Digest>() {
            Ok(digest) => format!("{name}@{digest}"),
            Err(_) => format!("{name}:{tag}"),
        };
        let bare: Reference = name.parse().map_err(|error: gantry_oci::ReferenceError| error.to_string())?;
        if bare.digest().is_some() || name.ends_with(&format!(":{}", bare.tag().unwrap_or_default())) {
            return Err(format!("`{name}` is a name that has a tag or digest of its own"));
        }
        let source = text.parse().map_err(|error: gantry_oci::ReferenceError| error.to_string())?;
        Ok(Self { name: name.to_owned(), source, platforms, line: None })
    }

    /// The tag, or the digest where there is none, as the list has it.
    pub fn tag(&self) -> String {
        match (self.source.tag(), self.source.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, digest) => digest.map(|digest| format!("@{digest}")).unwrap_or_default(),
        }
    }
}

/// Reads a list. `file` is its name, for messages.
pub fn parse_list(file: &str, text: &str) -> Result<Vec<VendorImage>, Error> {
    let mut images = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let of_line = parse_line(line).map_err(|(message, hint)| {
            let excerpt = Excerpt { file: file.to_owned(), text: text.into(), lines: number..=number };
            let error = Error::new(Class::Usage, message).at(excerpt);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
        images.extend(of_line.into_iter().map(|image| VendorImage { line: Some(number), ..image }));
    }
    Ok(images)
}

type Mistake = (String, Option<String>);

fn parse_line(line: &str) -> Result<Vec<VendorImage>, Mistake> {
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
    let Some(first) = words.next() else { return Ok(Vec::new()) };
    let rest: Vec<&str> = words.collect();
    let (name, tags) = match (first.strip_suffix(':'), split_tag(first)) {
        (Some(name), _) => (name, rest),
        (None, Some((name, tag))) => (name, std::iter::once(tag).chain(rest).collect()),
        (None, None) => return Err(without_colon(first, &rest)),
    };
    if tags.is_empty() {
        return Err((
            format!("`{name}` has no tags"),
            Some(format!("write them after the colon: `{name}: latest`")),
        ));
    }
    tags.into_iter()
        .map(|tag| {
            VendorImage::new(name, tag, Vec::new()).map_err(|message| (message, suggestion(name, tag)))
        })
        .collect()
}

/// `name:tag` or `name@digest` in one word.
fn split_tag(word: &str) -> Option<(&str, &str)> {
    let from = word.rfind('/').map_or(0, |slash| slash + 1);
    let at = word[from..].find(['@', ':'])? + from;
    let skip = usize::from(word.as_bytes()[at] == b':');
    Some((&word[..at], &word[at + skip..]))
}

fn without_colon(first: &str, rest: &[&str]) -> Mistake {
    let (name, tags) = match (first, rest) {
        ("-" | "*", [name, tags @ ..]) => (name.trim_end_matches(':'), tags),
        (name, [":" | "=" | "->", tags @ ..]) => (name, tags),
        (name, tags) => (name, tags),
    };
    let tags = if tags.is_empty() { "latest".to_owned() } else { tags.join(" ") };
    let message = format!("`{first}` is not followed by a colon and tags");
    (message, Some(format!("did you mean `{name}: {tags}`?")))
}

/// What is likely meant instead of a name or tag that is none.
fn suggestion(name: &str, tag: &str) -> Option<String> {
    let fixed_name = name
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_start_matches("docker://")
        .trim_matches(['"', '\'', '/', ','])
        .to_lowercase();
    let fixed_tag = tag.trim_matches(['"', '\'', ',', ';', '[', ']', ':']);
    let changed = (fixed_name.as_str(), fixed_tag) != (name, tag);
    let good = VendorImage::new(&fixed_name, fixed_tag, Vec::new()).is_ok();
    (changed && good).then(|| format!("did you mean `{fixed_name}: {fixed_tag}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<String> {
        let images = parse_list("thirdparty.txt", text).unwrap();
        images.iter().map(|image| format!("{} {}", image.name, image.source)).collect()
    }

    #[test]
    fn lists() {
        let digest = Digest::of("x");
        for (line, expected) in [
            ("docker.io/alpine: 3.15", vec!["docker.io/alpine docker.io/library/alpine:3.15".to_owned()]),
            ("  a/b:  1\t2  ", vec!["a/b docker.io/a/b:1".into(), "a/b docker.io/a/b:2".into()]),
            (
                "localhost:5000/x: 1 2",
                vec![
                    "localhost:5000/x localhost:5000/x:1".into(),
                    "localhost:5000/x localhost:5000/x:2".into(),
                ],
            ),
            ("localhost:5000/x:1", vec!["localhost:5000/x localhost:5000/x:1".into()]),
            ("a:1 2 # 3", vec!["a docker.io/library/a:1".into(), "a docker.io/library/a:2".into()]),
            ("# a: 1", vec![]),
            ("   # a: 1", vec![]),
            ("", vec![]),
            (" \t ", vec![]),
            (&format!("q.io/a: 1@{digest}"), vec![format!("q.io/a q.io/a:1@{digest}")]),
            (&format!("q.io/a: @{digest} {digest}"), vec![format!("q.io/a q.io/a@{digest}"); 2]),
            (&format!("q.io/a@{digest}"), vec![format!("q.io/a q.io/a@{digest}")]),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
        assert_eq!(parsed("a: 1\r\n\r\nb: 2\r\n").len(), 2);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (line, message, hint) in [
            (
                "docker.io/alpine 3.15",
                "`docker.io/alpine` is not followed by a colon and tags",
                "did you mean `docker.io/alpine: 3.15`?",
            ),
            ("- alpine: 3.15", "`-` is not followed by a colon and tags", "did you mean `alpine: 3.15`?"),
            ("alpine = 3.15", "`alpine` is not followed by a colon and tags", "did you mean `alpine: 3.15`?"),
            ("alpine:", "`alpine` has no tags", "write them after the colon: `alpine: latest`"),
            (
                "r.io/Alpine: 1",
                "`r.io/Alpine` is not an image reference: a repository name is lower-case",
                "did you mean `r.io/alpine: 1`?",
            ),
            (
                "alpine: 1, 2",
                "`alpine:1,` is not an image reference: its tag has a character that is not allowed",
                "did you mean `alpine: 1`?",
            ),
            (
                "https://r.io/a: 1",
                "`https://r.io/a` is not an image reference: its port is not a number between 0 and 65535",
                "did you mean `r.io/a: 1`?",
            ),
        ] {
            let text = format!("# list\n\n{line}\n");
            let error = parse_list("thirdparty.txt", &text).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.hints.first().map_or("", String::as_str)),
                (message, hint)
            );
            assert_eq!((error.class, error.excerpt.unwrap().lines), (Class::Usage, 3..=3), "{line}");
        }
    }
}
