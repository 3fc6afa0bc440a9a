//! The local store: one pool of blobs, and a directory for each repository that is an OCI image layout over it.
//!
//! ```text
//! blobs/sha256/<hex>           the pool
//! repositories/<name>/         oci-layout, index.json, blobs -> the pool, _links (which blobs it holds), _lock, _lease
//! ingest/                      blobs that are being written, each locked by its writer
//! digests/                     digests of files outside the store that were read before
//! ```

use super::{DigestCache, Layout, Lease, Repository, Untagged, blobs::Blobs, layout::is_layout, repository::Links};
use crate::{Error, Result};
use modelpack_spec::{Algorithm, RepositoryName};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A store on disk. Any number of processes may use it at once. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    root: PathBuf,
    pub(super) pool: Blobs,
    untagged: Untagged,
    digests: DigestCache,
}

impl Store {
    /// Opens the store in `root`, which is created if it is not there; blocks.
    pub fn open(root: &Path, untagged: Untagged) -> Result<Self> {
        fs::create_dir_all(root).map_err(Error::io("create the store", root))?;
        let root = root.canonicalize().map_err(Error::io("find", root))?;
        let pool = Blobs { directory: root.join("blobs"), ingest: root.join("ingest"), lock: Some(root.join("lock")) };
        let digests = root.join("digests");
        let sha256 = pool.directory.join(Algorithm::Sha256.name());
        for directory in [&sha256, &pool.ingest, &root.join("repositories"), &digests] {
            fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        }
        Ok(Self(Arc::new(Inner { digests: DigestCache::at(digests), pool, untagged, root })))
    }

    /// The directory of the store, absolute.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    pub(super) fn pool(&self) -> &Blobs {
        &self.0.pool
    }

    /// The repository with this name, whether or not anything was written to it.
    pub fn repository(&self, name: &RepositoryName) -> Repository {
        let directory = self.repositories_directory().join(encode(name.as_str()));
        let links = Links(directory.join("_links"));
        let layout = Layout::of_store(name.to_string(), directory, self.0.pool.clone(), links, self.0.untagged);
        Repository::new(name.clone(), layout, self.0.clone())
    }

    fn repositories_directory(&self) -> PathBuf {
        self.0.root.join("repositories")
    }

    /// Keeps collection away from a repository while the result is held; blocks.
    pub fn lease(&self, name: &RepositoryName) -> Result<Lease> {
        self.repository(name).lease()
    }

    /// The repositories that something was written to, sorted by name; blocks.
    pub fn repositories(&self) -> Result<Vec<RepositoryName>> {
        let mut names = Vec::new();
        find_layouts(&self.repositories_directory(), "", &mut names)?;
        names.sort();
        Ok(names)
    }

    /// Digests of files outside the store.
    pub fn digest_cache(&self) -> &DigestCache {
        &self.0.digests
    }
}

/// The directory of a repository below `repositories/`. No name has `+` or begins a component with `_`, so none clashes with
/// another or with what lies inside a layout; and no path has a `:`, which ends the path where layouts are named as `oci:PATH:TAG`.
fn encode(name: &str) -> String {
    let component = |c: &str| if matches!(c, "blobs" | "index.json" | "oci-layout") { format!("_{c}") } else { c.replace(':', "+") };
    name.split('/').map(component).collect::<Vec<_>>().join("/")
}

fn decode_component(component: &str) -> String {
    match component.strip_prefix('_') {
        Some(escaped) => escaped.to_owned(),
        None => component.replace('+', ":"),
    }
}

fn find_layouts(directory: &Path, prefix: &str, found: &mut Vec<RepositoryName>) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(Error::io("list", directory))? {
        let entry = entry.map_err(Error::io("list", directory))?;
        let name = entry.file_name();
        let Some(component) = name.to_str().filter(|n| !n.starts_with('.') && !matches!(*n, "_links" | "_lock" | "_lease")) else {
            continue;
        };
        if !entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir() {
            continue;
        }
        let path = entry.path();
        let name = format!("{prefix}{}", decode_component(component));
        if is_layout(&path)? {
            // Passing over one would let collection take its blobs. A served repository may look as if it had a host, and not a valid one.
            let parsed = name.parse().or_else(|_| RepositoryName::without_host(&name));
            found.push(parsed.map_err(|e| Error::Invalid { what: path.display().to_string(), why: e.to_string() })?);
        }
        find_layouts(&path, &format!("{name}/"), found)?;
    }
    Ok(())
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
            assert_eq!(directory.split('/').map(decode_component).collect::<Vec<_>>().join("/"), name);
        }
    }
}
