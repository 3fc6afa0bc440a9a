//! Collection: removing what no manifest needs.
//!
//! A repository that a process holds a lease on keeps every blob that it links to, and so does a repository that cannot be read. From the
//! other repositories the links that no manifest needs are removed. Then every blob that no repository links to is removed, while no
//! process can add anything to the pool.

use super::{
    Lease, Repository, Store, abandoned,
    blobs::{files, is_absent},
    links::{LINKS, Links},
    lock,
    repository::is_read_only,
    store::DIGESTS,
};
use modelpack_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, RepositoryName};
use modelpack_transfer::{Error, Result, verify_manifest};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What collection removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Blobs, with their sizes in bytes, sorted by digest.
    pub blobs: Vec<(Digest, u64)>,
    /// Files that dead writers left, with their sizes in bytes.
    pub abandoned: Vec<(PathBuf, u64)>,
    /// Repositories that were removed because they were empty.
    pub repositories: Vec<RepositoryName>,
    /// Repositories that were in use. Everything in them was kept.
    pub busy: Vec<RepositoryName>,
    /// Repositories that could not be read. Everything in them was kept, because it is not known what they need.
    pub broken: Vec<BrokenRepository>,
}

/// A repository of the store that cannot be read completely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BrokenRepository {
    /// Its name. `None` if the path of its directory is not that of a repository.
    #[serde(rename = "repository")]
    pub name: Option<RepositoryName>,
    /// Its directory.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub directory: PathBuf,
    /// What is wrong with it.
    #[serde(rename = "reason")]
    pub why: String,
    /// Whether only the permission to read it is missing. Then it may be intact, and a repair does not help.
    #[serde(rename = "denied")]
    pub is_denied: bool,
}

impl Pruned {
    /// How many bytes were freed, or would be.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).chain(self.abandoned.iter().map(|(_, size)| size)).sum()
    }
}

impl Store {
    /// Removes every blob that no manifest needs, what dead writers left, and empty repositories. With `dry_run`, only returns what would be
    /// removed; blocks.
    ///
    /// It never removes what a running pack, push or pull needs, because they hold leases. A repository that cannot be read keeps everything,
    /// and is reported. The other repositories are collected.
    pub fn prune(&self, dry_run: bool) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let mut unneeded = HashSet::new();
        for name in self.find()?.repositories {
            let repository = self.repository(&name);
            if let Err(error) = prune_repository(&repository, dry_run, &mut unneeded, &mut pruned) {
                let directory = repository.layout().path().to_owned();
                let is_denied = error.is_denied();
                // The report names the repository itself.
                let why = if let Error::Damaged { why, .. } = error { why } else { error.to_string() };
                pruned.broken.push(BrokenRepository { name: Some(name), directory, why, is_denied });
            }
        }
        let locked = self.pool().lock.as_deref().map(lock::exclusive).transpose();
        let _nothing_is_added = if dry_run { as_far_as_possible(locked)? } else { Some(locked?) };
        self.sweep_pool(dry_run, &unneeded, &mut pruned)?;
        pruned.abandoned.extend(self.sweep_abandoned(dry_run)?);
        // If the file of a process that writes to the cache is removed, that process only does not add its entry.
        pruned.abandoned.extend(abandoned::sweep_temporaries(&self.root().join(DIGESTS), dry_run)?);
        Ok(pruned)
    }

    /// Removes partial blobs that nobody writes to now: those that were not written to for `age`, and the oldest until the others have at
    /// most `quota` bytes. Returns their files with the bytes that they had on the disk; blocks. With `dry_run`, only finds them.
    pub fn prune_partials(&self, dry_run: bool, age: Duration, quota: Option<u64>) -> Result<Vec<(PathBuf, u64)>> {
        let Some(partials) = self.pool().existing_partials()? else { return Ok(Vec::new()) };
        let mut left = partials.leftovers()?;
        left.sort_by_key(|leftover| Reverse(leftover.modified));
        let (now, mut sum) = (SystemTime::now(), 0u64);
        let unneeded: Vec<_> = left
            .into_iter()
            .filter(|leftover| {
                sum = sum.saturating_add(leftover.bytes);
                let is_old = now.duration_since(leftover.modified).is_ok_and(|elapsed| elapsed >= age);
                is_old || quota.is_some_and(|quota| sum > quota)
            })
            .collect();
        let removed = if dry_run { unneeded } else { partials.clear(|leftover| unneeded.contains(leftover))? };
        Ok(removed.into_iter().map(|leftover| (leftover.path, leftover.bytes)).collect())
    }

    /// Removes the blobs that no repository links to. `removed_links` are those that a dry run would have removed.
    fn sweep_pool(&self, dry_run: bool, removed_links: &HashSet<(PathBuf, Digest)>, pruned: &mut Pruned) -> Result<()> {
        let (pool, found) = (self.pool(), self.find()?);
        let mut linked = HashSet::new();
        let mut is_known = !found.is_incomplete;
        let named = found.repositories.iter().map(|name| self.repository(name).layout().path().to_owned());
        for directory in named.chain(found.unusable.iter().map(|broken| broken.directory.clone())) {
            match Links::of(&directory).all() {
                Ok(links) => {
                    linked.extend(links.into_iter().filter(|digest| !removed_links.contains(&(directory.clone(), digest.clone()))));
                }
                // The repository is already reported as broken.
                Err(_) => is_known = false,
            }
        }
        pruned.broken.extend(found.unusable);
        if !is_known {
            // A directory that cannot be listed may hold a link to any blob.
            return Ok(());
        }
        let sha256 = pool.directory.join(Algorithm::Sha256.name());
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
        if let Some(directory) = pool.hash_states.as_ref().filter(|_| !dry_run) {
            let of_no_blob = |(path, _): &(PathBuf, u64)| path.file_name().is_some_and(|hex| !sha256.join(hex).exists());
            files(directory)?.iter().filter(|file| of_no_blob(file)).for_each(|(path, _)| drop(fs::remove_file(path)));
        }
        Ok(())
    }
}

