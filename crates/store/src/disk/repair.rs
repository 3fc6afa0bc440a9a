//! Making a damaged store say the truth again: what is not there, or not what its name says, is claimed no longer.
//!
//! Nothing is fetched here. A blob that was removed comes back with the next pull, pack or push that has it.

use super::{
    BrokenRepository, Repository, Store, Untagged,
    blobs::{files, is_intact},
    index::{self, Index},
    layout::Change,
    lock,
};
use crate::{CopyOptions, Error, FileRange, Progress, Result, blocking, for_each_concurrent, verify_manifest};
use modelpack_spec::{Algorithm, Descriptor, Digest, MAX_MANIFEST_BYTES, Manifest, RepositoryName, Tag};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The largest `index.json` that is searched for tags when it cannot be read as what it is, in bytes.
const MAX_OLD_INDEX: u64 = 64 << 20;

/// What was read and mended in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// How many blobs were read.
    pub blobs: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// Blobs that were removed because they had other bytes than their digests say, with their sizes in bytes, sorted by digest.
    pub removed: Vec<(Digest, u64)>,
    /// Repositories in which something was mended or is missing, sorted by name.
    pub repositories: Vec<RepairedRepository>,
    /// Repositories that could not be mended.
    pub broken: Vec<BrokenRepository>,
}

/// What was mended in a repository, and what it still lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedRepository {
    /// Its name.
    pub name: RepositoryName,
    /// What was wrong with its index, if it had to be made again from the manifests that are there.
    pub rebuilt: Option<String>,
    /// Tags that were removed: their manifests are gone, or, in an index that was made again, nothing says which they were.
    pub lost_tags: Vec<Tag>,
    /// Manifests that were in the index and are gone, sorted by digest.
    pub lost_manifests: Vec<Digest>,
    /// Manifests that are there and name something that is not, sorted by digest.
    pub incomplete: Vec<Incomplete>,
}

/// A manifest that names blobs or manifests which its repository does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The manifest.
    pub manifest: Digest,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// What it names and is not there.
    pub missing: Vec<Digest>,
}

impl Store {
    /// Reads every blob of the store and removes those that are damaged; makes the index of a repository again if it cannot be read;
    /// removes tags whose manifests are gone. Says what it did, and which manifests lack something now.
    ///
    /// Others may use the store meanwhile.
    pub async fn repair(&self, options: &CopyOptions) -> Result<Repaired> {
        let this = self.clone();
        let blobs = blocking(move || this.pool_files()).await?;
        blobs.iter().for_each(|(_, _, size)| options.progress.expect(*size));
        let mut repaired = Repaired { blobs: blobs.len(), bytes: blobs.iter().map(|(_, _, size)| size).sum(), ..Repaired::default() };
        let damaged = for_each_concurrent(options.concurrency, blobs, |(path, digest, size)| {
            let (this, progress) = (self.clone(), options.progress.clone());
            blocking(move || Ok::<_, Error>(this.remove_if_damaged(&path, &digest, &progress)?.then_some((digest, size))))
        });
        repaired.removed = damaged.await?.into_iter().flatten().collect();
        repaired.removed.sort();
        let this = self.clone();
        blocking(move || this.repair_repositories(repaired)).await
    }

