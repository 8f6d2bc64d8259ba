//! Bringing the copies up to date, or only looking whether they are.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use gantry_oci::{Descriptor, Digest};

use super::list::VendorImage;
use super::lock::{Entry, Lock, key};
use super::names::{Planned, plan};
use crate::copy::{Attached, Copier, CopyRequest, CopyState, IMAGES_AT_ONCE, PlatformForm, Platforms, Trust};
use crate::error::{Class, Error};
use crate::image::source::Source;
use crate::image::target::{Board, Target};
use crate::image::{Images, Place};
use crate::publish::TagPolicy;

/// What to vendor.
#[derive(Debug, Clone)]
pub struct VendorRequest {
    /// The images.
    pub images: Vec<VendorImage>,
    /// What the copies' names begin with.
    pub to: String,
    /// Only some platforms, of images that do not say themselves which.
    pub platforms: Option<Platforms>,
    /// How the platforms of images that say themselves which are copied.
    pub form: PlatformForm,
    /// What goes with the images.
    pub attached: Attached,
    /// What is to be done.
    pub mode: VendorMode,
    /// What was copied before.
    pub lock: Option<Lock>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VendorMode {
    /// Copy what has changed.
    Update,
    /// Copy what the destination lacks of what the lock has; a source that has moved since is an error.
    Locked,
    /// Change nothing, and tell what is out of date.
    Check,
}

/// What was found and done.
#[derive(Debug)]
pub struct VendorReport {
    /// One entry per image, in the order of the list.
    pub results: Vec<VendorResult>,
    /// What is copied now. Of an image that failed, what was copied before.
    pub lock: Lock,
}

/// One image.
#[derive(Debug)]
pub struct VendorResult {
    /// Its name as the list has it.
    pub name: String,
    /// Its tag, or its digest after an `@`.
    pub tag: String,
    /// What the source is now.
    pub source_digest: Option<Digest>,
    /// What the copy is called.
    pub destination: String,
    /// What the copy is now.
    pub digest: Option<Digest>,
    /// How it stands.
    pub state: VendorState,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Blobs that were mounted.
    pub mounts: u64,
    /// Why it failed.
    pub error: Option<Error>,
}

/// How an image stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VendorState {
    /// The copy is what the source is.
    UpToDate,
    /// It is now.
    Copied,
    /// The copy is something else; or, with a lock to keep to, the source is.
    Drifted,
    /// There is no copy.
    Absent,
    /// See the error.
    Failed,
}

impl VendorReport {
    /// The error that says what kind of failure the whole is: the gravest of the images'.
    pub fn worst(&self) -> Option<&Error> {
        self.results
            .iter()
            .filter_map(|result| result.error.as_ref())
            .max_by_key(|error| gravity(error.class))
    }

    /// Whether there is something that another mode would have copied.
    pub fn is_out_of_date(&self) -> bool {
        let stale =
            |result: &VendorResult| matches!(result.state, VendorState::Drifted | VendorState::Absent);
        self.results.iter().any(stale)
    }
}

/// What says most about what is wrong: a fault of ours, then what keeps everything from working, then what is about one
/// image.
fn gravity(class: Class) -> u8 {
    match class {
        Class::Cancelled => 7,
        Class::Internal => 6,
        Class::Denied => 5,
        Class::Publish => 4,
        Class::Verification => 3,
        Class::NotFound => 2,
        Class::Usage | Class::Build => 1,
    }
}

/// Vendors the images. The report tells of each, also of those that failed.
///
/// # Errors
/// Only what is wrong with the whole: two images with one name, a lock that does not fit the list, the user's wish to
/// stop.
pub async fn vendor(images: &Images, request: &VendorRequest) -> Result<VendorReport, Error> {
    let planned = plan(&request.to, &request.images)?;
    check_lock(request)?;
    images.unless_stopped(async { Ok(run(images, request, planned).await) }).await
}

/// With a lock to keep to, it has all images of the list and no others.
fn check_lock(request: &VendorRequest) -> Result<(), Error> {
    if request.mode != VendorMode::Locked {
        return Ok(());
    }
    let again = "run `gantry vendor` without --locked, and keep the lock file that it writes";
    let Some(lock) = &request.lock else {
        return Err(Error::new(Class::Usage, "--locked: there is no lock file").hint(again));
    };
    if let Some(missing) = request.images.iter().find(|image| lock.get(image).is_none()) {
        let message = format!("--locked: the lock file does not have `{}`", key(missing));
        return Err(Error::new(Class::Verification, message).hint(again));
    }
    if let Some(beyond) = lock.beyond(&request.images).first() {
        let message = format!("--locked: the lock file has `{beyond}`, which is not in the list");
        return Err(Error::new(Class::Verification, message).hint(again));
    }
    Ok(())
}

async fn run(images: &Images, request: &VendorRequest, planned: Vec<Planned>) -> VendorReport {
    let board = Arc::<Board>::default();
    let work = planned.into_iter().map(|planned| {
        let board = Arc::clone(&board);
        async move {
            let one = One::new(images, request, planned, board);
            let mut result = one.blank();
            if let Err(error) = one.bring(&mut result).await {
                if result.state != VendorState::Drifted {
                    result.state = VendorState::Failed;
                }
                result.error = Some(error);
            }
            let entry = one.entry(&result);
            (result, entry)
        }
    });
    let done: Vec<(VendorResult, Option<Entry>)> =
        stream::iter(work).buffered(IMAGES_AT_ONCE).collect().await;
    let mut lock = request.lock.clone().unwrap_or_default();
    lock.retain(&request.images);
    let mut results = Vec::new();
    for (result, entry) in done {
        if let Some(entry) = entry {
            lock.put(entry);
        }
        results.push(result);
    }
    VendorReport { results, lock }
}

