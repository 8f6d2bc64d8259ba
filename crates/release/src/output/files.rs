//! The file system of an image as files or as one archive, for a build whose result is not an image.
//!
//! Several platforms get a directory each, `linux_arm64` and so on, as with BuildKit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use gantry_oci::Platform;

use super::Delivery;
use super::archive::{blocking, to_destination};
use crate::build::Built;
use crate::error::Error;
use crate::request::Destination;

/// Copies the files below `path`. They belong to whoever runs the command, as files of a build's result do.
pub(crate) async fn local(delivery: &Delivery<'_>, path: &Path) -> Result<(), Error> {
    for built in &delivery.image.platforms {
        let target = match delivery.image.platforms.len() {
            1 => path.to_owned(),
            _ => path.join(directory_name(&built.report.platform)),
        };
        fs::create_dir_all(&target).map_err(|error| Error::io("create", &target, &error))?;
        delivery.gantry.engine.copy_to(&built.chain, &target, delivery.cancel.clone()).await?;
    }
    Ok(())
}

/// Writes the files as one archive.
pub(crate) async fn tar(delivery: &Delivery<'_>, to: &Destination) -> Result<(), Error> {
    match delivery.image.platforms.as_slice() {
        [one] => write_tree(delivery, one, to.clone()).await,
        several => write_trees(delivery, several, to).await,
    }
}

async fn write_tree(delivery: &Delivery<'_>, built: &Built, to: Destination) -> Result<(), Error> {
    let cancel = delivery.cancel.clone();
    let write = move |root: &Path| {
        to_destination(&to, &cancel, |out| {
            gantry_layer::write_tree(root, None, out).map(|_| ()).map_err(io::Error::other)
        })
    };
    delivery.gantry.engine.with_tree(&built.chain, write).await?
}

/// Each tree is mounted only while it is written, so several pass through a file each.
async fn write_trees(delivery: &Delivery<'_>, several: &[Built], to: &Destination) -> Result<(), Error> {
    let staging = delivery.gantry.store().temp_dir()?;
    let mut parts = Vec::new();
    for built in several {
        let name = directory_name(&built.report.platform);
        let part = staging.path().join(&name);
        write_tree(delivery, built, Destination::File(part.clone())).await?;
        parts.push((name, part));
    }
    let (to, cancel) = (to.clone(), delivery.cancel.clone());
    blocking(move || to_destination(&to, &cancel, |out| join(&parts, out))).await
}

/// Puts archives into one, each below its prefix.
fn join(parts: &[(String, PathBuf)], out: &mut dyn io::Write) -> io::Result<()> {
    let mut joined = tar::Builder::new(out);
    for (prefix, part) in parts {
        let prefix = Path::new(prefix);
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
