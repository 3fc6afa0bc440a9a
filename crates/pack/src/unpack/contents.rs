//! The paths that the directory will contain: every path of every layer, checked against all
//! others.

use super::staging::is_reserved;
use modelpack_spec::{FilePath, InvalidPath, PathSet};
use modelpack_transfer::{Error, Result};

/// The maximum number of files and directories in the archives of one artifact.
const MAX_ENTRIES: u32 = 1_000_000;
/// The maximum total length of all paths with all their parents. They are kept in memory, and a
/// deep path has many parents.
const MAX_PATH_BYTES: usize = 512 << 20;

/// The paths of an artifact, with limits.
#[derive(Default)]
pub(crate) struct Contents {
    paths: PathSet,
    entries: u32,
    path_bytes: usize,
}

impl Contents {
    /// Adds a file. `what` is its layer.
    pub(crate) fn insert_file(&mut self, what: &str, path: &FilePath) -> Result<()> {
        self.count(what, path)?;
        self.paths.insert(path).map_err(invalid(what))
    }

    /// Adds a directory, which may already exist.
    pub(super) fn insert_directory(&mut self, what: &str, path: &FilePath) -> Result<()> {
        self.count(what, path)?;
        self.paths.insert_directory(path).map_err(invalid(what))
    }

    fn count(&mut self, what: &str, path: &FilePath) -> Result<()> {
        let refuse = |why: String| Err(Error::Invalid { what: what.to_owned(), why });
        // It would be mistaken for a leftover of a killed process, and removed.
        if path.components().next().is_some_and(is_reserved) {
            return refuse(format!("the path {path} is reserved for unpacking"));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return refuse(format!("the artifact has more than {MAX_ENTRIES} files and directories"));
        }
        self.path_bytes += path.as_str().len() * path.components().count();
        if self.path_bytes > MAX_PATH_BYTES {
            return refuse("the paths in the artifact are too many, too long or too deep".to_owned());
        }
        Ok(())
    }
}

/// [`Error::InvalidPath`] for the layer or artifact `what`.
pub(crate) fn invalid(what: &str) -> impl FnOnce(InvalidPath) -> Error {
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
