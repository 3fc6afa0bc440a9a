//! Repairing a damaged store: afterwards it does not claim to have what is missing or has other bytes than its name says.
//!
//! Nothing is downloaded here. The next pull, pack or push that has a removed blob writes it again.

use super::{
    BrokenRepository, Repository, Store, Untagged,
    blobs::{clear, is_absent, is_intact, is_no_file},
    index::{self, Index},
    layout::{Change, LAYOUT_FILE},
    lock,
};
use modelpack_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, RepositoryName, Tag};
use modelpack_transfer::{CopyOptions, Error, FileRange, Progress, Result, blocking, for_each_concurrent, verify_manifest};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest `index.json`, in bytes, that is searched for tags if it cannot be parsed.
const MAX_OLD_INDEX: u64 = 64 << 20;

/// What was read and repaired in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many blobs were read.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// Blobs that were removed because their bytes had other digests, or because they were not regular files. With their sizes in bytes,
    /// sorted by digest.
    pub removed: Vec<(Digest, u64)>,
    /// Directories that had the names of blobs and were not empty: their new paths.
    pub moved_aside: Vec<PathBuf>,
    /// Blobs that may not be read or could not be removed, and why, sorted by digest.
    pub unrepaired: Vec<(Digest, String)>,
    /// Repositories in which something was repaired or is missing, sorted by name.
    pub repositories: Vec<RepairedRepository>,
    /// Repositories that could not be repaired.
    pub broken: Vec<BrokenRepository>,
}

/// What was repaired in a repository, and what it still lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RepairedRepository {
    /// Its name.
    #[serde(rename = "repository")]
    pub name: RepositoryName,
    /// What was wrong with its index, if that had to be made again from the existing manifests.
    pub rebuilt: Option<String>,
    /// Whether `oci-layout` was missing and was written again.
    pub completed: bool,
    /// Directories that had the names of its files and were not empty: their new paths.
    #[serde(serialize_with = "modelpack_spec::json::paths")]
    pub moved_aside: Vec<PathBuf>,
    /// Manifests that had no entry in the index, and now have one without a tag. They get one if the index named other manifests that are
    /// missing. Sorted by digest. Empty if the index was made again.
    pub kept: Vec<Digest>,
    /// Tags that were removed, because their manifests are missing, or because the index was made again and their manifests are not known.
    pub lost_tags: Vec<Tag>,
    /// Manifests that were in the index and are missing, sorted by digest.
    pub lost_manifests: Vec<Digest>,
    /// Existing manifests that name something that is missing, sorted by digest.
    pub incomplete: Vec<Incomplete>,
}

/// A manifest that names blobs or manifests that its repository does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Incomplete {
    /// The manifest.
    #[serde(rename = "digest")]
    pub manifest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What it names and its repository does not hold.
    pub missing: Vec<Digest>,
}

impl Store {
    /// Reads every blob of the store and removes the damaged ones. Makes the index of a repository again if it cannot be read. Removes tags
    /// whose manifests are missing. Returns what it did, and which manifests lack something now.
    ///
    /// Other processes may use the store meanwhile.
    pub async fn repair(&self, options: &CopyOptions) -> Result<Repaired> {
        let this = self.clone();
        let blobs = blocking(move || this.pool_files()).await?;
        blobs.iter().for_each(|(_, _, size)| options.progress.expect(*size));
        let mut repaired = Repaired { blobs: blobs.len(), bytes: blobs.iter().map(|(_, _, size)| size).sum(), ..Repaired::default() };
        let outcomes = for_each_concurrent(options.concurrency, blobs, |(path, digest, size)| {
            let (this, progress) = (self.clone(), options.progress.clone());
            blocking(move || Ok::<_, Error>((this.remove_if_damaged(&path, &digest, &progress)?, digest, size)))
        });
        for (outcome, digest, size) in outcomes.await? {
            match outcome {
                Outcome::Sound => {}
                Outcome::Removed => repaired.removed.push((digest, size)),
                Outcome::MovedAside(aside) => repaired.moved_aside.push(aside),
                Outcome::Unrepaired(why) => repaired.unrepaired.push((digest, why)),
            }
        }
        repaired.removed.sort();
        repaired.moved_aside.sort();
        repaired.unrepaired.sort();
        let this = self.clone();
        blocking(move || this.repair_repositories(repaired)).await
    }

