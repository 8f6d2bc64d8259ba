//! The final file tree of a build, as a bill of materials reads it: from the indexes of its layers, which keep the package
//! databases where package managers have them. No layer is read again for those, and none is unpacked.
//!
//! Where a link leads to a database at another place, which no index keeps, the layer that has it is read once more.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use gantry_attest::sbom::{Inventory, ScanError, Tree, scan as scan_tree};
use gantry_engine::ExportedLayer;
use gantry_layer::{FileTree, LayerIndex, Limits, NodeKind, pick_files};

use crate::error::{Class, Error};
use crate::gantry::Gantry;
use crate::output::blocking;

/// How often files may be found to be wanted that no index keeps: a database of RPM's is followed by its log.
const ROUNDS: usize = 4;

/// Files by their paths: of the tree, or of an archive.
type Paths = BTreeSet<Vec<u8>>;
type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// Reads the package databases of a tree.
pub(super) async fn scan(
    gantry: &Gantry,
    layers: &[ExportedLayer],
) -> Result<Result<Inventory, ScanError>, Error> {
    let indexes = layers.iter().map(|layer| gantry.engine.layer_index(&layer.blob));
    let indexes = futures_util::future::try_join_all(indexes).await?;
    scan_indexed(indexes, async |layer, wanted| pick(gantry, &layers[layer], wanted).await).await
}

/// Reads files out of a layer.
async fn pick(gantry: &Gantry, layer: &ExportedLayer, wanted: Paths) -> Result<Contents, Error> {
    let blob = &layer.blob;
    gantry.engine.fetch_layer(&blob.descriptor, blob.origin.as_deref().unwrap_or_default()).await?;
    let (file, digest) = (gantry.store().open_blob(&blob.descriptor.digest)?, blob.descriptor.digest);
    let failed = move |error| Error::new(Class::Internal, format!("cannot read layer {digest}: {error}"));
    blocking(move || pick_files(file, Limits::default(), &wanted).map_err(failed)).await
}

/// Reads the databases of what these layers make. `pick` reads files out of one of them, which is told by its number.
async fn scan_indexed(
    indexes: Vec<LayerIndex>,
    pick: impl AsyncFn(usize, Paths) -> Result<Contents, Error>,
) -> Result<Result<Inventory, ScanError>, Error> {
    let mut tree = blocking(move || Ok(Indexed::new(indexes))).await?;
    let mut round = 1;
    loop {
        let inventory;
        (tree, inventory) = blocking(move || {
            let inventory = scan_tree(&tree);
            Ok((tree, inventory))
        })
        .await?;
        let (wanted, known) = (tree.wanted(), tree.picked.len());
        for (layer, files) in wanted {
            let mut picked = pick(layer, files.values().cloned().collect()).await?;
            let named = files.into_iter().filter_map(|(place, path)| Some((place, picked.remove(&path)?)));
            tree.picked.extend(named.collect::<Vec<_>>());
        }
        if tree.picked.len() == known || round == ROUNDS {
            return Ok(inventory);
        }
        round += 1;
    }
}

/// The tree of some layers' indexes.
struct Indexed {
    layers: Vec<LayerIndex>,
    tree: FileTree,
    /// What was read besides the indexes.
    picked: Contents,
    /// Files that were asked for and stand in no index.
    missing: RefCell<Paths>,
}

impl Indexed {
    fn new(layers: Vec<LayerIndex>) -> Self {
        let tree = FileTree::merge(&layers);
        Self { layers, tree, picked: Contents::new(), missing: RefCell::default() }
    }

    /// The layers that have what is missing, by number; with each the places in the tree and the paths in its archive.
    fn wanted(&self) -> BTreeMap<usize, BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut wanted: BTreeMap<usize, BTreeMap<_, _>> = BTreeMap::new();
        for place in self.missing.take() {
            let size = self.tree.get(&place).and_then(|node| node.content()).map(|content| content.size);
            let layers = self.layers.iter().enumerate().rev();
            let found = layers.filter_map(|(number, layer)| Some((number, layer.archived(&place)?))).next();
            // A layer that writes through a link has the file under another path.
            if let Some((number, (path, content))) = found
                && Some(content.size) == size
            {
                wanted.entry(number).or_default().insert(place, path.to_vec());
            }
        }
        wanted
    }
}

impl Tree for Indexed {
    fn read(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((place, node)) = self.tree.resolve(path.as_bytes()) else { return Ok(None) };
        let NodeKind::File(content) = &node.kind else { return Ok(None) };
        if content.size == 0 {
            return Ok(Some(Vec::new()));
        }
        if content.size > limit {
            return Err(io::Error::other(format!("its {} bytes are more than {limit}", content.size)));
        }
        let picked = self.picked.get(&place).map(Vec::as_slice);
        match self.tree.kept(path.as_bytes()).or(picked) {
            Some(bytes) => Ok(Some(bytes.to_vec())),
            None => {
                self.missing.borrow_mut().insert(place);
                let message = format!("the index of its layer does not keep its {} bytes", content.size);
                Err(io::Error::other(message))
            }
        }
    }

    fn names(&self, directory: &str) -> io::Result<Vec<String>> {
        let is_file =
            |node: &gantry_layer::Node| matches!(node.kind, NodeKind::File(_) | NodeKind::Symlink(_));
        let files = self.tree.list(directory.as_bytes()).filter(|(_, node)| is_file(node));
        let name = |path: &[u8]| {
            let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        };
        Ok(files.map(|(path, _)| name(path)).collect())
    }
}

#[cfg(test)]
mod tests {
    use gantry_layer::scan_layer;
    use gantry_testkit::{Entry, ImageBuilder};

    use super::*;

