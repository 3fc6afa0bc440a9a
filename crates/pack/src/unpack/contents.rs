//! What the directory will hold when the artifact is unpacked: every path of every layer, checked against all others.

use super::staging::is_reserved;
use modelpack_spec::{FilePath, InvalidPath, PathSet};
use modelpack_transfer::{Error, Result};

/// How many files and directories the archives of one artifact may hold.
const MAX_ENTRIES: u32 = 1_000_000;
/// How many bytes all paths with all their beginnings may have: they are kept in memory, and a deep path has many.
const MAX_PATH_BYTES: usize = 512 << 20;

/// The paths of an artifact, and how many of them are too many.
#[derive(Default)]
pub(crate) struct Contents {
    paths: PathSet,
    entries: u32,
    path_bytes: usize,
}

impl Contents {
    /// Adds a file; `what` is the layer that it is in.
    pub(crate) fn insert_file(&mut self, what: &str, path: &FilePath) -> Result<()> {
        self.count(what, path)?;
        self.paths.insert(path).map_err(invalid(what))
    }

    /// Adds a directory, which may be there already.
    pub(super) fn insert_directory(&mut self, what: &str, path: &FilePath) -> Result<()> {
        self.count(what, path)?;
        self.paths.insert_directory(path).map_err(invalid(what))
    }

    fn count(&mut self, what: &str, path: &FilePath) -> Result<()> {
        let refuse = |why: String| Err(Error::Invalid { what: what.to_owned(), why });
        // It would be taken for what a killed process left behind, and removed.
        if path.components().next().is_some_and(is_reserved) {
            return refuse(format!("the path {path} is reserved for unpacking"));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return refuse(format!("the artifact has more than {MAX_ENTRIES} files and directories"));
        }
        self.path_bytes += path.as_str().len() * path.components().count();
        if self.path_bytes > MAX_PATH_BYTES {
            return refuse("the paths in the artifact are too many, too long and too deep".to_owned());
        }
        Ok(())
    }
}

/// [`Error::InvalidPath`] in the layer or artifact `what`.
pub(super) fn invalid(what: &str) -> impl FnOnce(InvalidPath) -> Error {
    move |source| Error::InvalidPath { what: what.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_entries_and_too_long_paths_are_refused() {
        let (short, deep): (FilePath, FilePath) = ("a".parse().unwrap(), ["d/"; 256].concat().parse().unwrap());
        let mut many = Contents::default();
        assert!((0..MAX_ENTRIES).all(|_| many.count("layer", &short).is_ok()));
        assert!(many.count("layer", &short).is_err());

        let mut large = Contents::default();
        let taken = (0..MAX_ENTRIES).take_while(|_| large.count("layer", &deep).is_ok()).count();
        assert_eq!(taken, (MAX_ENTRIES as usize).min(MAX_PATH_BYTES / (256 * 511)));
    }
}
