//! Images as one file: OCI layouts, and what `docker load` reads.
//!
//! Their blobs are read from the store as they are written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};

use gantry_oci::{Digest, Reference};
use gantry_store::{OCI_LAYOUT, Store};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::layout::Layout;
use super::{Delivery, docker};
use crate::error::{Class, Error};
use crate::request::Destination;
use crate::whole_file::write_file;

/// Writes an OCI layout.
pub(crate) async fn oci(delivery: &Delivery<'_>, names: &[Reference], to: &Destination) -> Result<(), Error> {
    write(delivery, Layout::of(delivery.image, names), None, to).await
}

/// Writes an OCI layout that Docker engines of all ages can load: it has a `manifest.json`, too. Such an archive is the
/// image for one platform and nothing else: its attestations are left out, as Docker leaves them out.
pub(crate) async fn docker(
    delivery: &Delivery<'_>,
    names: &[Reference],
    to: &Destination,
) -> Result<(), Error> {
    let built = delivery.image.platforms.first().expect("an image has a platform");
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let tags: Vec<_> = names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let manifest = json!([{
        "Config": path(&built.report.config.digest),
        // `null` if there are none, as Go writes it.
        "RepoTags": (!tags.is_empty()).then_some(tags),
        "Layers": built.report.layers.iter().map(|layer| path(&layer.descriptor.digest)).collect::<Vec<_>>(),
    }]);
    let manifest = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    let layout =
        Layout { root: &built.report.manifest, referrers: &[], names, created: built.created.as_deref() };
    write(delivery, layout, Some(manifest), to).await
}

async fn write(
    delivery: &Delivery<'_>,
    layout: Layout<'_>,
    docker_manifest: Option<Vec<u8>>,
    to: &Destination,
) -> Result<(), Error> {
    delivery.fetch_all().await?;
    let store = delivery.gantry.store().clone();
    let blobs = layout.blobs(&store)?;
    // Modes and order are those that BuildKit's archives have.
    let mut files = vec![("index.json", 0o644, layout.index())];
    files.extend(docker_manifest.map(|manifest| ("manifest.json", 0o644, manifest)));
    files.push(("oci-layout", 0o444, OCI_LAYOUT.as_bytes().to_vec()));
    let sink = delivery.sink(to);
    let archive = move |out: &mut dyn Write| {
        let mut archive = tar::Builder::new(out);
        append_directory(&mut archive, "blobs/")?;
        append_directory(&mut archive, "blobs/sha256/")?;
        for digest in &blobs {
            append_blob(&mut archive, &store, digest)?;
        }
        for (name, mode, bytes) in &files {
            archive.append_data(&mut header(bytes.len() as u64, *mode), name, bytes.as_slice())?;
        }
        archive.finish()
    };
    blocking(move || to_destination(&sink, archive)).await
}

fn append_blob(archive: &mut tar::Builder<&mut dyn Write>, store: &Store, digest: &Digest) -> io::Result<()> {
    let file = File::open(store.blob_path(digest))?;
    let size = file.metadata()?.len();
    archive.append_data(&mut header(size, 0o444), format!("blobs/sha256/{}", digest.hex()), file)
}

fn append_directory(archive: &mut tar::Builder<&mut dyn Write>, path: &str) -> io::Result<()> {
    let mut header = header(0, 0o755);
    header.set_entry_type(tar::EntryType::Directory);
    archive.append_data(&mut header, path, io::empty())
}

/// A header without anything that differs from run to run.
pub(crate) fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A destination, with what it takes to write to it.
pub(super) struct Sink {
    pub(super) to: Destination,
    /// Of commands that are started for it.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Ends it.
    pub(super) cancel: CancellationToken,
}

impl Delivery<'_> {
    /// A destination that is written to on another thread.
    pub(super) fn sink(&self, to: &Destination) -> Sink {
        let environment = self.gantry.environment.clone();
        Sink { to: to.clone(), environment, cancel: self.cancel.clone() }
    }
}

/// Gives `write` the destination, until that is cancelled. Blocks.
pub(super) fn to_destination(
    Sink { to, environment, cancel }: &Sink,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let written = match to {
        Destination::Stdout => {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut Watched { out: &mut out, cancel }).and_then(|()| out.flush()).map_err(|error| {
                Error::new(Class::Internal, format!("cannot write to standard output: {error}"))
            })
        }
        Destination::File(path) => {
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(|error| Error::io("create", parent, &error))?;
            }
            write_file(path, |out| write(&mut Watched { out, cancel }))
                .map_err(|error| Error::io("write", path, &error))
        }
        Destination::Docker(context) => {
            let write = |out: &mut dyn Write| write(&mut Watched { out, cancel });
            docker::load(environment, context.as_deref(), cancel, write)
        }
    };
    written.map_err(|error| match cancel.is_cancelled() {
        true => Error::new(Class::Cancelled, "stopped while writing"),
        false => error,
    })
}

/// A writer that ends with the command.
struct Watched<'a> {
    out: &'a mut dyn Write,
    cancel: &'a CancellationToken,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::other("stopped")),
            false => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Runs blocking work on a thread for such.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::new(Class::Cancelled, "stopped")),
    }
}
