//! Links: which blobs of the store's pool a repository holds.

use super::blobs::{is_absent, sync_directory};
use modelpack_spec::{Algorithm, Digest};
use modelpack_transfer::{Error, Result};
use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// The directory of a repository's links in that of the repository.
pub(super) const LINKS: &str = "_links";

/// Which blobs of the pool a repository holds: an empty file `<algorithm>/<hex>` for each.
///
/// A blob that no repository links to is garbage. Collection looks only at the links.
#[derive(Clone, Debug)]
pub(super) struct Links(PathBuf);

impl Links {
    /// The links of the repository in this directory.
    pub(super) fn of(repository: &Path) -> Self {
        Self(repository.join(LINKS))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.algorithm().name()).join(digest.hex())
    }

    /// Makes the directories of a new repository in `layout`, whose `blobs` becomes a link to `pool`.
    pub(super) fn create(&self, layout: &Path, pool: &Path) -> Result<()> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.0.join(algorithm.name());
            fs::create_dir_all(&directory).map_err(Error::io("create", directory))?;
        }
        let link = layout.join("blobs");
        if fs::symlink_metadata(&link).is_err() {
            symlink(relative(layout, pool), &link).map_err(Error::io("create", &link))?;
        }
        Ok(())
    }

    pub(super) fn contain(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        path.try_exists().map_err(Error::io("look at", path))
    }

    /// Links a blob, durably. The caller prevents collection until the blob is there.
    pub(super) fn add(&self, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        match File::create_new(&path) {
            Ok(_) => sync_directory(path.parent().expect("a link has a directory")),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(Error::io("create", path)(e)),
        }
    }

    /// Removes a link. Returns whether it was there.
    pub(super) fn remove(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if is_absent(&e) => Ok(false),
            Err(e) => Err(Error::io("remove", path)(e)),
        }
    }

    /// All linked digests. Files with other names are ignored.
    pub(super) fn all(&self) -> Result<Vec<Digest>> {
        let mut all = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.0.join(algorithm.name());
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Err(Error::io("list", directory)(e)),
            };
            for entry in entries {
                let name = entry.map_err(Error::io("list", &directory))?.file_name();
                all.extend(name.to_str().and_then(|hex| format!("{}:{hex}", algorithm.name()).parse::<Digest>().ok()));
            }
        }
        Ok(all)
    }
}

/// `to` as seen from the directory `from`; both absolute or both relative to the same directory.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Path::new(".."));
    up.chain(to.components().skip(common).map(|c| Path::new(c.as_os_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_holds_what_was_linked_and_not_unlinked() {
        let root = tempfile::tempdir().unwrap();
        let repository = root.path().join("repositories/a");
        let links = Links::of(&repository);
        let (one, other) = (Digest::of(b"one"), Algorithm::Sha512.digest(b"other"));
        assert!(links.all().unwrap().is_empty() && !links.contain(&one).unwrap(), "the repository is not there yet");
        for _ in 0..2 {
            links.create(&repository, &root.path().join("blobs")).unwrap();
            [&one, &other].into_iter().try_for_each(|digest| links.add(digest)).unwrap();
        }
        fs::write(repository.join(LINKS).join("sha256/README"), "").unwrap();
        let mut all = links.all().unwrap();
        all.sort();
        assert_eq!(all, [one.clone(), other.clone()]);
        assert!(links.remove(&one).unwrap() && !links.remove(&one).unwrap());
        assert!(!links.contain(&one).unwrap() && links.contain(&other).unwrap());
    }

    #[test]
    fn a_layouts_blobs_are_a_relative_link() {
        assert_eq!(relative(Path::new("/s/repositories/a/b"), Path::new("/s/blobs")), Path::new("../../../blobs"));
        assert_eq!(relative(Path::new("s/repositories/a"), Path::new("s/blobs")), Path::new("../../blobs"));
    }
}
