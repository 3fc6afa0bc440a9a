//! The local store: one pool of blobs, and a directory for each repository that is an OCI image layout over it.
//!
//! ```text
//! blobs/sha256/<hex>           the pool
//! repositories/<name>/         oci-layout, index.json, blobs -> the pool, _links (which blobs it holds), _lock, _lease
//! ingest/                      blobs that are being written, each locked by its writer
//! partials/                    known blobs of which some bytes are there, and upload sessions of a registry, each with a journal; locked by
//!                              its writer
//! uploads/                     open upload sessions of registries, so that a push that was interrupted continues (the client writes these)
//! hash-states/<hex>            the hash states of a large blob of the pool, by which all processors verify it at once; it need not be there
//! digests/                     digests of files outside the store that were read before
//! lock                         held shared to add a blob, exclusively to collect
//! reserve                      what deletes need on a full disk
//! version                      the version of this format
//! ```

use super::{
    BrokenRepository, DigestCache, Layout, Lease, Repository, Untagged, abandoned,
    blobs::{Blobs, is_absent},
    format,
    layout::Shared,
    links::{LINKS, Links},
    reserve::Reserve,
};
use modelpack_spec::{Algorithm, RepositoryName};
use modelpack_transfer::{Error, Result};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The directory of the [`DigestCache`].
pub(super) const DIGESTS: &str = "digests";

/// A store on disk. Any number of processes may use it at the same time. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    root: PathBuf,
    pub(super) pool: Blobs,
    untagged: Untagged,
    digests: DigestCache,
    reserve: Reserve,
}

impl Store {
    /// Opens the store in `root` to read and write it; it is created if it is not there; blocks.
    ///
    /// Fails with [`Error::ReadOnly`] if this process may only read it, and with [`Error::Io`] if a newer version of this program wrote it
    /// in a format that this one does not know. Nothing is changed then.
    pub fn open(root: &Path, untagged: Untagged) -> Result<Self> {
        fs::create_dir_all(root).map_err(Error::io("create the store", root))?;
        let store = Self::open_existing(root, untagged)?;
        let Inner { root, pool, reserve, .. } = &*store.0;
        let read_only = |source: io::Error| Error::ReadOnly { store: root.clone(), source };
        accessat(CWD, root, Access::WRITE_OK, AtFlags::EACCESS).map_err(|e| read_only(e.into()))?;
        let sha256 = pool.directory.join(Algorithm::Sha256.name());
        for directory in [&sha256, &pool.ingest, &store.repositories_directory(), &root.join(DIGESTS)] {
            fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        }
        // On a disk that is already full there is no reserve. Every write that adds to the store must create it first.
        let _ = reserve.ensure(0);
        format::write(&format::STORE, root);
        Ok(store)
    }

    /// Opens the store in `root` to read it; blocks. Nothing is made or changed, so it may be read-only, another user's, or not be there.
    ///
    /// Fails with [`Error::Io`] if a newer version of this program wrote it in a format that this one does not know.
    pub fn open_existing(root: &Path, untagged: Untagged) -> Result<Self> {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        format::check(&format::STORE, &root)?;
        let pool = Blobs {
            directory: root.join("blobs"),
            ingest: root.join("ingest"),
            partials: (root.join("partials"), ""),
            hash_states: Some(root.join("hash-states")),
            lock: Some(root.join("lock")),
        };
        let (digests, reserve) = (DigestCache::at(root.join(DIGESTS)), Reserve::of(&root));
        Ok(Self(Arc::new(Inner { digests, pool, untagged, reserve, root })))
    }

    /// The directory of the store, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub(super) fn pool(&self) -> &Blobs {
        &self.0.pool
    }

    /// The repository with this name. It need not exist yet.
    pub fn repository(&self, name: &RepositoryName) -> Repository {
        let directory = self.repositories_directory().join(encode(name.as_str()));
        let shared = Shared { links: Links::of(&directory), reserve: self.0.reserve.clone() };
        let layout = Layout::of_store(name.to_string(), directory, self.0.pool.clone(), shared, self.0.untagged);
        Repository::new(name.clone(), layout, self.0.clone())
    }

    /// Removes the files that killed writers of blobs left, and returns them with their sizes in bytes; blocks.
    pub fn remove_abandoned(&self) -> Result<Vec<(PathBuf, u64)>> {
        self.sweep_abandoned(false)
    }

    pub(super) fn sweep_abandoned(&self, dry_run: bool) -> Result<Vec<(PathBuf, u64)>> {
        abandoned::sweep(&self.0.pool.ingest, "", dry_run)
    }

    fn repositories_directory(&self) -> PathBuf {
        self.0.root.join("repositories")
    }

    /// Prevents collection in a repository while the result is held; blocks.
    pub fn lease(&self, name: &RepositoryName) -> Result<Lease> {
        self.repository(name).lease()
    }

    /// Fails if the store cannot be read now, because its directory is missing or its disk does not answer; blocks. It lists only the
    /// directories that every read begins with.
    pub fn check_readable(&self) -> Result<()> {
        for directory in [&self.0.pool.directory, &self.repositories_directory()] {
            let first = fs::read_dir(directory).and_then(|mut entries| entries.next().transpose());
            first.map_err(Error::io("list", directory))?;
        }
        Ok(())
    }

    /// The repositories that something was written to, sorted by name; blocks.
    pub fn repositories(&self) -> Result<Vec<RepositoryName>> {
        Ok(self.find()?.repositories)
    }

    /// The directories below `repositories/` that cannot be used as repositories, with the reasons; blocks.
    pub fn unusable(&self) -> Result<Vec<BrokenRepository>> {
        Ok(self.find()?.unusable)
    }

    /// What lies in `repositories/`. A directory in it that cannot be used is not an error.
    pub(super) fn find(&self) -> Result<Found> {
        let (top, mut found) = (self.repositories_directory(), Found::default());
        match fs::read_dir(&top) {
            Err(e) if !is_absent(&e) => return Err(Error::io("list", top)(e)),
            _ => find_in(&top, Path::new(""), &mut found),
        }
        found.repositories.sort();
        found.unusable.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(found)
    }

    /// Digests of files outside the store.
    pub fn digest_cache(&self) -> &DigestCache {
        &self.0.digests
    }
}

