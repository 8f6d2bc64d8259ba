//! Vendoring: other people's images kept in a registry of one's own, and brought up to date where they have changed.
//!
//! A list says which images; each is asked about once on either side, and copied, whole and with its bytes untouched,
//! only if the digests differ. A fault of one image is not a fault of the others. A lock file remembers what was
//! copied, so that a tag that has moved can be told from one that has not.

mod list;
mod lock;
mod names;
mod run;
#[cfg(test)]
mod tests;

pub use list::{VendorImage, parse_list};
pub use lock::{Lock, LockError};
pub use run::{VendorMode, VendorReport, VendorRequest, VendorResult, VendorState, vendor};
