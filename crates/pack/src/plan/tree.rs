//! The files that may be planned: those below the directory, and where that is a snapshot in a cache of Hugging Face, the blobs of the
//! same cached repository. Links may lead to these and nowhere else.

use super::{
    SourceFile,
    hub_cache::{CachedRepository, cached_repository},
    kind_of,
};
use crate::{
    Error, Result,
    directory::{Directory, failed},
};
use std::{
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The directories, held open.
pub(super) struct Tree {
    root: Arc<Directory>,
    /// What holds the files of a snapshot, if `root` is one.
    cached: Option<CachedRepository>,
}

/// What a path leads to.
pub(super) enum Target {
    /// This, which is no link.
    Inside(Found),
    /// Something that may not be taken: its path, with every link followed.
    Outside { path: PathBuf, is_directory: bool },
    /// Nothing: the text of a link.
    Nothing { text: PathBuf },
}

/// A file or directory, and where it really lies.
pub(super) struct Found {
    pub(super) within: Arc<Directory>,
    /// Below that.
    pub(super) below: PathBuf,
    pub(super) metadata: Metadata,
}

impl Found {
    /// Its path with every link followed.
    pub(super) fn path(&self) -> PathBuf {
        self.within.path().join(&self.below)
    }

    pub(super) fn into_source(self) -> SourceFile {
        SourceFile::new(self.within, self.below, &self.metadata)
    }
}

impl Tree {
    /// Opens `directory`; links in this path itself are followed.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        let root = match fs::canonicalize(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(modelpack_transfer::Error::not_found(format!("the directory {}", directory.display())).into());
            }
            root => root.map_err(modelpack_transfer::Error::io("open", directory))?,
        };
        if !root.is_dir() {
            return Err(Error::NotADirectory { path: directory.to_owned() });
        }
        let cached = cached_repository(&root).and_then(CachedRepository::open);
        Ok(Self { root: Arc::new(Directory::open(&root).map_err(failed("list", directory))?), cached })
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Arc<Directory> {
        &self.root
    }

    /// What is at `below`, with a link followed; `shown` is its name in an error.
    pub(super) fn find(&self, within: &Arc<Directory>, below: PathBuf, shown: &Path) -> Result<Target> {
        let metadata = within.look(&below).map_err(|obstacle| obstacle.since(shown))?;
        let found = Found { within: within.clone(), below, metadata };
        if found.metadata.is_symlink() { self.follow(&found.path(), shown) } else { Ok(Target::Inside(found)) }
    }

    /// Where `link` leads, with every link on the way followed.
    ///
    /// The path that comes of it is walked again without following any. So something that was put there just now is not taken for
    /// what was found.
    pub(super) fn follow(&self, link: &Path, shown: &Path) -> Result<Target> {
        let path = match fs::canonicalize(link) {
            Ok(path) => path,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let text = fs::read_link(link).map_err(modelpack_transfer::Error::io("read the link", shown))?;
                return Ok(Target::Nothing { text });
            }
            Err(e) => return Err(modelpack_transfer::Error::io("follow the link", shown)(e).into()),
        };
        let is_below_root = path.starts_with(self.root.path());
        let holder = if is_below_root { Some(&self.root) } else { self.cached.as_ref().and_then(|cached| cached.holder(link, &path)) };
        let Some((within, below)) = holder.and_then(|holder| Some((holder, path.strip_prefix(holder.path()).ok()?.to_owned()))) else {
            let is_directory = fs::metadata(&path).map_err(modelpack_transfer::Error::io("look at", shown))?.is_dir();
            return Ok(Target::Outside { path, is_directory });
        };
        let metadata = within.look(&below).map_err(|obstacle| obstacle.since(shown))?;
        if metadata.is_symlink() {
            return Err(modelpack_transfer::Error::Changed { path: shown.to_owned() }.into());
        }
        Ok(Target::Inside(Found { within: within.clone(), below, metadata }))
    }

    /// Opens a file that says what is packed, at `below`. As little as any other may it be a link that leads out: errors show what it
    /// holds.
    pub(super) fn open_file(&self, within: &Arc<Directory>, below: PathBuf, shown: &Path) -> Result<File> {
        let found = match self.find(within, below, shown)? {
            Target::Inside(found) => found,
            Target::Outside { path, .. } => return Err(self.outside(shown, path)),
            Target::Nothing { text } => return Err(Error::LinkDangling { link: shown.to_owned(), target: text }),
        };
        // Opening a pipe would wait for somebody who writes to it.
        if !found.metadata.is_file() {
            return Err(Error::NotAFile { path: shown.to_owned(), kind: kind_of(found.metadata.file_type()) });
        }
        Ok(found.into_source().open()?.0)
    }

    /// The error that `link` leads out, to `target`.
    pub(super) fn outside(&self, link: &Path, target: PathBuf) -> Error {
        Error::LinkOutside { link: link.to_owned(), target, directory: self.root.path().to_owned() }
    }
}
