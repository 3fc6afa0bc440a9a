//! The tree of a directory: the files below it and, for a snapshot in a Hugging Face cache, the
//! blobs of the same cached repository. Links may point only to these.

use super::{
    SourceFile,
    filter::read_rules,
    hub_cache::{CachedRepository, cached_repository},
    tree::{Rules, Taken, Tree},
};
use crate::{
    Error, Result,
    directory::{Directory, Obstacle, failed},
};
use rustix::io::Errno;
use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, FileType, Metadata},
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

/// A directory with a longer path is not listed, because paths in artifacts are not longer.
const MAX_PATH_BYTES: usize = 4096;

/// The directories, held open.
pub(super) struct DirectoryTree {
    /// The path of the directory as the user gave it, for errors.
    shown: PathBuf,
    root: Arc<Directory>,
    /// The directories with the files of a snapshot, if `root` is one.
    cached: Option<CachedRepository>,
}

/// The target of a path.
enum Target {
    /// This file or directory, which is not a link.
    Inside(Found),
    /// A target that may not be used: its path, with all links resolved.
    Outside { path: PathBuf, is_directory: bool },
    /// A missing target: the text of the link.
    Nothing { text: PathBuf },
}

/// A file or directory, and its real location.
struct Found {
    within: Arc<Directory>,
    /// Its path below `within`.
    below: PathBuf,
    metadata: Metadata,
}

impl Found {
    /// Its path with all links resolved.
    fn path(&self) -> PathBuf {
        self.within.path().join(&self.below)
    }

    fn into_source(self) -> SourceFile {
        SourceFile::new(self.within, self.below, &self.metadata)
    }
}

impl DirectoryTree {
    /// Opens `directory`. Links in this path itself are followed.
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
        let open = Directory::open(&root).map_err(failed("list", directory))?;
        Ok(Self { shown: directory.to_owned(), root: Arc::new(open), cached })
    }

    /// The directory itself.
    pub(super) fn top(&self) -> &Arc<Directory> {
        &self.root
    }

    /// The target of `below`, which may be a link. `shown` is its name in errors.
    fn find(&self, within: &Arc<Directory>, below: PathBuf, shown: &Path) -> Result<Target> {
        let metadata = within.look(&below).map_err(|obstacle| obstacle.since(shown))?;
        let found = Found { within: within.clone(), below, metadata };
        if found.metadata.is_symlink() { self.follow(&found.path(), shown) } else { Ok(Target::Inside(found)) }
    }

    /// The target of `link`, with all links resolved.
    ///
    /// The resolved path is walked again without following links. So a file that was just put there
    /// is not mistaken for the target.
    fn follow(&self, link: &Path, shown: &Path) -> Result<Target> {
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

    /// Opens the file at `below`, which controls packing. A link out of the tree is refused,
    /// because errors show the content of the file.
    pub(super) fn open_file(&self, within: &Arc<Directory>, below: PathBuf, shown: &Path) -> Result<File> {
        let found = match self.find(within, below, shown)? {
            Target::Inside(found) => found,
            Target::Outside { path, .. } => return Err(self.outside(shown, path)),
            Target::Nothing { text } => return Err(Error::LinkDangling { link: shown.to_owned(), target: text }),
        };
        // Opening a pipe would block until a writer opens it.
        if !found.metadata.is_file() {
            return Err(Error::NotAFile { path: shown.to_owned(), kind: kind_of(found.metadata.file_type()) });
        }
        Ok(found.into_source().open()?.0)
    }

    /// The error for a `link` out of the tree, to `target`.
    fn outside(&self, link: &Path, target: PathBuf) -> Error {
        Error::LinkOutside { link: link.to_owned(), target, directory: self.root.path().to_owned() }
    }
}

/// A directory below the top.
pub(super) struct ListedDirectory {
    /// Its path below the top.
    path: PathBuf,
    /// Its real location.
    within: Arc<Directory>,
    below: PathBuf,
    /// The top, and the directories to which links on this path pointed.
    origins: Rc<[PathBuf]>,
}

/// An item of a directory.
pub(super) struct Candidate {
    /// Its path below the top.
    path: PathBuf,
    target: Target,
    /// The origins of its directory, and the item itself if a link points to it.
    origins: Rc<[PathBuf]>,
    /// The target of a link, if that directory contains the link.
    cycle: Option<PathBuf>,
}

impl DirectoryTree {
    /// The name of the file or directory `path`, relative to the top, in errors.
    fn shown(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() { self.shown.clone() } else { self.shown.join(path) }
    }

    /// The target, if it may be used. `link` is the path that points to it.
    fn inside(&self, target: Target, link: PathBuf) -> Result<Found> {
        match target {
            Target::Inside(found) => Ok(found),
            Target::Outside { path, .. } => Err(self.outside(&link, path)),
            Target::Nothing { text } => Err(Error::LinkDangling { link, target: text }),
        }
    }
}