/// The directory of a repository below `repositories/`. No name contains `+`, and no component of a name begins with `_`, so no directory
/// has the path of another one, or of a file inside a layout. No path contains `:`, because it would end the path in `oci:PATH:TAG`.
fn encode(name: &str) -> String {
    let component = |c: &str| if matches!(c, "blobs" | "index.json" | "oci-layout") { format!("_{c}") } else { c.replace(':', "+") };
    name.split('/').map(component).collect::<Vec<_>>().join("/")
}

/// The repository whose directory below `repositories/` this is, or why it is not the directory of a repository.
fn decode(directory: &Path) -> Result<RepositoryName, String> {
    let text = directory.to_str().ok_or_else(|| "its path is not UTF-8".to_owned())?;
    let name = text.split('/').map(decode_component).collect::<Vec<_>>().join("/");
    // The name of a repository in a registry may look as if it began with an invalid host.
    let parsed = name.parse().or_else(|_| RepositoryName::without_host(&name));
    let name: RepositoryName = parsed.map_err(|e| format!("its path is not that of a repository: {e}"))?;
    if encode(name.as_str()) == text { Ok(name) } else { Err(format!("the repository {name} has another path")) }
}

fn decode_component(component: &str) -> String {
    match component.strip_prefix('_') {
        Some(escaped) => escaped.to_owned(),
        None => component.replace('+', ":"),
    }
}

/// What lies in `repositories/`.
#[derive(Default)]
pub(super) struct Found {
    pub(super) repositories: Vec<RepositoryName>,
    /// Directories that look like repositories but have no valid name, or that could not be listed.
    pub(super) unusable: Vec<BrokenRepository>,
    /// Whether a directory could not be listed, so that there may be more.
    pub(super) is_incomplete: bool,
}

impl Found {
    fn unusable(&mut self, directory: PathBuf, why: String, is_denied: bool) {
        self.unusable.push(BrokenRepository { name: None, directory, why, is_denied });
    }
}

/// Looks for repositories in the directory `below` the directory `top`.
fn find_in(top: &Path, below: &Path, found: &mut Found) {
    let directory = top.join(below);
    // What cannot be examined may be a directory: the attempt to list it will tell.
    let is_directory = |entry: &fs::DirEntry| entry.file_type().map_or(true, |kind| kind.is_dir()) && entry.file_name() != LINKS;
    let inner = match fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(entries) => entries.into_iter().filter(is_directory),
        // It was removed meanwhile.
        Err(e) if is_absent(&e) => return,
        Err(e) => {
            found.is_incomplete = true;
            return found.unusable(directory, format!("it cannot be listed: {e}"), e.kind() == io::ErrorKind::PermissionDenied);
        }
    };
    for entry in inner {
        let below = below.join(entry.file_name());
        let path = entry.path();
        // A repository that is being created or removed has one of these two. If it were ignored, collection would remove its blobs.
        if path.join("oci-layout").exists() || path.join(LINKS).exists() {
            match decode(&below) {
                Ok(name) => found.repositories.push(name),
                Err(why) => found.unusable(path, why, false),
            }
        }
        find_in(top, &below, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_directories_that_never_clash_and_come_back() {
        for (name, directory) in [
            ("localhost:5000/a/b", "localhost+5000/a/b"),
            ("a/blobs/index.json", "a/_blobs/_index.json"),
            ("tiny", "tiny"),
            ("[::1]:5000/x", "[++1]+5000/x"),
        ] {
            assert_eq!(encode(name), directory);
            assert_eq!(decode(Path::new(directory)).unwrap().as_str(), name);
        }
        for directory in ["Not A Name", "_a", "a/.b", "a:b"] {
            assert!(decode(Path::new(directory)).is_err(), "{directory}");
        }
    }
}