    fn indexed(entries: &[Entry]) -> Indexed {
        let image = ImageBuilder::new("linux/amd64").layer(entries).build();
        Indexed::new(vec![scan_layer(&*image.blobs[0], Limits::default()).unwrap().index])
    }

    /// A tree with at most one file, which remembers what it was asked for.
    #[derive(Default)]
    struct Asked {
        file: Option<String>,
        paths: RefCell<BTreeSet<String>>,
    }

    impl Tree for Asked {
        fn read(&self, path: &str, _limit: u64) -> io::Result<Option<Vec<u8>>> {
            self.paths.borrow_mut().insert(path.to_owned());
            Ok((self.file.as_deref() == Some(path)).then(|| b"no database".to_vec()))
        }

        fn names(&self, directory: &str) -> io::Result<Vec<String>> {
            self.paths.borrow_mut().insert(format!("{directory}/package"));
            Ok(Vec::new())
        }
    }

    #[test]
    fn an_index_keeps_everything_that_a_scan_reads() {
        let nothing = Asked::default();
        scan_tree(&nothing).unwrap();
        let mut paths = nothing.paths.into_inner();
        // Some are asked for only if another is there.
        for path in paths.clone() {
            let one = Asked { file: Some(path), ..Asked::default() };
            let _ = scan_tree(&one);
            paths.extend(one.paths.into_inner());
        }
        assert!(paths.len() > 10, "{paths:?}");
        for path in paths {
            let tree = indexed(&[Entry::file(&path, "content")]);
            assert_eq!(tree.read(&path, 100).unwrap().as_deref(), Some(&b"content"[..]), "{path} is kept");
        }
    }

    #[test]
    fn a_name_of_the_distribution_that_is_not_kept_is_none() {
        let package = "P:hello\nV:1.0-r0\nA:x86_64\n\n";
        let tree = indexed(&[
            Entry::file("opt/release", "ID=mine\n"),
            Entry::symlink("etc/os-release", "../opt/release"),
            Entry::file("lib/apk/db/installed", package),
        ]);
        let inventory = scan_tree(&tree).unwrap();
        assert_eq!(inventory.packages.len(), 1);
        assert_eq!(inventory.distro, Inventory::default().distro);
    }

    /// What a scan of these layers finds, and how often each was read again.
    async fn scanned(layers: &[&[Entry]]) -> (Result<Inventory, ScanError>, Vec<usize>) {
        let image = layers.iter().fold(ImageBuilder::new("linux/amd64"), |image, layer| image.layer(layer));
        let blobs = image.build().blobs;
        let index = |blob: &Vec<u8>| scan_layer(&**blob, Limits::default()).unwrap().index;
        let reads = RefCell::new(vec![0; layers.len()]);
        let pick = async |layer: usize, wanted: Paths| {
            reads.borrow_mut()[layer] += 1;
            Ok(pick_files(&*blobs[layer], Limits::default(), &wanted).unwrap())
        };
        let indexes = blobs[..layers.len()].iter().map(index).collect();
        let inventory = scan_indexed(indexes, pick).await.unwrap();
        (inventory, reads.into_inner())
    }

    #[tokio::test]
    async fn databases_are_found_behind_links() {
        let dpkg = |name: &str| {
            format!("Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n")
        };
        let apk = "P:hello\nV:1.0-r0\nA:x86_64\n\n";
        let away = Entry::symlink("var/lib/dpkg", "../../opt/dpkg");
        let (one, two) = (dpkg("one"), dpkg("two"));
        for (what, layers, expected, reads) in [
            (
                "merged directories lead to where the indexes look",
                vec![vec![Entry::symlink("lib", "usr/lib"), Entry::file("usr/lib/apk/db/installed", apk)]],
                vec!["hello"],
                vec![0],
            ),
            (
                "a directory elsewhere",
                vec![vec![away.clone(), Entry::file("opt/dpkg/status", &one)]],
                vec!["one"],
                vec![1],
            ),
            (
                "the uppermost layer that has it is read, and no other",
                vec![
                    vec![away.clone(), Entry::file("opt/dpkg/status", &one)],
                    vec![Entry::file("opt/dpkg/status", &two)],
                    vec![Entry::file("unrelated", "x")],
                ],
                vec!["two"],
                vec![0, 1, 0],
            ),
            (
                "one file for each package, elsewhere, one of them a link itself",
                vec![
                    vec![
                        Entry::symlink("var/lib/dpkg/status.d", "/opt/packages"),
                        Entry::file("opt/packages/one", &one),
                        Entry::file("opt/packages/one.md5sums", "0 x\n"),
                        Entry::symlink("opt/packages/two", "../two"),
                    ],
                    vec![Entry::file("opt/two", &two)],
                ],
                vec!["one", "two"],
                vec![1, 1],
            ),
            (
                "another name of the file",
                vec![vec![
                    away.clone(),
                    Entry::file("opt/x", &one),
                    Entry::hard_link("opt/dpkg/status", "opt/x"),
                ]],
                vec!["one"],
                vec![1],
            ),
            (
                "a link out of the image stays inside",
                vec![vec![
                    Entry::symlink("var/lib/dpkg", "/../../../../opt"),
                    Entry::file("opt/status", &one),
                ]],
                vec!["one"],
                vec![1],
            ),
            ("a link to nothing", vec![vec![away.clone()]], vec![], vec![0]),
            ("links in circles", vec![vec![Entry::symlink("var/lib/dpkg", "dpkg")]], vec![], vec![0]),
        ] {
            let layers: Vec<&[Entry]> = layers.iter().map(Vec::as_slice).collect();
            let (inventory, read) = scanned(&layers).await;
            let inventory = inventory.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let names: Vec<_> = inventory.packages.iter().map(|package| package.name.as_str()).collect();
            assert_eq!((names, read), (expected, reads), "{what}");
        }
    }
}
