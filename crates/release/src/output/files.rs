//! The file system of an image as files or as one archive, for a build whose result is not an image.
//!
//! Several platforms get a directory each, `linux_arm64` and so on, as with BuildKit. Attestations are files beside those
//! of their platform.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gantry_oci::Platform;

use super::Delivery;
use super::archive::{blocking, header, to_destination};
use crate::attestations::{self, AttestedFile};
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
        for file in attestations::files(delivery.gantry, built).await? {
            let target = target.join(&file.name);
            replace(&target, &file.bytes).map_err(|error| Error::io("write", &target, &error))?;
        }
    }
    Ok(())
}

/// Writes a file in place of what has its name: the result may have put a link there, which must not be followed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::create_new(path)?.write_all(bytes)
}

/// Writes the files as one archive.
pub(crate) async fn tar(delivery: &Delivery<'_>, to: &Destination) -> Result<(), Error> {
    match delivery.image.platforms.as_slice() {
        [one] if one.attestations.iter().all(|made| made.file.is_none()) => {
            write_tree(delivery, one, to.clone()).await
        }
        platforms => write_trees(delivery, platforms, to).await,
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

/// One platform's part of an archive of several.
struct Part {
    /// The directory that everything in it goes to; none if it is the only one.
    prefix: PathBuf,
    archive: PathBuf,
    attestations: Vec<AttestedFile>,
}

/// Each tree is mounted only while it is written, so several pass through a file each, as one does to which
/// attestations are added.
async fn write_trees(delivery: &Delivery<'_>, platforms: &[Built], to: &Destination) -> Result<(), Error> {
    let staging = delivery.gantry.store().temp_dir()?;
    let mut parts = Vec::new();
    for built in platforms {
        let name = directory_name(&built.report.platform);
        let archive = staging.path().join(&name);
        write_tree(delivery, built, Destination::File(archive.clone())).await?;
        let prefix = if platforms.len() > 1 { PathBuf::from(name) } else { PathBuf::new() };
        let attestations = attestations::files(delivery.gantry, built).await?;
        parts.push(Part { prefix, archive, attestations });
    }
    let (to, cancel) = (to.clone(), delivery.cancel.clone());
    blocking(move || to_destination(&to, &cancel, |out| join(&parts, out))).await
}

/// Puts archives into one, each below its prefix and followed by its attestations.
fn join(parts: &[Part], out: &mut dyn Write) -> io::Result<()> {
    let mut joined = tar::Builder::new(out);
    for Part { prefix, archive, attestations } in parts {
        let mut archive = tar::Archive::new(io::BufReader::new(fs::File::open(archive)?));
        for entry in archive.entries()? {
            let mut entry = entry?;
            // An archive has one file of a name, and what is said about the result is not the result's to say.
            let name = entry.path()?.into_owned();
            if attestations.iter().any(|file| Path::new(&file.name) == name) {
                continue;
            }
            let mut header = entry.header().clone();
            let path = prefix.join(name);
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
        for file in attestations {
            let mut header = header(file.bytes.len() as u64, 0o644);
            joined.append_data(&mut header, prefix.join(&file.name), file.bytes.as_slice())?;
        }
    }
    joined.finish()
}

fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}