/// A lock for a dry run. `None` if the lock file does not exist and cannot be created, as in a read-only store. Then no other process holds
/// it either.
fn as_far_as_possible<T>(locked: Result<T>) -> Result<Option<T>> {
    match locked {
        Err(Error::Io { source, .. }) if is_absent(&source) => Ok(None),
        Err(e) if is_read_only(&e) => Ok(None),
        locked => locked.map(Some),
    }
}

/// Removes the links of a repository that nothing in it needs, and the repository itself if nothing is left. A dry run adds these links to
/// `unneeded` instead, each with the directory of the repository.
fn prune_repository(repository: &Repository, dry_run: bool, unneeded: &mut HashSet<(PathBuf, Digest)>, pruned: &mut Pruned) -> Result<()> {
    let path = repository.lease_path();
    let locked = lock::try_exclusive(&path);
    let alone = if dry_run { as_far_as_possible(locked)? } else { Some(locked?) };
    let is_held = |alone: &Option<Lease>| alone.as_ref().map_or(Ok(true), |alone| lock::is_held_on(alone, &path));
    if alone.as_ref().map_or(Ok(false), is_held)? {
        pruned.busy.push(repository.name().clone());
        return Ok(());
    }
    let (directory, links) = (repository.layout().path(), repository.links());
    let needed = needed(repository)?;
    let garbage: Vec<Digest> = links.all()?.into_iter().filter(|digest| !needed.contains(digest)).collect();
    if dry_run {
        unneeded.extend(garbage.into_iter().map(|digest| (directory.to_owned(), digest)));
    } else {
        garbage.iter().try_for_each(|digest| links.remove(digest).map(drop))?;
    }
    {
        let locked = repository.layout().lock();
        let _index_stays = if dry_run { as_far_as_possible(locked)? } else { Some(locked?) };
        pruned.abandoned.extend(abandoned::sweep_temporaries(directory, dry_run)?);
    }
    if needed.is_empty() {
        if !dry_run {
            remove_layout(directory)?;
        }
        pruned.repositories.push(repository.name().clone());
    }
    Ok(())
}

/// What the manifests of a repository need: themselves, their configs and layers, and the manifests that indexes name.
///
/// Fails if a manifest is damaged, because then this is not known.
fn needed(repository: &Repository) -> Result<HashSet<Digest>> {
    let mut needed = HashSet::new();
    let mut to_visit: Vec<Descriptor> = repository.layout().manifests_blocking()?;
    while let Some(entry) = to_visit.pop() {
        if !needed.insert(entry.digest.clone()) {
            continue;
        }
        if let Some(manifest) = read_as_manifest(repository, &entry)? {
            needed.extend(manifest.blobs().map(|d| d.digest.clone()));
            to_visit.extend(manifest.manifests().iter().cloned());
        }
    }
    Ok(needed)
}

/// The manifest that an entry names. `None` if it was deleted, or if its bytes are intact but are not a manifest: then they need nothing.
fn read_as_manifest(repository: &Repository, entry: &Descriptor) -> Result<Option<Manifest>> {
    let blob = match repository.layout().open_blob(&entry.digest) {
        Ok(blob) => blob,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    let what = format!("manifest {}", entry.digest);
    if blob.len > MAX_MANIFEST_BYTES as u64 {
        // Larger than any manifest may be. It is damaged only if its entry gives another size.
        let is_intact = blob.len == entry.size || blob.digest(entry.digest.algorithm())? == entry.digest;
        let too_large = || repository.layout().damaged(format!("{what} has {} bytes, and should have {}", blob.len, entry.size));
        return if is_intact { Ok(None) } else { Err(too_large()) };
    }
    // The media type of the entry is not used: two entries may contradict each other, and what the bytes need does not depend on it.
    match verify_manifest(&what, blob.read()?, None, &entry.digest) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(Error::InvalidManifest { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Removes the files that make a directory a repository, and then the directory, unless another repository lies inside it.
/// `oci-layout` is removed first: without it the directory is no repository. The lease, which the caller holds exclusively, is removed
/// last, so that no process creates the repository again before all of it is removed.
fn remove_layout(layout: &Path) -> Result<()> {
    let remove = |name: &str, removed: std::io::Result<()>| match removed {
        Err(e) if !is_absent(&e) => Err(Error::io("remove", layout.join(name))(e)),
        _ => Ok(()),
    };
    let remove_file = |name: &str| remove(name, fs::remove_file(layout.join(name)));
    ["oci-layout", "index.json", "blobs", "_lock"].into_iter().try_for_each(remove_file)?;
    remove(LINKS, fs::remove_dir_all(layout.join(LINKS)))?;
    remove_file("_lease")?;
    // It is not empty if the name of another repository begins with this name.
    let _ = fs::remove_dir(layout);
    Ok(())
}
