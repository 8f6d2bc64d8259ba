//! The file system that the layers of an image make together, from their indexes.
//!
//! What a container sees, as far as names, types, metadata and programs go: whiteouts and opaque directories hide what
//! is below, later entries replace earlier ones, hard links are one file. Links are resolved inside the root, as in a
//! container: nothing here is a path of the machine.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::index::{FileContent, IndexEntry, Item, LayerIndex};
use crate::root;

/// Links that one path may lead through: the kernel's own limit.
const MAX_LINKS: usize = 40;
/// Bytes of a path while it is resolved. The kernel's limit is 4096; archives may have longer ones.
const MAX_PATH: usize = 1 << 16;
/// The mode of directories that no entry describes.
const IMPLICIT_MODE: u32 = 0o755;

/// The merged view of layers. Paths are clean: no slash in front, no `.` and `..`; the root is empty.
#[derive(Debug, Clone, Default)]
pub struct FileTree {
    nodes: BTreeMap<Vec<u8>, Node>,
    /// How many files were made, which numbers them.
    made: u64,
}

/// One name of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// The same for all names of one file, and for no other.
    pub file: u64,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file.
    File(FileContent),
    /// A symbolic link with its target as written.
    Symlink(Box<[u8]>),
    /// A directory.
    Directory,
    /// A device or a pipe.
    Special,
}

impl FileTree {
    /// The view of these layers, the lowest first.
    pub fn merge<I: std::borrow::Borrow<LayerIndex>>(layers: &[I]) -> Self {
        let mut tree = Self::default();
        for layer in layers {
            tree.apply(layer.borrow());
        }
        tree
    }

