//! The file system of an image as files or as one archive, for a build whose result is not an image.
//!
//! Several platforms get a directory each, `linux_arm64` and so on, as with BuildKit. Attestations are files beside those
//! of their platform.

use std::collections::HashMap;
use std::fs::{self, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use gantry_oci::Platform;

use super::Delivery;
use super::archive::{blocking, header, to_destination};
use crate::attestations::{self, AttestedFile};
use crate::build::Built;
use crate::error::{Class, Error};
use crate::request::{Destination, FilesForm, OtherFiles, Output, PlatformSplit};

/// Of the directory that a result goes to, if it has to be made.
const DESTINATION_MODE: u32 = 0o700;
/// Of the directory that a platform of several has.
const PLATFORM_MODE: u32 = 0o755;
/// Of attestations among files.
const ATTESTATION_MODE: u32 = 0o600;

/// Makes sure that attestations stay in the result: the prefix of their names begins no way out of it. Among files it is
/// in no other directory, as with BuildKit: the result may have put a link there.
pub(super) fn check_prefix(output: &Output) -> Result<(), Error> {
    let (prefix, reason) = match output {
        Output::Local(_, form) if form.attestation_prefix.contains('/') => {
            (&form.attestation_prefix, "attestations are beside the files, in no directory of their own")
        }
        Output::Tar(_, form) if leads_out(&form.attestation_prefix) => {
            (&form.attestation_prefix, "attestations are in the archive")
        }
        _ => return Ok(()),
    };
    Err(Error::new(Class::Usage, format!("attestation-prefix={prefix} cannot be had: {reason}")))
}

/// Whether a name that begins so is somewhere else.
fn leads_out(prefix: &str) -> bool {
    let name = format!("{prefix}x");
    Path::new(&name).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Copies the files below `path`. They belong to whoever runs the command, as files of a build's result do.
pub(crate) async fn local(delivery: &Delivery<'_>, path: &Path, form: &FilesForm) -> Result<(), Error> {
    let platforms = &delivery.image.platforms;
    let split = match form.split {
        PlatformSplit::Several => platforms.len() > 1,
        PlatformSplit::Always => true,
        PlatformSplit::Never => false,
    };
    if !split {
        check_apart(delivery).await?;
    }
    make_private_directory(path).map_err(|error| Error::io("create", path, &error))?;
    if form.others == OtherFiles::Go {
        empty(path).map_err(|error| Error::io("empty", path, &error))?;
    }
    for built in platforms {
        let epoch = form.epoch.or(built.epoch);
        let target = match split {
            false => path.to_owned(),
            true => path.join(directory_name(&built.report.platform)),
        };
        let is_new = !target.exists();
        fs::create_dir_all(&target).map_err(|error| Error::io("create", &target, &error))?;
        delivery.gantry.engine.copy_to(&built.chain, &target, epoch, delivery.cancel.clone()).await?;
        let platform = Some(&built.report.platform).filter(|_| !split && platforms.len() > 1);
        for file in attestations::files(delivery.gantry, built).await? {
            let target = target.join(attestation_name(&file, form, platform));
            replace(&target, &file.bytes, epoch).map_err(|error| Error::io("write", &target, &error))?;
        }
        if split {
            let time = is_new.then(|| epoch.unwrap_or(0));
            finish_directory(&target, time).map_err(|error| Error::io("write", &target, &error))?;
        }
    }
    Ok(())
}

/// Makes the directory that the result goes to, and those above it. As with BuildKit, what it is for others to see is
/// for the user to say.
fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DESTINATION_MODE).create(path)
}

/// Gives a platform's directory what it has in the result; one that was there has its own time.
fn finish_directory(path: &Path, time: Option<i64>) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(PLATFORM_MODE))?;
    time.map_or(Ok(()), |time| set_times(path, time))
}

fn set_times(path: &Path, seconds: i64) -> io::Result<()> {
    let time = match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    };
    let time = time.ok_or(io::ErrorKind::InvalidInput)?;
    fs::File::open(path)?.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}

/// Removes everything in a directory.
fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// Makes sure that no two platforms have a file of one name, where all go to one directory.
async fn check_apart(delivery: &Delivery<'_>) -> Result<(), Error> {
    let platforms = &delivery.image.platforms;
    let mut seen: HashMap<PathBuf, &Platform> = HashMap::new();
    for built in platforms.iter().filter(|_| platforms.len() > 1) {
        let list = |root: &Path| {
            let mut names = Vec::new();
            list_files(root, Path::new(""), &mut names).map(|()| names)
        };
        let names = delivery.gantry.engine.with_tree(&built.chain, list).await?;
        let names = names.map_err(|error| Error::io("list the files of", Path::new("the result"), &error))?;
        for name in names {
            if let Some(other) = seen.insert(name.clone(), &built.report.platform) {
                let message = format!(
                    "`{}` is in the results for {other} and {}, which go to one directory",
                    name.display(),
                    built.report.platform
                );
                return Err(Error::new(Class::Build, message)
                    .hint("leave platform-split=false out: then each platform has a directory of its own"));
            }
        }
    }
    Ok(())
}