/// One image on its way.
struct One<'a> {
    images: &'a Images,
    request: &'a VendorRequest,
    planned: Planned,
    board: Arc<Board>,
    copy: CopyRequest,
}

impl<'a> One<'a> {
    fn new(images: &'a Images, request: &'a VendorRequest, planned: Planned, board: Arc<Board>) -> Self {
        let own = Some(&planned.image.platforms).filter(|own| !own.is_empty());
        let own = own.map(|own| Platforms { wanted: own.clone(), form: request.form });
        let copy = CopyRequest {
            source: Place::Registry(planned.image.source.clone()),
            destination: Place::Registry(planned.destination.clone()),
            platforms: own.or_else(|| request.platforms.clone()),
            attached: request.attached,
            trust: Trust::default(),
            // A copy follows its source, and the lock says how far: a policy for images of one's own would stop it there.
            policy: TagPolicy::Overwrite,
            all_tags: false,
        };
        let mut one = Self { images, request, planned, board, copy };
        // An index that was copied sparse has the digest of the whole one.
        if one.locked().is_some_and(|locked| !locked.has(one.copy.platforms.as_ref())) {
            one.copy.trust = Trust::Manifests;
        }
        one
    }

    fn blank(&self) -> VendorResult {
        VendorResult {
            name: self.planned.image.name.clone(),
            tag: self.planned.image.tag(),
            source_digest: None,
            destination: self.planned.destination.to_string(),
            digest: None,
            state: VendorState::Failed,
            bytes: 0,
            mounts: 0,
            error: None,
        }
    }

    /// Asks both sides once, and does what is to be done.
    async fn bring(&self, result: &mut VendorResult) -> Result<(), Error> {
        let copier = Copier {
            images: self.images,
            source: Source::open(&self.images.registry, &self.copy.source).await?,
            target: Target::open(self.images, &self.board, &self.copy.destination).await?,
            request: &self.copy,
        };
        let (from, to) = tokio::join!(copier.source.resolve(), copier.target.resolve());
        let from = from?;
        result.source_digest = Some(from.digest);
        let to = to?;
        result.digest = to.as_ref().map(|to| to.digest);
        self.check_drift(&from, result)?;
        if self.is_as_locked(&from, to.as_ref()) {
            result.state = VendorState::UpToDate;
            return Ok(());
        }
        if self.request.mode == VendorMode::Check {
            result.state = match &to {
                None => VendorState::Absent,
                Some(to) if copier.is_copied(&from, to.digest).await? => VendorState::UpToDate,
                Some(_) => VendorState::Drifted,
            };
            return Ok(());
        }
        let report = copier.copy_resolved(from, to).await?;
        result.digest = Some(report.digest);
        (result.bytes, result.mounts) = (report.bytes, report.mounts);
        result.state = match report.state {
            CopyState::UpToDate => VendorState::UpToDate,
            CopyState::Copied => VendorState::Copied,
        };
        Ok(())
    }

    fn locked(&self) -> Option<&Entry> {
        self.request.lock.as_ref()?.get(&self.planned.image)
    }

    /// With a lock to keep to, the source is what it was.
    fn check_drift(&self, from: &Descriptor, result: &mut VendorResult) -> Result<(), Error> {
        let Some(locked) = self.locked().filter(|_| self.request.mode == VendorMode::Locked) else {
            return Ok(());
        };
        let again = "run `gantry vendor` without --locked to take what is there now";
        if locked.source_digest != from.digest {
            result.state = VendorState::Drifted;
            let message = format!(
                "`{}` has moved: the lock file has {}, and it is {} now",
                self.planned.image.source, locked.source_digest, from.digest
            );
            return Err(Error::new(Class::Verification, message).hint(again));
        }
        if !locked.has(self.copy.platforms.as_ref()) {
            let message = format!(
                "`{}`: other platforms are asked for than the lock file has",
                self.planned.image.source
            );
            return Err(Error::new(Class::Verification, message).hint(again));
        }
        Ok(())
    }

    /// Whether both sides are what they were after the last copy: so not even a trimmed index has to be made again.
    fn is_as_locked(&self, from: &Descriptor, to: Option<&Descriptor>) -> bool {
        let attached = self.request.attached.any() && self.request.mode != VendorMode::Check;
        !attached
            && self.locked().is_some_and(|locked| {
                locked.source_digest == from.digest
                    && to.is_some_and(|to| to.digest == locked.digest)
                    && locked.has(self.copy.platforms.as_ref())
            })
    }

    /// What the lock is to have of the image, if it was copied or found good.
    fn entry(&self, result: &VendorResult) -> Option<Entry> {
        let good = matches!(result.state, VendorState::UpToDate | VendorState::Copied);
        let digests = (result.source_digest?, result.digest?);
        good.then(|| {
            Entry::new(&self.planned.image, &self.planned.short, self.copy.platforms.as_ref(), digests)
        })
    }
}