    /// All names in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_slice(), node))
    }

    /// What stands under a clean path: the link, if it is one.
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// Where a path leads, all links followed, and what is there: for a relative path as seen from the root. `None` if
    /// it leads nowhere, or in circles. The root has no node, and a path that leads to it gives `None` as well.
    pub fn resolve(&self, path: &[u8]) -> Option<(Vec<u8>, &Node)> {
        let place = self.place(path, Last::Followed)?;
        let node = self.nodes.get(&place)?;
        Some((place, node))
    }

    /// The names directly inside the directory that this path leads to.
    pub fn list(&self, directory: &[u8]) -> impl Iterator<Item = (&[u8], &Node)> {
        let found = self.place(directory, Last::Followed);
        let is_directory = |place: &Vec<u8>| {
            place.is_empty() || self.nodes.get(place).is_some_and(|node| node.kind == NodeKind::Directory)
        };
        let found = found.filter(is_directory).map(|place| below(&place));
        found.into_iter().flat_map(|(start, end)| {
            let length = start.len();
            let inside =
                self.nodes.range::<[u8], _>((Bound::Included(&*start), end.as_ref().map(|end| &**end)));
            // Cloned names would be simpler and twice the memory; these live as long as the tree.
            inside
                .filter(move |(path, _)| !path[length..].contains(&b'/'))
                .map(|(path, node)| (&**path, node))
                .collect::<Vec<_>>()
        })
    }

    /// The whole content of a file that indexes keep: of package databases and the distribution's release file. Links
    /// are followed.
    pub fn kept(&self, path: &[u8]) -> Option<&[u8]> {
        let place = self.place(path, Last::Followed)?;
        self.nodes.get(&place)?.kept()
    }

    /// Puts one layer on top.
    fn apply(&mut self, layer: &LayerIndex) {
        // What a layer hides is below it, wherever in its archive it says so.
        for entry in &layer.entries {
            match entry.item {
                Item::Whiteout => {
                    if let Some(place) = self.place(&entry.path, Last::Kept) {
                        self.remove_below(&place);
                        self.nodes.remove(&place);
                    }
                }
                Item::Opaque => {
                    if let Some(place) = self.place(&entry.path, Last::Kept) {
                        self.remove_below(&place);
                    }
                }
                _ => {}
            }
        }
        let mut recent = None;
        for entry in &layer.entries {
            self.add(entry, &mut recent);
        }
    }

    /// Makes what an entry describes. `recent` is where the directory of the last entry was found to be, as the next is
    /// likely to be in it, too.
    fn add(&mut self, entry: &IndexEntry, recent: &mut Option<(Vec<u8>, Vec<u8>)>) {
        let kind = match &entry.item {
            Item::Whiteout | Item::Opaque => return,
            Item::HardLink(target) => {
                // Without its target it is nothing; an archive like that cannot be unpacked either.
                let target = self.place(target, Last::Kept).and_then(|place| self.nodes.get(&place));
                let Some(node) = target.filter(|node| node.kind != NodeKind::Directory).cloned() else {
                    return;
                };
                let place = self.place_to_make(&entry.path, recent);
                self.replace(place, node, recent);
                return;
            }
            Item::File(content) => NodeKind::File(content.clone()),
            Item::Symlink(target) => NodeKind::Symlink(target.clone()),
            Item::Directory => NodeKind::Directory,
            Item::Special => NodeKind::Special,
        };
        let place = self.place_to_make(&entry.path, recent);
        self.made += 1;
        let &IndexEntry { mode, uid, gid, .. } = entry;
        self.replace(place, Node { kind, mode, uid, gid, file: self.made }, recent);
    }

    fn replace(&mut self, place: Vec<u8>, node: Node, recent: &mut Option<(Vec<u8>, Vec<u8>)>) {
        if place.is_empty() {
            return;
        }
        if node.kind != NodeKind::Directory {
            self.remove_below(&place);
        }
        let is_link = matches!(node.kind, NodeKind::Symlink(_));
        let replaced = self.nodes.insert(place, node);
        if is_link || replaced.is_some_and(|old| old.kind != NodeKind::Directory) {
            // The directory of the last entry may be reached another way now.
            *recent = None;
        }
    }

    /// Where an entry goes, with the directories made that it needs. A link in the place of one of them is followed, as
    /// runtimes do that unpack onto the layers below.
    fn place_to_make(&mut self, path: &[u8], recent: &mut Option<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
        let (parent, name) = root::split(path);
        if let Some((wanted, found)) = recent
            && wanted == parent
        {
            return root::join(found, name);
        }
        let found = self.place(parent, Last::Followed).unwrap_or_else(|| parent.to_vec());
        for end in
            found.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([found.len()])
        {
            let directory = &found[..end];
            let is_there = self.nodes.get(directory).is_some_and(|node| node.kind == NodeKind::Directory);
            if !directory.is_empty() && !is_there {
                self.made += 1;
                let file = self.made;
                let node = Node { kind: NodeKind::Directory, mode: IMPLICIT_MODE, uid: 0, gid: 0, file };
                self.nodes.insert(directory.to_vec(), node);
            }
        }
        let place = root::join(&found, name);
        *recent = Some((parent.to_vec(), found));
        place
    }

    /// The clean path, without links, that a path means; what is not there is taken for a directory to be.
    fn place(&self, path: &[u8], last: Last) -> Option<Vec<u8>> {
        let mut place: Vec<u8> = Vec::new();
        let mut links = 0;
        // The components still to go, the next one last.
        let mut rest: Vec<Arc<[u8]>> = Vec::new();
        let push = |rest: &mut Vec<Arc<[u8]>>, path: &[u8]| {
            let components = path.split(|&byte| byte == b'/').rev().filter(|one| !matches!(*one, b"" | b"."));
            rest.extend(components.map(Arc::from));
        };
        push(&mut rest, path);
        while let Some(component) = rest.pop() {
            if *component == *b".." {
                place.truncate(root::split(&place).0.len());
                continue;
            }
            let next = root::join(&place, &component);
            let follow = last == Last::Followed || !rest.is_empty();
            match self.nodes.get(&next) {
                Some(Node { kind: NodeKind::Symlink(target), .. }) if follow => {
                    links += 1;
                    if links > MAX_LINKS || rest.len() > MAX_PATH {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        place.clear();
                    }
                    push(&mut rest, target);
                }
                _ => place = next,
            }
        }
        Some(place)
    }

    fn remove_below(&mut self, place: &[u8]) {
        if place.is_empty() {
            self.nodes.clear();
            return;
        }
        let (start, end) = below(place);
        let range = (Bound::Included(&*start), end.as_ref().map(|end| &**end));
        let inside: Vec<Vec<u8>> = self.nodes.range::<[u8], _>(range).map(|(path, _)| path.clone()).collect();
        for path in inside {
            self.nodes.remove(&path);
        }
    }
}

/// Whether the last component of a path is followed if it is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Followed,
    Kept,
}

/// The range of the paths below a directory.
fn below(directory: &[u8]) -> (Vec<u8>, Bound<Vec<u8>>) {
    match directory {
        b"" => (Vec::new(), Bound::Unbounded),
        // In byte order, what follows the slash is the digit zero.
        _ => ([directory, b"/"].concat(), Bound::Excluded([directory, b"0"].concat())),
    }
}

impl Node {
    /// The regular file's content.
    pub fn content(&self) -> Option<&FileContent> {
        match &self.kind {
            NodeKind::File(content) => Some(content),
            _ => None,
        }
    }

    fn kept(&self) -> Option<&[u8]> {
        self.content()?.kept.as_deref()
    }
}

#[cfg(test)]
mod tests;
