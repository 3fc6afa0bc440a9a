//! The cache of the Hugging Face hub, whose snapshots are directories of links.
//!
//! A file of `<cache>/models--org--name/snapshots/<commit>` is a link to the `blobs` of that
//! repository. Since version 1.32 of `huggingface_hub`, a file in `blobs` may itself be a link to
//! `<cache>/blobs/<2 hex>/<64 hex>`, which all repositories of the cache share.

use crate::directory::Directory;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file that marks `<cache>/blobs` as a directory for shared files, and its content, the
/// version of the layout.
const MARKER: (&str, &str) = (".huggingface-shared-blobs", "1\n");
/// The number of digits in the name of a shared file, and the number of them in the name of its
/// directory.
const HASH: (usize, usize) = (64, 2);
/// The maximum number of links that the system follows.
const MAX_LINKS: usize = 40;

/// The directories with the files of a cached repository's snapshots.
pub(super) struct CachedRepository {
    /// Its own directory.
    blobs: Arc<Directory>,
    /// The directory that it shares with other repositories.
    shared: Option<Arc<Directory>>,
}

impl CachedRepository {
    /// Opens the directories of the cached repository at `path`; `None` if it has no files.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let blobs = Arc::new(Directory::open(path).ok()?.directory(Path::new("blobs")).ok()?);
        Some(Self { blobs, shared: shared(path.parent()?) })
    }

    /// The directory with the target of `link`, which is in a snapshot. `path` is the target with
    /// all links resolved. `None` if the target is not a file of this repository.
    pub(super) fn holder(&self, link: &Path, path: &Path) -> Option<&Arc<Directory>> {
        if path.parent() == Some(self.blobs.path()) {
            return Some(&self.blobs);
        }
        let shared = self.shared.as_ref()?;
        let is_shared = path.strip_prefix(shared.path()).is_ok_and(is_shared_file);
        // A shared file belongs to this repository if the repository has a link to it.
        (is_shared && self.is_passed(link)).then_some(shared)
    }

    /// Whether the chain of links from `link` passes through the repository's own directory.
    fn is_passed(&self, link: &Path) -> bool {
        let mut at = link.to_owned();
        for _ in 0..MAX_LINKS {
            let Some(next) = followed(&at) else { return false };
            if next.parent() == Some(self.blobs.path()) {
                return true;
            }
            at = next;
        }
        false
    }
}

/// The target of one link, with the path of its directory resolved.
fn followed(link: &Path) -> Option<PathBuf> {
    let next = link.parent()?.join(fs::read_link(link).ok()?);
    Some(fs::canonicalize(next.parent()?).ok()?.join(next.file_name()?))
}

/// `<cache>/blobs`, if the repositories of the cache share files there.
fn shared(cache: &Path) -> Option<Arc<Directory>> {
    let (name, version) = MARKER;
    let blobs = Directory::open(cache).ok()?.directory(Path::new("blobs")).ok()?;
    let mut marker = String::new();
    blobs.file(Path::new(name)).ok()?.take(version.len() as u64 + 1).read_to_string(&mut marker).ok()?;
    (marker == version).then(|| Arc::new(blobs))
}

/// Whether a path below `<cache>/blobs` is that of a shared file: `<2 hex>/<64 hex>` with the same
/// first digits.
fn is_shared_file(path: &Path) -> bool {
    let (digits, first) = HASH;
    let Some((directory, hash)) = path.to_str().and_then(|path| path.split_once('/')) else { return false };
    let is_hash = hash.len() == digits && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hash && directory == &hash[..first]
}

/// `<repository>`, if `root` is `<repository>/snapshots/<revision>` or below it, in a Hugging Face
/// cache.
pub(super) fn cached_repository(root: &Path) -> Option<&Path> {
    root.ancestors().find_map(|revision| {
        let snapshots = revision.parent()?;
        let repository = snapshots.parent()?;
        let name = repository.file_name()?.to_str()?;
        let is_cached = ["models--", "datasets--", "spaces--", "kernels--"].iter().any(|prefix| name.starts_with(prefix));
        (is_cached && snapshots.file_name()? == "snapshots").then_some(repository)
    })
}