/// The names of everything but directories.
fn list_files(directory: &Path, prefix: &Path, names: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = prefix.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => list_files(&entry.path(), &name, names)?,
            false => names.push(name),
        }
    }
    Ok(())
}

/// The name of an attestation among the files; with its platform before the last dot where several stand side by side.
fn attestation_name(file: &AttestedFile, form: &FilesForm, platform: Option<&Platform>) -> String {
    let name = format!("{}{}", form.attestation_prefix, file.name);
    let Some(platform) = platform.map(directory_name) else { return name };
    match name.rsplit_once('.') {
        Some((stem, extension)) => format!("{stem}.{platform}.{extension}"),
        None => format!("{name}.{platform}"),
    }
}

/// Writes a file in place of what has its name: the result may have put a link there, which must not be followed.
fn replace(path: &Path, bytes: &[u8], epoch: Option<i64>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(ATTESTATION_MODE).open(path)?;
    file.write_all(bytes)?;
    epoch.map_or(Ok(()), |epoch| set_times(path, epoch))
}

/// Writes the files as one archive.
pub(crate) async fn tar(delivery: &Delivery<'_>, to: &Destination, form: &FilesForm) -> Result<(), Error> {
    match delivery.image.platforms.as_slice() {
        [one] if one.attestations.iter().all(|made| made.file.is_none()) => {
            write_tree(delivery, one, form.epoch.or(one.epoch), to.clone()).await
        }
        platforms => write_trees(delivery, platforms, to, form).await,
    }
}

async fn write_tree(
    delivery: &Delivery<'_>,
    built: &Built,
    epoch: Option<i64>,
    to: Destination,
) -> Result<(), Error> {
    let sink = delivery.sink(&to);
    let write = move |root: &Path| {
        to_destination(&sink, |out| {
            gantry_layer::write_tree(root, epoch, out).map(|_| ()).map_err(io::Error::other)
        })
    };
    delivery.gantry.engine.with_tree(&built.chain, write).await?
}

/// One platform's part of an archive of several.
struct Part {
    /// The directory that everything in it goes to; none if it is the only one.
    directory: Option<String>,
    /// The time of that directory, and of attestations.
    epoch: Option<i64>,
    archive: PathBuf,
    attestations: Vec<AttestedFile>,
}

/// Each tree is mounted only while it is written, so several pass through a file each, as one does to which
/// attestations are added.
async fn write_trees(
    delivery: &Delivery<'_>,
    platforms: &[Built],
    to: &Destination,
    form: &FilesForm,
) -> Result<(), Error> {
    let staging = delivery.gantry.store().temp_dir()?;
    let several = platforms.len() > 1;
    let mut parts = Vec::new();
    for built in platforms {
        let name = directory_name(&built.report.platform);
        let archive = staging.path().join(&name);
        let epoch = form.epoch.or(built.epoch);
        write_tree(delivery, built, epoch, Destination::File(archive.clone())).await?;
        let mut attestations = attestations::files(delivery.gantry, built).await?;
        let platform = Some(&built.report.platform).filter(|_| several && form.split == PlatformSplit::Never);
        for file in &mut attestations {
            file.name = attestation_name(file, form, platform);
        }
        parts.push(Part { directory: several.then_some(name), epoch, archive, attestations });
    }
    // An archive has its directories in the order of their names.
    parts.sort_by(|one, other| one.directory.cmp(&other.directory));
    let sink = delivery.sink(to);
    blocking(move || to_destination(&sink, |out| join(&parts, out))).await
}

/// Puts archives into one, each below its prefix and followed by its attestations.
fn join(parts: &[Part], out: &mut dyn Write) -> io::Result<()> {
    let mut joined = tar::Builder::new(out);
    for Part { directory, epoch, archive, attestations } in parts {
        let time = u64::try_from(epoch.unwrap_or(0)).unwrap_or(0);
        let prefix = PathBuf::from(directory.clone().unwrap_or_default());
        if let Some(directory) = directory {
            let mut header = header(0, PLATFORM_MODE);
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mtime(time);
            joined.append_data(&mut header, format!("{directory}/"), io::empty())?;
        }
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
            let mut header = header(file.bytes.len() as u64, ATTESTATION_MODE);
            header.set_mtime(time);
            joined.append_data(&mut header, prefix.join(&file.name), file.bytes.as_slice())?;
        }
    }
    joined.finish()
}

fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_stay_in_the_result() {
        let form = |prefix: &str| FilesForm { attestation_prefix: prefix.to_owned(), ..FilesForm::default() };
        for (prefix, as_files, in_archive) in [
            ("", true, true),
            ("a.", true, true),
            ("..", true, true),
            ("att/", false, true),
            ("../", false, false),
            ("a/../../", false, false),
            ("/", false, false),
        ] {
            let local = check_prefix(&Output::Local("out".into(), form(prefix)));
            let tar = check_prefix(&Output::Tar(Destination::Stdout, form(prefix)));
            assert_eq!((local.is_ok(), tar.is_ok()), (as_files, in_archive), "{prefix}");
        }
    }
}