    /// Everything with the name of a blob, with its size in bytes if it is a regular file.
    fn pool_files(&self) -> Result<Vec<(PathBuf, Digest, u64)>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.pool().directory.join(algorithm.name());
            let entries = match fs::read_dir(&directory) {
                Err(e) if is_absent(&e) => continue,
                entries => entries.map_err(Error::io("list", &directory))?,
            };
            for entry in entries {
                let entry = entry.map_err(Error::io("list", &directory))?;
                if let Ok(digest) = format!("{}:{}", algorithm.name(), entry.file_name().to_string_lossy()).parse() {
                    let size = self.pool().size(&digest)?.unwrap_or(0);
                    found.push((entry.path(), digest, size));
                }
            }
        }
        Ok(found)
    }

    fn remove_if_damaged(&self, path: &Path, digest: &Digest, progress: &Arc<Progress>) -> Result<Outcome> {
        let blob = match self.pool().open(digest) {
            Ok(Some(blob)) => blob,
            // It was removed meanwhile, or it is a broken link.
            Ok(None) => return self.remove_if_no_file(path),
            Err(Error::Io { source, .. }) if is_no_file(&source) => return self.remove_if_no_file(path),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(Outcome::Unrepaired(source.to_string()));
            }
            Err(e) => return Err(e),
        };
        let part = progress.part(format!("blob {}", digest.short()), blob.len);
        let is_intact = is_intact(&blob, digest, |bytes| part.moved(bytes))?;
        if is_intact {
            return Ok(Outcome::Sound);
        }
        let _nothing_is_added = self.pool().lock.as_deref().map(lock::exclusive).transpose()?;
        // Another process may have written the right bytes meanwhile.
        let read = blob.file.metadata().map_err(Error::io("look at", path))?;
        match fs::metadata(path) {
            Ok(now) if (now.dev(), now.ino()) == (read.dev(), read.ino()) => {
                Ok(fs::remove_file(path).map_or_else(|e| Outcome::Unrepaired(format!("it cannot be removed: {e}")), |()| Outcome::Removed))
            }
            _ => Ok(Outcome::Sound),
        }
    }

    /// Removes what has the name of a blob and is not a regular file.
    fn remove_if_no_file(&self, path: &Path) -> Result<Outcome> {
        let _nothing_is_added = self.pool().lock.as_deref().map(lock::exclusive).transpose()?;
        Ok(match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Outcome::Unrepaired("its disk cannot read it".to_owned()),
            Ok(_) => match clear(path) {
                Ok(None) => Outcome::Removed,
                Ok(Some(aside)) => Outcome::MovedAside(aside),
                Err(e) => Outcome::Unrepaired(e.to_string()),
            },
            Err(_) => Outcome::Sound,
        })
    }

    fn repair_repositories(&self, mut repaired: Repaired) -> Result<Repaired> {
        let found = self.find()?;
        for name in found.repositories {
            let repository = self.repository(&name);
            match repository.repair() {
                Ok(None) => {}
                Ok(Some(mended)) => repaired.repositories.push(mended),
                Err(error) => {
                    let directory = repository.layout().path().to_owned();
                    let (why, is_denied) = (error.to_string(), error.is_denied());
                    repaired.broken.push(BrokenRepository { name: Some(name), directory, why, is_denied });
                }
            }
        }
        repaired.broken.extend(found.unusable);
        Ok(repaired)
    }
}

/// The result for a blob that was read.
enum Outcome {
    /// It is intact, or was removed meanwhile.
    Sound,
    Removed,
    MovedAside(PathBuf),
    Unrepaired(String),
}

