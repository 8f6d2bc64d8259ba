//! `gantry image tag`

use std::process::ExitCode;

use clap::Args;
use gantry_oci::Reference;
use gantry_release::{Error, tag};

use super::perform;
use crate::args::{Global, ProgressMode, TagPolicyArgs};
use crate::failure::usage;
use crate::terms::tag_policy;

/// Arguments of `gantry image tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    #[command(flatten)]
    policy: TagPolicyArgs,
    /// How to show progress
    #[arg(long, value_enum, default_value_t = ProgressMode::Auto, env = "BUILDKIT_PROGRESS")]
    progress: ProgressMode,
    /// Image in a registry
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Further tags, alone or after the name of the source's repository
    #[arg(value_name = "TAG", required = true)]
    tags: Vec<String>,
}

/// Runs the command.
pub(super) async fn run(global: &Global, args: &Tag) -> Result<ExitCode, Error> {
    let source: Reference = args.source.parse().map_err(|error| usage(format!("{error}")))?;
    let tags = args.tags.iter().map(|tag| tag_of(&source, tag)).collect::<Result<Vec<_>, _>>()?;
    let policy = tag_policy(global, &args.policy)?;
    perform(
        global,
        args.progress,
        async |images| tag(images, &source, &tags, policy).await,
        |_| Ok(ExitCode::SUCCESS),
    )
    .await
}

/// The tag that a text means in the source's repository.
fn tag_of(source: &Reference, text: &str) -> Result<String, Error> {
    let alone = !text.contains(['/', ':', '@']);
    let full = if alone { format!("{}:{text}", source.name()) } else { text.to_owned() };
    let reference: Reference = full.parse().map_err(|error| usage(format!("{error}")))?;
    match reference.tag() {
        Some(tag) if reference.name() == source.name() && reference.digest().is_none() => Ok(tag.to_owned()),
        _ => Err(usage(format!("`{text}` is not a tag of {}", source.name()))
            .hint("to bring an image to another repository, use `gantry image copy`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_alone_and_with_their_repository() {
        let source: Reference = "r.io/a/b:1".parse().unwrap();
        for (text, tag) in [
            ("2", Some("2")),
            ("r.io/a/b:2", Some("2")),
            ("r.io/a/b", Some("latest")),
            ("v1.2_x", Some("v1.2_x")),
            ("r.io/a/c:2", None),
            ("x y", None),
            ("c:2", None),
        ] {
            assert_eq!(tag_of(&source, text).ok().as_deref(), tag, "{text}");
        }
    }
}
