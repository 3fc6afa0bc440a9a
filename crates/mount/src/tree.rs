//! The directories and files of a mounted model: numbers, names and attributes. It has no I/O.

use modelpack_spec::FilePath;
use std::collections::BTreeMap;

/// The number of a node in the tree. The root has [`ROOT`].
pub(crate) type Number = u64;

/// The number of the root directory, which FUSE gives it.
pub(crate) const ROOT: Number = 1;

/// A tree whose files are `F`. Nodes are only added, so a number means the same node for ever.
#[derive(Debug)]
pub(crate) struct Tree<F> {
    /// The node with the number `n` is at `n - 1`.
    nodes: Vec<Node<F>>,
}

#[derive(Debug)]
pub(crate) enum Node<F> {
    Directory(Directory),
    File(F),
}

#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) parent: Number,
    pub(crate) children: BTreeMap<String, Number>,
}

impl<F> Tree<F> {
    /// A root directory without files.
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::Directory(Directory { parent: ROOT, children: BTreeMap::new() })] }
    }

    pub(crate) fn get(&self, number: Number) -> Option<&Node<F>> {
        self.nodes.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    pub(crate) fn directory(&self, number: Number) -> Option<&Directory> {
        match self.get(number)? {
            Node::Directory(directory) => Some(directory),
            Node::File(_) => None,
        }
    }

    pub(crate) fn file(&self, number: Number) -> Option<&F> {
        match self.get(number)? {
            Node::File(file) => Some(file),
            Node::Directory(_) => None,
        }
    }

    /// Adds a file and the directories above it. Returns whether there was room for it: no other file has its path, and no file has the path
    /// of one of its directories.
    pub(crate) fn insert(&mut self, path: &FilePath, file: F) -> bool {
        let mut components = path.as_str().split('/');
        let name = components.next_back().unwrap_or_default();
        let mut parent = ROOT;
        for component in components {
            parent = match self.child(parent, component) {
                Some(there) if self.directory(there).is_some() => there,
                Some(_) => return false,
                None => self.add(parent, component, Node::Directory(Directory { parent, children: BTreeMap::new() })),
            };
        }
        let is_free = self.child(parent, name).is_none();
        if is_free {
            self.add(parent, name, Node::File(file));
        }
        is_free
    }

    fn child(&self, parent: Number, name: &str) -> Option<Number> {
        self.directory(parent)?.children.get(name).copied()
    }

    fn add(&mut self, parent: Number, name: &str, node: Node<F>) -> Number {
        self.nodes.push(node);
        let number = self.nodes.len() as Number;
        if let Some(Node::Directory(directory)) = self.nodes.get_mut(parent as usize - 1) {
            directory.children.insert(name.to_owned(), number);
        }
        number
    }

    /// All files with their numbers.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Number, &F)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| match node {
            Node::File(file) => Some((at as Number + 1, file)),
            Node::Directory(_) => None,
        })
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> FilePath {
        path.parse().unwrap()
    }

    #[test]
    fn files_are_found_below_their_directories() {
        let mut tree = Tree::new();
        for (path, file) in [("config.json", 1), ("a/b/c.bin", 2), ("a/d", 3)] {
            assert!(tree.insert(&self::path(path), file));
        }
        let names = |number| tree.directory(number).unwrap().children.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(ROOT), ["a", "config.json"]);
        let a = tree.child(ROOT, "a").unwrap();
        assert_eq!(names(a), ["b", "d"]);
        let b = tree.child(a, "b").unwrap();
        assert_eq!(tree.directory(b).unwrap().parent, a);
        assert_eq!(tree.file(tree.child(b, "c.bin").unwrap()), Some(&2));
        assert_eq!(tree.file(a), None);
        assert_eq!(tree.files().map(|(_, file)| *file).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((tree.len(), tree.get(0).is_none(), tree.get(100).is_none()), (6, true, true));
    }

    #[test]
    fn nothing_takes_the_place_of_another() {
        let mut tree = Tree::new();
        assert!(tree.insert(&path("a/b"), 1));
        for taken in ["a/b", "a", "a/b/c"] {
            assert!(!tree.insert(&path(taken), 2), "{taken}");
        }
        assert_eq!(tree.files().count(), 1);
    }
}