impl Repository {
    /// Makes the index again if it cannot be read, and removes from it what is gone, without reading any blob but manifests; says what was
    /// done and what is missing, `None` if nothing is; blocks.
    pub fn repair(&self) -> Result<Option<RepairedRepository>> {
        let Some(_lease) = lock::shared(&self.lease_path())? else { return Ok(None) };
        let _index_stays = self.layout().lock()?;
        let mut mended = RepairedRepository {
            name: self.name().clone(),
            rebuilt: None,
            completed: false,
            moved_aside: Vec::new(),
            kept: Vec::new(),
            lost_tags: Vec::new(),
            lost_manifests: Vec::new(),
            incomplete: Vec::new(),
        };
        let clear_file = |name: &str| clear(&self.layout().path().join(name));
        self.remove_dangling_links()?;
        let mut index = match self.layout().read_index() {
            Ok(Some(index)) => index,
            // The repository is being removed.
            Ok(None) => return Ok(None),
            Err(Error::Damaged { why, .. }) => {
                let (mut index, manifests) = (Index::empty(), self.linked_manifests()?);
                self.keep_unnamed(&mut index, &manifests);
                mended.lost_tags = self.restore_tags(&mut index, &manifests);
                mended.moved_aside.extend(clear_file(index::FILE)?);
                self.layout().write_index(&index, Change::Removes)?;
                mended.rebuilt = Some(why);
                index
            }
            Err(e) => return Err(e),
        };
        if !self.layout().is_complete() {
            mended.moved_aside.extend(clear_file(LAYOUT_FILE)?);
            mended.completed = self.layout().complete()?;
        }
        let mut tags = HashMap::<Digest, Vec<Tag>>::new();
        index.tags().into_iter().for_each(|(tag, entry)| tags.entry(entry.digest).or_default().push(tag));
        for entry in index.manifests() {
            let tags = tags.remove(&entry.digest).unwrap_or_default();
            if self.holds(&entry.digest)? {
                let missing = self.missing(&entry)?;
                if !missing.is_empty() {
                    mended.incomplete.push(Incomplete { manifest: entry.digest, tags, missing });
                }
            } else {
                mended.lost_tags.extend(tags);
                mended.lost_manifests.push(entry.digest);
            }
        }
        if !mended.lost_manifests.is_empty() {
            for digest in &mended.lost_manifests {
                index.remove_manifest(digest);
            }
            // Perhaps the index names a wrong manifest.
            mended.kept = self.keep_unnamed(&mut index, &self.linked_manifests()?);
            self.layout().write_index(&index, Change::Removes)?;
        }
        mended.lost_tags.sort();
        let is_sound = mended.rebuilt.is_none() && !mended.completed && mended.lost_manifests.is_empty() && mended.incomplete.is_empty();
        Ok((!is_sound).then_some(mended))
    }

    /// Whether the store has a blob with the bytes of its digest. All of it is read, even if it looks unchanged.
    pub async fn is_intact(&self, blob: &Descriptor) -> Result<bool> {
        let (this, digest) = (self.clone(), blob.digest.clone());
        blocking(move || this.pool().open_readable(&digest)?.map_or(Ok(false), |blob| is_intact(&blob, &digest, |_| ()))).await
    }

    fn holds(&self, digest: &Digest) -> Result<bool> {
        Ok(self.links().contain(digest)? && self.pool().size(digest)?.is_some())
    }

    fn remove_dangling_links(&self) -> Result<()> {
        let _nothing_is_collected = self.pool().guard()?;
        for digest in self.links().all()? {
            if self.pool().size(&digest)?.is_none() {
                self.links().remove(&digest)?;
            }
        }
        Ok(())
    }

    /// What a manifest that is there, and those that it names, need and is not.
    fn missing(&self, entry: &Descriptor) -> Result<Vec<Digest>> {
        let (mut missing, mut seen, mut to_visit) = (BTreeSet::new(), HashSet::new(), vec![entry.digest.clone()]);
        while let Some(digest) = to_visit.pop() {
            if !seen.insert(digest.clone()) {
                continue;
            }
            let Some(manifest) = self.manifest_if_intact(&digest)? else {
                if !self.holds(&digest)? {
                    missing.insert(digest);
                }
                continue;
            };
            for blob in manifest.blobs() {
                if !self.holds(&blob.digest)? {
                    missing.insert(blob.digest.clone());
                }
            }
            to_visit.extend(manifest.manifests().iter().map(|child| child.digest.clone()));
        }
        Ok(missing.into_iter().collect())
    }