    fn pool_files(&self) -> Result<Vec<(PathBuf, Digest, u64)>> {
        let mut found = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for (path, size) in files(&self.pool().directory.join(algorithm.name()))? {
                let hex = path.file_name().unwrap_or_default().to_string_lossy();
                if let Ok(digest) = format!("{}:{hex}", algorithm.name()).parse() {
                    found.push((path, digest, size));
                }
            }
        }
        Ok(found)
    }

    fn remove_if_damaged(&self, path: &Path, digest: &Digest, progress: &Progress) -> Result<bool> {
        let Some(blob) = self.pool().open(digest)? else { return Ok(false) };
        let is_intact = is_intact(&blob, digest)?;
        progress.moved(blob.len);
        if is_intact {
            return Ok(false);
        }
        let _nothing_is_added = self.pool().lock.as_deref().map(lock::exclusive).transpose()?;
        // Somebody may have brought the right bytes in the meantime.
        let read = blob.file.metadata().map_err(Error::io("look at", path))?;
        match fs::symlink_metadata(path) {
            Ok(now) if (now.dev(), now.ino()) == (read.dev(), read.ino()) => {
                fs::remove_file(path).map_err(Error::io("remove", path))?;
                Ok(true)
            }
            _ => Ok(false),
        }
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
                    repaired.broken.push(BrokenRepository { name: Some(name), directory, why: error.to_string() });
                }
            }
        }
        repaired.broken.extend(found.unusable);
        Ok(repaired)
    }
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
            lost_tags: Vec::new(),
            lost_manifests: Vec::new(),
            incomplete: Vec::new(),
        };
        self.remove_dangling_links()?;
        let mut index = match self.layout().read_index() {
            Ok(Some(index)) => index,
            // It is being removed.
            Ok(None) => return Ok(None),
            Err(Error::Damaged { why, .. }) => {
                let (index, lost) = self.rebuilt_index()?;
                // An empty directory may have its name, which no file replaces.
                let _ = fs::remove_dir(self.layout().path().join(index::FILE));
                self.layout().write_index(&index, Change::Removes)?;
                (mended.rebuilt, mended.lost_tags) = (Some(why), lost);
                index
            }
            Err(e) => return Err(e),
        };
        let tags = index.tags();
        for entry in index.manifests() {
            let tags: Vec<Tag> = tags.iter().filter(|(_, tagged)| tagged.digest == entry.digest).map(|(tag, _)| tag.clone()).collect();
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
            self.layout().write_index(&index, Change::Removes)?;
        }
        mended.lost_tags.sort();
        let is_sound = mended.rebuilt.is_none() && mended.lost_manifests.is_empty() && mended.incomplete.is_empty();
        Ok((!is_sound).then_some(mended))
    }

    /// Whether the store has a blob, with the bytes that its digest says. All of it is read, whatever is known of it.
    pub async fn is_intact(&self, blob: &Descriptor) -> Result<bool> {
        let (this, digest) = (self.clone(), blob.digest.clone());
        blocking(move || this.pool().open(&digest)?.map_or(Ok(false), |blob| is_intact(&blob, &digest))).await
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

    /// The manifest with these bytes, if they are there, as they should be, and a manifest.
    fn manifest_if_intact(&self, digest: &Digest) -> Result<Option<Manifest>> {
        match self.layout().open_blob(digest) {
            Ok(blob) if blob.len <= MAX_MANIFEST_BYTES as u64 => Ok(verify_manifest("", blob.read()?, None, digest).ok()),
            Ok(_) | Err(Error::NotFound { .. } | Error::Damaged { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// An index of the manifests that this repository links to, with the tags that the old index still tells; and the tags of which it
    /// tells no more than that there were such.
    fn rebuilt_index(&self) -> Result<(Index, Vec<Tag>)> {
        let mut manifests = BTreeMap::new();
        for digest in self.links().all()? {
            if let Some(manifest) = self.manifest_if_intact(&digest)? {
                manifests.insert(digest, manifest);
            }
        }
        // What another one names is part of that.
        let parts: HashSet<Digest> =
            manifests.values().flat_map(|m| m.blobs().chain(m.manifests())).map(|named| named.digest.clone()).collect();
        let (mut index, mut lost) = (Index::empty(), Vec::new());
        for (_, manifest) in manifests.iter().filter(|(digest, _)| !parts.contains(*digest)) {
            index.put(None, manifest, Untagged::Keep);
        }
        // Of one that is larger than any that a person or tool writes, only the manifests come back.
        let old = FileRange::open(&self.layout().path().join(index::FILE)).ok().filter(|old| old.len <= MAX_OLD_INDEX);
        let old = old.and_then(|old| old.read().ok()).unwrap_or_default();
        for (tag, digest) in tags_in(&old) {
            match manifests.get(&digest) {
                Some(manifest) => index.put(Some(tag.as_str()), manifest, Untagged::Keep),
                None => lost.push(tag),
            }
        }
        Ok((index, lost))
    }
}

/// The tags in an index that is damaged, with their digests: of every entry that is whole.
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
