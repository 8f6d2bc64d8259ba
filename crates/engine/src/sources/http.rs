//! A file from a web server: asked for with what is known of it, kept under its content.
//!
//! A pinned checksum that is here needs no server. Anything else is asked for in each build, by `If-None-Match` and
//! `If-Modified-Since`, so that a file that did not change is not sent again.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use gantry_llb::key::KeyWriter;
use gantry_llb::{HttpSource, Outcome, Vertex};
use gantry_oci::{Checksum, ChecksumHasher, Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::Arrived;
use crate::chain::LayerChain;
use crate::error::{At, Fault};
use crate::fetch::{FetchRequest, Fetched, Version};
use crate::new_layer::NewLayer;
use crate::output::Output;
use crate::secrets::Secret;
use crate::solver::Solver;

/// With a host's name behind it, the secret that is its servers' header `Authorization`; BuildKit's name.
const HEADER_SECRET: &str = "HTTP_AUTH_HEADER_";
/// The same for a token.
const TOKEN_SECRET: &str = "HTTP_AUTH_TOKEN_";

/// What is remembered of an address: what the server said of the file, and which file it was.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    etag: Option<String>,
    /// `Last-Modified`, in seconds since 1970.
    modified: Option<u64>,
    file: String,
}

impl Solver {
    /// The file as a tree with nothing else in it.
    pub(crate) async fn http(&self, vertex: &Vertex, source: &HttpSource) -> Result<Arrived, Fault> {
        if let Some(arrived) = self.pinned(source)? {
            return Ok(arrived);
        }
        self.started(vertex);
        let address = address_key(source);
        let _lock = self.job.lock(&self.engine.store, &address.hex()).await?;
        if let Some(arrived) = self.pinned(source)? {
            return Ok(arrived);
        }
        // Of a pinned file that is not here, nothing is known that could spare the download.
        let known = match &source.checksum {
            None => self.remembered(&address)?,
            Some(_) => None,
        };
        let request = self.request(source, known.as_ref().map(|(remembered, _)| remembered))?;
        let mut download = Download::start(self, source.checksum.as_ref())?;
        let fetch = async { Ok(self.network()?.fetch.fetch(&request, &mut download).await?) };
        match self.job.unless_cancelled(fetch).await? {
            Fetched::Unchanged => {
                let (remembered, tree) = known.ok_or_else(|| {
                    Fault::Graph(
                        "a server says that a file is unchanged that it was not asked about".to_owned(),
                    )
                })?;
                let identity =
                    remembered.file.parse().map_err(|_| Fault::Graph("a bad record".to_owned()))?;
                let time = remembered.modified.map(seconds);
                Ok(Arrived { tree, identity, time, outcome: Outcome::Cached })
            }
            Fetched::File { version, name } => self.keep(source, &address, download, (version, name)),
        }
    }

    /// A file whose content is known beforehand, and here.
    fn pinned(&self, source: &HttpSource) -> Result<Option<Arrived>, Fault> {
        let Some(checksum) = &source.checksum else { return Ok(None) };
        let identity = pinned_key(source, checksum);
        let tree = self.recorded_tree(&identity)?;
        Ok(tree.map(|tree| Arrived { tree, identity, time: None, outcome: Outcome::Cached }))
    }

    /// What is remembered of an address, if the file is still here.
    fn remembered(&self, address: &Digest) -> Result<Option<(Remembered, LayerChain)>, Fault> {
        let Some(text) = self.engine.store.result(address)? else { return Ok(None) };
        let Ok(remembered) = serde_json::from_str::<Remembered>(&text) else { return Ok(None) };
        let Ok(file) = remembered.file.parse() else { return Ok(None) };
        Ok(self.recorded_tree(&file)?.map(|tree| (remembered, tree)))
    }

    fn request(&self, source: &HttpSource, known: Option<&Remembered>) -> Result<FetchRequest, Fault> {
        let authorization = match &source.authorization {
            Some(id) => self.job.secrets.wanted(id, false)?,
            None => self.authorization_for(host_name(&source.url))?,
        };
        let known = known.map(|known| Version {
            etag: known.etag.clone(),
            modified: known.modified.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
        });
        Ok(FetchRequest {
            url: source.url.clone(),
            headers: source.headers.clone(),
            authorization,
            known: known.filter(|known| known.etag.is_some() || known.modified.is_some()),
        })
    }

    /// What the client's secrets say for a host: a token rather than a whole header.
    fn authorization_for(&self, host: &str) -> Result<Option<Secret>, Fault> {
        if let Some(token) = self.job.secrets.get(&format!("{TOKEN_SECRET}{host}"))? {
            return Ok(Some(Secret::new([b"Bearer ", token.reveal()].concat())));
        }
        self.job.secrets.get(&format!("{HEADER_SECRET}{host}"))
    }

