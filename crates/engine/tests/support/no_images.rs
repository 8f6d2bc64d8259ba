//! For solves that need no image: a place of images with nothing in it.

use gantry_oci::{
    BlobSink, BoxFuture, Descriptor, ImageError, ImageErrorKind, ImagePort, Platform, Reference,
    ResolvedImage,
};

/// Every image is missing.
pub(crate) struct NoImages;

impl ImagePort for NoImages {
    fn resolve<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, ImageError>> {
        Box::pin(async { Err(ImageError::new(ImageErrorKind::NotFound, "no such image")) })
    }

    fn fetch<'a>(
        &'a self,
        _: &'a Reference,
        _: &'a Descriptor,
        _: &'a mut dyn BlobSink,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async { Err(ImageError::new(ImageErrorKind::NotFound, "no such blob")) })
    }
}
