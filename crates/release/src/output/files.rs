//! The file system of an image as files or as one archive, for a build whose result is not an image.
//!
//! Several platforms get a directory each, `linux_arm64` and so on, as with BuildKit.

use std::fs;
use std::io;
use std::path::Path;

use gantry_oci::Platform;
use tokio_util::sync::CancellationToken;

use super::archive::to_destination;
use crate::build::Image;
use crate::error::Error;
use crate::gantry::Gantry;
use crate::request::Destination;

/// Copies the files below `path`. They belong to whoever runs the command, as files of a build's result do.
pub(crate) async fn local(
    gantry: &Gantry,
    image: &Image,
    path: &Path,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    for built in &image.platforms {
        let target = match image.platforms.len() {
            1 => path.to_owned(),
            _ => path.join(directory_name(&built.report.platform)),
        };
        fs::create_dir_all(&target).map_err(|error| Error::io("create", &target, &error))?;
        gantry.engine.copy_to(&built.chain, &target, cancel.clone()).await?;
    }
    Ok(())
}

/// Writes the files as one archive.
pub(crate) async fn tar(
    gantry: &Gantry,
    image: &Image,
    to: &Destination,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    // Each tree is mounted only while it is written, so several pass through a file each.
    let staging = gantry.store().temp_dir()?;
    let mut parts = Vec::new();
    for (position, built) in image.platforms.iter().enumerate() {
        let prefix = match image.platforms.len() {
            1 => None,
            _ => Some(directory_name(&built.report.platform)),
        };
        let part = staging.path().join(position.to_string());
        let target = part.clone();
        let written = gantry.engine.with_tree(&built.chain, move |root| {
            let file = fs::File::create(&target).map_err(|error| Error::io("create", &target, &error))?;
            gantry_layer::write_tree(root, None, io::BufWriter::new(file)).map_err(|error| {
                Error::new(
                    crate::error::Class::Internal,
                    format!("cannot write the file system as an archive: {error}"),
                )
            })
        });
        written.await??;
        parts.push((prefix, part));
    }
    to_destination(to.clone(), cancel.clone(), move |out| match parts.as_slice() {
        [(None, part)] => io::copy(&mut fs::File::open(part)?, out).map(|_| ()),
        parts => join(parts, out),
    })
    .await
}

/// Puts archives into one, each below its prefix.
fn join(parts: &[(Option<String>, std::path::PathBuf)], out: &mut dyn io::Write) -> io::Result<()> {
    let mut joined = tar::Builder::new(out);
    for (prefix, part) in parts {
        let prefix = Path::new(prefix.as_deref().unwrap_or_default());
        let mut archive = tar::Archive::new(io::BufReader::new(fs::File::open(part)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut header = entry.header().clone();
            let path = prefix.join(entry.path()?);
            let link = entry.link_name()?.map(|link| match header.entry_type() {
                tar::EntryType::Link => prefix.join(link),
                _ => link.into_owned(),
            });
            let extensions: Vec<(String, Vec<u8>)> = match entry.pax_extensions()? {
                Some(extensions) => extensions
                    .flatten()
                    .filter_map(|field| Some((field.key().ok()?.to_owned(), field.value_bytes().to_vec())))
                    .filter(|(key, _)| key != "path" && key != "linkpath")
                    .collect(),
                None => Vec::new(),
            };
            joined.append_pax_extensions(
                extensions.iter().map(|(key, value)| (key.as_str(), value.as_slice())),
            )?;
            match link {
                Some(link) => joined.append_link(&mut header, path, link)?,
                None => joined.append_data(&mut header, path, &mut entry)?,
            }
        }
    }
    joined.finish()
}

fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}