impl Tree for DirectoryTree {
    type Directory = ListedDirectory;
    type Open = Directory;
    type Found = Candidate;
    type Source = SourceFile;

    fn name(&self) -> String {
        self.shown.display().to_string()
    }

    fn is_chosen(&self) -> bool {
        false
    }

    fn root(&self) -> ListedDirectory {
        let root = &self.root;
        ListedDirectory { path: PathBuf::new(), within: root.clone(), below: PathBuf::new(), origins: [root.path().to_owned()].into() }
    }

    fn open(&self, directory: &ListedDirectory) -> Result<Directory> {
        let shown = self.shown(&directory.path);
        // Each directory is opened from the top, so the time for a hostile depth would grow with
        // its square.
        if directory.below.as_os_str().len() > MAX_PATH_BYTES {
            return Err(failed("list", &shown)(Errno::NAMETOOLONG).into());
        }
        Ok(directory.within.directory(&directory.below).map_err(|obstacle| not_listed(obstacle, &shown))?)
    }

    fn names(&self, directory: &ListedDirectory, open: &Directory) -> Result<Vec<OsString>> {
        let mut names = open.names().map_err(modelpack_transfer::Error::io("list", self.shown(&directory.path)))?;
        names.sort();
        Ok(names)
    }

    fn rules(&self, directory: &ListedDirectory, name: &str) -> Result<Option<Rules>> {
        let below = directory.below.join(name);
        // A broken link does not count as a missing file, because it was meant to exclude
        // something.
        if matches!(directory.within.look(&below), Err(Obstacle::Missing)) {
            return Ok(None);
        }
        let shown = self.shown(&directory.path).join(name);
        let text = read_rules(self.open_file(&directory.within, below, &shown)?, &shown)?;
        Ok(Some(Rules { name: shown.to_string_lossy().into_owned(), text }))
    }

    fn look(&self, directory: &ListedDirectory, open: &Directory, name: &OsStr) -> Result<(bool, Candidate)> {
        let path = directory.path.join(name);
        let shown = self.shown(&path);
        let metadata = open.look(Path::new(name)).map_err(|obstacle| obstacle.since(&shown))?;
        let is_link = metadata.is_symlink();
        let target = match is_link {
            true => self.follow(&open.path().join(name), &shown)?,
            false => Target::Inside(Found { within: directory.within.clone(), below: directory.below.join(name), metadata }),
        };
        let is_directory = match &target {
            Target::Inside(found) => found.metadata.is_dir(),
            Target::Outside { is_directory, .. } => *is_directory,
            // A dangling link is treated as a file.
            Target::Nothing { .. } => false,
        };
        let (mut origins, mut cycle) = (directory.origins.clone(), None);
        if let (true, true, Target::Inside(found)) = (is_link, is_directory, &target) {
            let path = found.path();
            if open.path().starts_with(&path) || origins.contains(&path) {
                cycle = Some(path);
            } else {
                origins = origins.iter().cloned().chain([path]).collect();
            }
        }
        Ok((is_directory, Candidate { path, target, origins, cycle }))
    }

    fn enter(&self, found: Candidate) -> Result<ListedDirectory> {
        let Candidate { path, target, origins, cycle } = found;
        let shown = self.shown(&path);
        let Found { within, below, .. } = self.inside(target, shown.clone())?;
        match cycle {
            Some(target) => Err(Error::LinkCycle { link: shown, target }),
            None => Ok(ListedDirectory { path, within, below, origins }),
        }
    }

    fn take(&self, found: Candidate) -> Result<Taken<SourceFile>> {
        let shown = self.shown(&found.path);
        let is_utf8 = found.path.to_str().is_some();
        let found = self.inside(found.target, shown.clone())?;
        if !found.metadata.is_file() {
            return Err(Error::NotAFile { path: shown, kind: kind_of(found.metadata.file_type()) });
        }
        if !is_utf8 {
            return Err(Error::NotUtf8 { path: shown });
        }
        found.within.may_read(&found.below).map_err(|obstacle| obstacle.since(&shown))?;
        let executable = found.metadata.permissions().mode() & 0o100 != 0;
        Ok(Taken { size: found.metadata.len(), executable, kind: None, source: found.into_source() })
    }
}

/// The error if a directory that was seen before cannot be listed.
fn not_listed(obstacle: Obstacle, shown: &Path) -> modelpack_transfer::Error {
    match obstacle.since(shown) {
        modelpack_transfer::Error::Io { source, .. } => modelpack_transfer::Error::io("list", shown)(source),
        error => error,
    }
}

/// The name of a file type.
pub(super) fn kind_of(file_type: FileType) -> &'static str {
    match file_type {
        t if t.is_dir() => "directory",
        t if t.is_fifo() => "named pipe",
        t if t.is_socket() => "socket",
        _ => "device",
    }
}
