//! Named images: the entries of the layout's `index.json`, so that any OCI tool finds them.

use std::fs;
use std::io;

use gantry_oci::{Descriptor, Index};

use crate::error::At;
use crate::lock::wait_for_lock;
use crate::store::write_whole;
use crate::{Store, StoreError};

/// The annotation that holds an entry's full name, as containerd and BuildKit write it.
const NAME: &str = "io.containerd.image.name";

impl Store {
    /// What a name stands for, or the listed image with this digest.
    pub fn named_image(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        let is_wanted = |entry: &Descriptor| match entry.annotations.get(NAME) {
            Some(known) => known == name,
            None => entry.digest.to_string() == name,
        };
        Ok(self.listed()?.manifests.into_iter().find(is_wanted))
    }

    fn listed(&self) -> Result<Index, StoreError> {
        let path = self.root().join("index.json");
        let bytes = fs::read(&path).at("read", &path)?;
        serde_json::from_slice(&bytes).map_err(io::Error::from).at("understand", &path)
    }

    /// Makes these names stand for an image, whose blobs are all here. Without names, the image is listed unnamed.
    pub fn name_image(&self, image: &Descriptor, names: &[String]) -> Result<(), StoreError> {
        let _lock = wait_for_lock(&self.root().join("locks/index"))?;
        let path = self.root().join("index.json");
        let mut index = self.listed()?;
        let is_replaced = |entry: &Descriptor| match entry.annotations.get(NAME) {
            Some(name) => names.contains(name),
            None => entry.digest == image.digest,
        };
        index.manifests.retain(|entry| !is_replaced(entry));
        let named = names.iter().map(|name| {
            let mut entry = image.clone();
            entry.annotations.insert(NAME.to_owned(), name.clone());
            entry
        });
        index.manifests.extend(named);
        if names.is_empty() {
            index.manifests.push(image.clone());
        }
        let text = serde_json::to_vec_pretty(&index).expect("an index is plain data");
        write_whole(&self.session().next_path(), &path, &text)
    }
}
