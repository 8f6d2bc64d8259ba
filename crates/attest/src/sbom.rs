//! Bills of materials: the packages that an image's package databases say are installed.
//!
//! `scan` reads the databases of dpkg, apk and rpm from the final file tree; `spdx` and `cyclonedx` write what it found.
//! Nothing is run and nothing is guessed from file names. The databases come from images that anybody may have made, so
//! every reader is bounded, and what it cannot read is an [`ScanError`], never less than there is.

mod apk;
mod cyclonedx;
mod distro;
mod document;
mod dpkg;
mod licence;
mod package;
mod rpm;
mod scan;
mod spdx;

pub use distro::Distro;
pub use document::{Document, Image};
pub use package::{Ecosystem, Package, Source};
pub use scan::{Inventory, ScanError, Tree, is_kept, scan};
