//! Values of the OCI specifications, and the ports through which images and bytes travel.
//!
//! Everything here is a value: no clock, no environment, no file system, no async runtime. A digest, a
//! reference or a platform that exists is valid, because parsing is the only way to make one; documents that
//! came from outside keep the fields we do not know, so that reading and writing them loses nothing.

mod blob;
mod checksum;
mod config;
mod descriptor;
mod digest;
mod image_port;
mod login;
mod manifest;
pub mod media_type;
mod platform;
mod reference;

pub use blob::{BlobSink, BlobSource, BytesSource, WrongCopy};
pub use checksum::{Checksum, ChecksumError, ChecksumHasher};
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::Descriptor;
pub use digest::{Digest, DigestError, Hasher};
pub use image_port::{BoxFuture, ImageError, ImageErrorKind, ImagePort, ResolvedImage};
pub use login::{login_of, replace_logins, without_logins};
pub use manifest::{Document, Index, Manifest, ManifestError};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
