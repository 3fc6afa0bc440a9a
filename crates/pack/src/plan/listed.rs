//! A tree of files that are already listed, such as those of an artifact.

use super::tree::{Rules, Taken, Tree};
use crate::{ArtifactFiles, Result};
use modelpack_transfer::Files;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

/// Directories, derived from the paths of files.
pub(super) struct ListedTree<'a> {
    files: &'a ArtifactFiles,
    /// The content of each directory by name. The first is the top.
    directories: Vec<BTreeMap<&'a str, Node>>,
}

/// An item of a directory: a directory or a file entry, by its number.
#[derive(Clone, Copy)]
pub(super) enum Node {
    Directory(usize),
    File(usize),
}

impl<'a> ListedTree<'a> {
    pub(super) fn new(files: &'a ArtifactFiles) -> Self {
        let mut directories = vec![BTreeMap::new()];
        for (number, entry) in files.entries().iter().enumerate() {
            let (parents, name) = entry.path.as_str().rsplit_once('/').map_or((None, entry.path.as_str()), |(p, name)| (Some(p), name));
            let mut at = 0;
            for component in parents.into_iter().flat_map(|parents| parents.split('/')) {
                let next = directories.len();
                at = match directories[at].entry(component).or_insert(Node::Directory(next)) {
                    Node::Directory(directory) => *directory,
                    Node::File(_) => unreachable!("no path of an artifact is both a file and a directory"),
                };
                if at == next {
                    directories.push(BTreeMap::new());
                }
            }
            directories[at].insert(name, Node::File(number));
        }
        Self { files, directories }
    }
}

impl Tree for ListedTree<'_> {
    type Directory = usize;
    type Open = ();
    type Found = Node;
    type Source = ();

    fn name(&self) -> String {
        self.files.name().to_owned()
    }

    fn is_chosen(&self) -> bool {
        true
    }

    fn root(&self) -> usize {
        0
    }

    fn open(&self, _: &usize) -> Result<()> {
        Ok(())
    }

    fn names(&self, directory: &usize, (): &()) -> Result<Vec<OsString>> {
        Ok(self.directories[*directory].keys().map(|name| OsString::from(*name)).collect())
    }

    /// Ignore files of an artifact are ordinary files, because its author has selected the files.
    fn rules(&self, _: &usize, _: &str) -> Result<Option<Rules>> {
        Ok(None)
    }

    fn look(&self, directory: &usize, (): &(), name: &OsStr) -> Result<(bool, Node)> {
        let found = name.to_str().and_then(|name| self.directories[*directory].get(name)).copied();
        let found = found.expect("only names that are listed are looked at");
        Ok((matches!(found, Node::Directory(_)), found))
    }

    fn enter(&self, found: Node) -> Result<usize> {
        match found {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => unreachable!("only directories are entered"),
        }
    }

    fn take(&self, found: Node) -> Result<Taken<()>> {
        let Node::File(number) = found else { unreachable!("only files are taken") };
        let entry = &self.files.entries()[number];
        Ok(Taken { size: entry.size, executable: entry.executable, kind: self.files.kind(number), source: () })
    }
}
