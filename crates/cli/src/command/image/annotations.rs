//! `--annotation`.

use gantry_release::{Annotation, Error};

use crate::failure::usage;

/// The annotations of a flag.
pub(super) fn annotations(texts: &[String]) -> Result<Vec<Annotation>, Error> {
    let mut all = Vec::new();
    for text in texts {
        all.extend(Annotation::parse(text).map_err(|error| usage(format!("--annotation: {error}")))?);
    }
    Ok(all)
}
