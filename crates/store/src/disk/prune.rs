//! Collection: removing what no manifest needs.
//!
//! A repository that somebody holds a lease on keeps every blob it links to. From the others the links that no manifest needs are
//! removed; then, while nothing is added to the pool, every blob that no repository links to.

use super::{Repository, Store, blobs::is_absent, lock};
use crate::{Error, Result};
use modelpack_spec::{Algorithm, Descriptor, Digest, RepositoryName};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

/// What collection removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Blobs, with their sizes in bytes, sorted by digest.
    pub blobs: Vec<(Digest, u64)>,
    /// Files of writers that are gone, in bytes.
    pub abandoned: Vec<(PathBuf, u64)>,
    /// Repositories in which nothing is left.
    pub repositories: Vec<RepositoryName>,
    /// Repositories that were in use, of which everything was kept.
    pub busy: Vec<RepositoryName>,
}

impl Pruned {
    /// How many bytes are free that were not, or would be.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).chain(self.abandoned.iter().map(|(_, size)| size)).sum()
    }
}

impl Store {
    /// Removes every blob that no manifest needs, what dead writers left, and empty repositories; with `dry_run`, only says what
    /// would be removed; blocks.
    ///
    /// Never takes what a running pack, push or pull needs: they hold leases.
    pub fn prune(&self, dry_run: bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let mut unneeded = Vec::new();
        for name in self.repositories()? {
            let repository = self.repository(&name);
            match lock::try_exclusive(&repository.lease_path())? {
                None => pruned.busy.push(name),
                Some(alone) if lock::is_held_on(&alone, &repository.lease_path())? => pruned.busy.push(name),
                Some(_alone) => {
                    let needed = needed(&repository)?;
                    let links = repository.links();
                    let garbage: Vec<Digest> = links.all()?.into_iter().filter(|digest| !needed.contains(digest)).collect();
                    let is_empty = needed.is_empty();
                    if dry_run {
                        unneeded.extend(garbage.into_iter().map(|digest| (name.clone(), digest)));
                    } else {
                        for digest in &garbage {
                            links.remove(digest)?;
                        }
                        if is_empty {
                            remove_layout(repository.layout().path())?;
                        }
                    }
                    if is_empty {
                        pruned.repositories.push(name);
                    }
                }
            }
        }
        let _nothing_is_added = self.pool().lock.as_deref().map(lock::exclusive).transpose()?;
        self.sweep_pool(dry_run, &unneeded.into_iter().collect(), &mut pruned)?;
        self.sweep_ingest(dry_run, &mut pruned)?;
        Ok(pruned)
    }

    fn sweep_pool(&self, dry_run: bool, removed_links: &HashSet<(RepositoryName, Digest)>, pruned: &mut Pruned) -> Result<()> {
        let pool = self.pool();
        let mut linked = HashSet::new();
        for name in self.repositories()? {
            let links = self.repository(&name).links().all()?;
            linked.extend(links.into_iter().filter(|digest| !removed_links.contains(&(name.clone(), digest.clone()))));
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for (path, size) in files(&pool.directory.join(algorithm.name()))? {
                let hex = path.file_name().unwrap_or_default().to_string_lossy();
                let Ok(digest) = format!("{}:{hex}", algorithm.name()).parse::<Digest>() else { continue };
                if linked.contains(&digest) {
                    continue;
                }
                if !dry_run {
                    fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                }
                pruned.blobs.push((digest, size));
            }
        }
        pruned.blobs.sort();
        Ok(())
    }

    fn sweep_ingest(&self, dry_run: bool, pruned: &mut Pruned) -> Result<()> {
        for (path, size) in files(&self.pool().ingest)? {
            // Its writer holds a lock on it as long as it lives.
            let Ok(Some(gone)) = lock::try_exclusive(&path) else { continue };
            // An upload that goes on later.
            if lock::is_held_on(&gone, &path)? {
                continue;
            }
            if !dry_run {
                match fs::remove_file(&path) {
                    // Its writer gave it up and removed it before the lock was free.
                    Err(e) if is_absent(&e) => continue,
                    removed => removed.map_err(Error::io("remove", &path))?,
                }
            }
            pruned.abandoned.push((path, size));
        }
        Ok(())
    }
}

/// What the manifests of a repository need: themselves, their configs and layers, and the manifests that indexes name.
fn needed(repository: &Repository) -> Result<HashSet<Digest>> {
    let mut needed = HashSet::new();
    let mut to_visit: Vec<Descriptor> = repository.layout().manifests_blocking()?;
    while let Some(entry) = to_visit.pop() {
        if !needed.insert(entry.digest.clone()) {
            continue;
        }
        match repository.layout().read_manifest(&entry) {
            Ok(manifest) => {
                needed.extend(manifest.blobs().map(|d| d.digest.clone()));
                to_visit.extend(manifest.manifests().iter().cloned());
            }
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(needed)
}

fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", directory)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => files.push((entry.path(), metadata.len())),
            Ok(_) => {}
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(Error::io("look at", entry.path())(e)),
        }
    }
    Ok(files)
}

/// Removes what makes a directory a repository, and then the directory, unless another repository lies inside it.
/// `oci-layout` goes first, without which nothing is a repository; the file of the lease, which the caller holds alone, goes last,
/// so that nobody makes the repository again before all of it is gone.
fn remove_layout(layout: &Path) -> Result<()> {
    let remove = |name: &str, removed: std::io::Result<()>| match removed {
        Err(e) if !is_absent(&e) => Err(Error::io("remove", layout.join(name))(e)),
        _ => Ok(()),
    };
    let remove_file = |name: &str| remove(name, fs::remove_file(layout.join(name)));
    ["oci-layout", "index.json", "blobs", "_lock"].into_iter().try_for_each(remove_file)?;
    remove("_links", fs::remove_dir_all(layout.join("_links")))?;
    remove_file("_lease")?;
    // Not empty if another repository's name goes on from this one.
    let _ = fs::remove_dir(layout);
    Ok(())
}