    /// Makes the downloaded file a layer, and remembers what the server said of it.
    fn keep(
        &self,
        source: &HttpSource,
        address: &Digest,
        download: Download,
        (version, name): (Version, Option<String>),
    ) -> Result<Arrived, Fault> {
        let (layer, digest, checked) = download.finish();
        if let (Some(expected), Some(found)) = (&source.checksum, &checked)
            && expected != found
        {
            return Err(Fault::OtherContent {
                origin: source.shown(),
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
        let name = source.name(name.as_deref());
        let modified = version
            .modified
            .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map(|time| time.as_secs());
        let identity = match &checked {
            Some(checksum) => pinned_key(source, checksum),
            None => file_key(source, &name, &digest.to_string(), modified),
        };
        let tree = match self.recorded_tree(&identity)? {
            // It is an old acquaintance, and what was made of it can be used again.
            Some(tree) => tree,
            None => {
                place(&layer, source, &name, version.modified)?;
                let tree = layer.keep(&self.engine.store)?;
                self.record(&identity, &[Output::Tree(tree.clone())])?;
                tree
            }
        };
        let remembered = Remembered { etag: version.etag, modified, file: identity.to_string() };
        let text = serde_json::to_string(&remembered).expect("a record is plain data");
        self.engine.store.put_result(&[*address], &text)?;
        // What was asked for by its content has no time, whether it had to be fetched or not.
        let time = modified.filter(|_| source.checksum.is_none()).map(seconds);
        Ok(Arrived { tree, identity, time, outcome: Outcome::Done })
    }
}

/// The host of an address, without a port.
fn host_name(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// What the server is asked for. Under this the answer is remembered.
fn address_key(source: &HttpSource) -> Digest {
    let mut key = KeyWriter::new("gantry http address 2");
    key.part(source.shown()).part(source.filename.as_deref().unwrap_or_default());
    look(&mut key, source);
    key.finish()
}

/// What the file is. Its time, which a copy keeps, is part of it, unless it was asked for by its content.
fn file_key(source: &HttpSource, name: &str, content: &str, modified: Option<u64>) -> Digest {
    let mut key = KeyWriter::new("gantry http file 2");
    key.part(name).part(content).number(modified.is_some().into()).number(modified.unwrap_or_default());
    look(&mut key, source);
    key.finish()
}

/// What a file is whose content is known before the server was asked, and so before it can have given it a name.
fn pinned_key(source: &HttpSource, checksum: &Checksum) -> Digest {
    file_key(source, &source.name(None), &checksum.to_string(), None)
}

fn look(key: &mut KeyWriter, source: &HttpSource) {
    let (uid, gid) = source.owner;
    key.number(source.mode.into()).number(uid.into()).number(gid.into());
    key.part(source.authorization.as_deref().unwrap_or_default()).number(source.headers.len() as u64);
    for (name, value) in &source.headers {
        key.part(name).part(value);
    }
}

/// A file on its way into a layer of its own.
#[derive(Debug)]
struct Download {
    layer: NewLayer,
    file: File,
    hasher: Hasher,
    /// By the algorithm of the checksum that the file has to have.
    checker: Option<ChecksumHasher>,
}

/// What a file is called while it has no name yet. It is alone in its layer.
const UNFINISHED: &str = "download";

impl Download {
    fn start(solver: &Solver, checksum: Option<&Checksum>) -> Result<Self, Fault> {
        let layer = NewLayer::start(&solver.engine.store, &LayerChain::default())?;
        let path = layer.upper().join(UNFINISHED);
        let file = File::create_new(&path).at("create", &path)?;
        Ok(Self { layer, file, hasher: Hasher::new(), checker: checksum.map(Checksum::hasher) })
    }

    fn finish(self) -> (NewLayer, Digest, Option<Checksum>) {
        (self.layer, self.hasher.finish(), self.checker.map(ChecksumHasher::finish))
    }
}

impl Write for Download {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        match &mut self.checker {
            Some(checker) => checker.update(&bytes[..written]),
            None => self.hasher.update(&bytes[..written]),
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Gives the file its name, owner, mode and time.
fn place(
    layer: &NewLayer,
    source: &HttpSource,
    name: &str,
    modified: Option<SystemTime>,
) -> Result<(), Fault> {
    let path = layer.upper().join(name);
    fs::rename(layer.upper().join(UNFINISHED), &path).at("rename a download to", &path)?;
    let (uid, gid) = source.owner;
    chown(&path, Some(uid), Some(gid)).at("set the owner of", &path)?;
    fs::set_permissions(&path, Permissions::from_mode(source.mode)).at("set the mode of", &path)?;
    set_times(&path, modified.unwrap_or(SystemTime::UNIX_EPOCH))
}

fn set_times(path: &Path, time: SystemTime) -> Result<(), Fault> {
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    File::open(path).and_then(|file| file.set_times(times)).at("set the time of", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_what_stands_around_them() {
        for (url, host) in [
            ("https://h.test/a", "h.test"),
            ("http://u:p@h.test:80?x=@y", "h.test"),
            ("https://[::1]:8443/a", "::1"),
            ("https://h.test", "h.test"),
        ] {
            assert_eq!(host_name(url), host);
        }
    }
}