    /// The manifest with this digest, if it is here and intact, and is a manifest.
    fn manifest_if_intact(&self, digest: &Digest) -> Result<Option<Manifest>> {
        match self.layout().open_blob(digest) {
            Ok(blob) if blob.len <= MAX_MANIFEST_BYTES as u64 => Ok(verify_manifest("", blob.read()?, None, digest).ok()),
            Ok(_) | Err(Error::NotFound { .. } | Error::Damaged { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The manifests that this repository links to. Fails if one of its blobs cannot be read, which may be a manifest.
    fn linked_manifests(&self) -> Result<BTreeMap<Digest, Manifest>> {
        let mut manifests = BTreeMap::new();
        for digest in self.links().all()? {
            if self.pool().open_readable(&digest)?.is_none() {
                return Err(self.layout().damaged(format!("blob {digest} cannot be read, and may be a manifest")));
            }
            if let Some(manifest) = self.manifest_if_intact(&digest)? {
                manifests.insert(digest, manifest);
            }
        }
        Ok(manifests)
    }

    /// Adds the manifests to `index` that neither it nor another one names; returns their digests.
    fn keep_unnamed(&self, index: &mut Index, manifests: &BTreeMap<Digest, Manifest>) -> Vec<Digest> {
        // A manifest that another one names needs no entry.
        let parts = manifests.values().flat_map(|manifest| manifest.blobs().chain(manifest.manifests()));
        let named: HashSet<Digest> = parts.chain(index.entries()).map(|named| named.digest.clone()).collect();
        let unnamed: Vec<_> = manifests.iter().filter(|(digest, _)| !named.contains(*digest)).collect();
        unnamed.iter().for_each(|(_, manifest)| index.put(None, manifest, Untagged::Keep));
        unnamed.into_iter().map(|(digest, _)| digest.clone()).collect()
    }

    /// Sets the tags that the damaged index still tells; returns those of which it tells no more than that there were such.
    fn restore_tags(&self, index: &mut Index, manifests: &BTreeMap<Digest, Manifest>) -> Vec<Tag> {
        // If the index is larger than any that a person or a tool writes, only the manifests are restored.
        let old = FileRange::open(&self.layout().path().join(index::FILE)).ok().filter(|old| old.len <= MAX_OLD_INDEX);
        let old = old.and_then(|old| old.read().ok()).unwrap_or_default();
        let mut lost = Vec::new();
        for (tag, digest) in tags_in(&old) {
            match manifests.get(&digest) {
                Some(manifest) => index.put(Some(tag.as_str()), manifest, Untagged::Keep),
                None => lost.push(tag),
            }
        }
        lost
    }
}

/// The tags in a damaged index with their digests, of every complete entry.
fn tags_in(index: &[u8]) -> Vec<(Tag, Digest)> {
    let (mut tags, mut rest) = (Vec::new(), index);
    while let Some(at) = rest.iter().position(|byte| *byte == b'{') {
        rest = &rest[at..];
        let mut entries = serde_json::Deserializer::from_slice(rest).into_iter::<Descriptor>();
        match entries.next() {
            Some(Ok(entry)) => {
                rest = &rest[entries.byte_offset()..];
                let tag = index::tag_of(&entry).and_then(|tag| tag.parse().ok());
                tags.extend(tag.map(|tag| (tag, entry.digest)));
            }
            _ => rest = &rest[1..],
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::annotation;

    #[test]
    fn a_damaged_index_still_tells_the_tags_of_its_whole_entries() {
        let entry = |tag: &str| {
            let mut entry = Descriptor::of("application/x", tag.as_bytes());
            entry.annotations.insert(annotation::REF_NAME.to_owned(), tag.to_owned());
            entry
        };
        let index = modelpack_spec::ImageIndex::new(vec![entry("v1"), entry("v2")]);
        let bytes = serde_json::to_vec_pretty(&index).unwrap();
        let tag = |text: &str| (text.parse::<Tag>().unwrap(), Digest::of(text.as_bytes()));
        for (cut, expected) in [(0, vec![]), (bytes.len() - 20, vec![tag("v1")]), (bytes.len() - 1, vec![tag("v1"), tag("v2")])] {
            assert_eq!(tags_in(&bytes[..cut]), expected);
        }
        let mut flipped = bytes.clone();
        flipped[5] = 0;
        assert_eq!(tags_in(&flipped), [tag("v1"), tag("v2")]);
        assert_eq!(tags_in(&[b'{'; 1000]), []);
    }
}
