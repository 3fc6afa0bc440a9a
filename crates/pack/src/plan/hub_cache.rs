//! The cache of Hugging Face's hub, whose snapshots are folders of links.
//!
//! A file of `<cache>/models--org--name/snapshots/<commit>` is a link into the `blobs` of that repository. Since version 1.32 of
//! `huggingface_hub` what lies there may be a link itself, to `<cache>/blobs/<2 hex>/<64 hex>`, which all repositories of the cache share.

use crate::directory::Directory;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The file that makes `<cache>/blobs` a place for shared files, and what it holds: the version of the layout.
const MARKER: (&str, &str) = (".huggingface-shared-blobs", "1\n");
/// The digits of a hash that names a shared file, and how many of them name the directory that it is in.
const HASH: (usize, usize) = (64, 2);
/// The system follows no more links than this.
const MAX_LINKS: usize = 40;

/// What holds the files of the snapshots of one repository in a cache.
pub(super) struct CachedRepository {
    /// Its own.
    blobs: Arc<Directory>,
    /// Those that it shares with the others.
    shared: Option<Arc<Directory>>,
}

impl CachedRepository {
    /// Opens what the repository at `path` in a cache has; nothing if it has no files.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let blobs = Arc::new(Directory::open(path).ok()?.directory(Path::new("blobs")).ok()?);
        Some(Self { blobs, shared: shared(path.parent()?) })
    }

    /// The directory that holds the file to which `link`, of a snapshot, leads over all others; `path` has no link in it. Nothing if that
    /// is no file of this repository.
    pub(super) fn holder(&self, link: &Path, path: &Path) -> Option<&Arc<Directory>> {
        if path.parent() == Some(self.blobs.path()) {
            return Some(&self.blobs);
        }
        let shared = self.shared.as_ref()?;
        let is_shared = path.strip_prefix(shared.path()).is_ok_and(is_shared_file);
        // A file that is shared is one of this repository if the repository says so.
        (is_shared && self.is_passed(link)).then_some(shared)
    }

    /// Whether the way from `link` leads over a file of the repository itself.
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

/// Where one link leads; the directory that this is in has no link in its path.
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

/// Whether a path below `<cache>/blobs` is that of a shared file: `<2 hex>/<64 hex>`, which begin alike.
fn is_shared_file(path: &Path) -> bool {
    let (digits, first) = HASH;
    let Some((directory, hash)) = path.to_str().and_then(|path| path.split_once('/')) else { return false };
    let is_hash = hash.len() == digits && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_hash && directory == &hash[..first]
}

/// `<repository>`, if `root` is `<repository>/snapshots/<revision>` or below it, in a cache of Hugging Face.
pub(super) fn cached_repository(root: &Path) -> Option<&Path> {
    root.ancestors().find_map(|revision| {
        let snapshots = revision.parent()?;
        let repository = snapshots.parent()?;
        let name = repository.file_name()?.to_str()?;
        let is_cached = ["models--", "datasets--", "spaces--", "kernels--"].iter().any(|prefix| name.starts_with(prefix));
        (is_cached && snapshots.file_name()? == "snapshots").then_some(repository)
    })
}
