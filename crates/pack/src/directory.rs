//! A directory that is held open. What is below it is reached one component at a time and through no symbolic link, so that whatever
//! is replaced meanwhile, nothing outside of it is read or written.

use modelpack_transfer::Error;
use rustix::{
    fs::{Access, AtFlags, Dir, Mode, OFlags, accessat, mkdirat, openat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs::{File, FileType, Metadata},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

/// How a directory is opened that is listed, locked or synced: only if it is one, and not through a link.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a directory is opened that is only passed through. Nobody has to be allowed to list it.
const ON_THE_WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How something is opened to be looked at, which has no effect on it: not on a pipe, not on a device.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a file is opened. Should a pipe or device have taken its place just now, this does not wait for it.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// An open directory. Paths below it have neither a `..` nor a root.
#[derive(Debug)]
pub(crate) struct Directory {
    open: OwnedFd,
    path: PathBuf,
}

/// Why a path below a directory does not lead to what it should lead to.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// Nothing has the path, or not any more.
    Missing,
    /// This is a symbolic link, or no directory, where a directory is needed.
    NotADirectory(PathBuf),
    /// This has the path of a file and is something else.
    NotAFile(PathBuf, FileType),
    /// The system refused.
    Failed(Error),
}

impl Obstacle {
    /// The error for whoever was at `path` before, which is what they call it: it is not there as it was, or the system refuses.
    pub(crate) fn since(self, path: &Path) -> Error {
        match self {
            Self::Failed(Error::Io { action, source, .. }) => Error::io(action, path)(source),
            Self::Failed(error) => error,
            Self::Missing | Self::NotADirectory(_) | Self::NotAFile(..) => Error::Changed { path: path.to_owned() },
        }
    }
}

impl Directory {
    /// Opens the directory at `path`. Links in the path itself are followed: somebody named it.
    pub(crate) fn open(path: &Path) -> rustix::io::Result<Self> {
        let open = rustix::fs::open(path, DIRECTORY & !OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { open, path: path.to_owned() })
    }

    /// What the directory is called: the path by which it was opened, or that and the one below it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory at `path`, to be listed, locked or synced.
    pub(crate) fn directory(&self, path: &Path) -> Result<Self, Obstacle> {
        self.enter(path.components(), DIRECTORY, false)
    }

    /// The directory at `path`, which is made if need be, with those above it.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<Self, Obstacle> {
        self.enter(path.components(), DIRECTORY, true)
    }

    /// What is at `path`, be it a link, without opening it; the directory itself if the path is empty.
    pub(crate) fn look(&self, path: &Path) -> Result<Metadata, Obstacle> {
        if path.as_os_str().is_empty() {
            return self.look_at(OsStr::new("."));
        }
        let (parent, name) = self.parent(path)?;
        parent.look_at(name)
    }

    /// The file at `path`, open for reading.
    pub(crate) fn file(&self, path: &Path) -> Result<File, Obstacle> {
        let (parent, name) = self.parent(path)?;
        let is_file = |found: Metadata| match found.is_file() {
            true => Ok(()),
            false => Err(Obstacle::NotAFile(parent.path.join(name), found.file_type())),
        };
        // Looked at first, because merely opening a device can have effects.
        parent.look_at(name).and_then(is_file)?;
        let file = match openat(&parent, name, FILE, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Err(Obstacle::Missing),
            Err(error) => return Err(parent.failed("open", name)(error)),
        };
        is_file(file.metadata().map_err(|error| Obstacle::Failed(Error::io("look at", parent.path.join(name))(error)))?)?;
        Ok(file)
    }

    /// Fails with the system's reason if the file at `path` may not be read.
    pub(crate) fn may_read(&self, path: &Path) -> Result<(), Obstacle> {
        let (parent, name) = self.parent(path)?;
        match accessat(&parent, name, Access::READ_OK, AtFlags::EACCESS) {
            // A kernel that cannot tell lets reading fail.
            Ok(()) | Err(Errno::NOSYS) => Ok(()),
            Err(error) => Err(parent.failed("read", name)(error)),
        }
    }

    /// The names in the directory, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut entries = Dir::new(self.open.try_clone()?)?;
        entries.rewind();
        let name = |entry: rustix::fs::DirEntry| OsString::from_vec(entry.file_name().to_bytes().to_vec());
        let names = entries.map(|entry| Ok(entry.map(name)?));
        names.filter(|name| !matches!(name, Ok(name) if name == "." || name == "..")).collect()
    }

    fn look_at(&self, name: &OsStr) -> Result<Metadata, Obstacle> {
        match openat(self, name, LOOK, Mode::empty()) {
            Ok(found) => File::from(found).metadata().map_err(|error| Obstacle::Failed(Error::io("look at", self.path.join(name))(error))),
            Err(Errno::NOENT) => Err(Obstacle::Missing),
            Err(error) => Err(self.failed("look at", name)(error)),
        }
    }

    /// The directory that holds what is at `path`, and its name there.
    fn parent<'a>(&self, path: &'a Path) -> Result<(Self, &'a OsStr), Obstacle> {
        let mut components = path.components();
        match components.next_back() {
            Some(Component::Normal(name)) => Ok((self.enter(components, ON_THE_WAY, false)?, name)),
            _ => Err(Obstacle::NotADirectory(self.path.join(path))),
        }
    }

    /// Walks along `components`; the last is opened with `flags`, and what is missing is made or not.
    fn enter<'a>(&self, components: impl Iterator<Item = Component<'a>>, flags: OFlags, make: bool) -> Result<Self, Obstacle> {
        let mut at =
            Self { open: self.open.try_clone().map_err(|e| Obstacle::Failed(Error::io("open", &self.path)(e)))?, path: self.path.clone() };
        let mut components = components.peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else { return Err(Obstacle::NotADirectory(at.path.join(component))) };
            let flags = if components.peek().is_some() { ON_THE_WAY } else { flags };
            let mut opened = openat(&at, name, flags, Mode::empty());
            if make && matches!(opened, Err(Errno::NOENT)) {
                match mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                    // Another task may have made it at the same time.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(at.failed("create the directory", name)(error)),
                }
                opened = openat(&at, name, flags, Mode::empty());
            }
            let open = match opened {
                Ok(open) => open,
                Err(Errno::NOENT) if !make => return Err(Obstacle::Missing),
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(Obstacle::NotADirectory(at.path.join(name))),
                Err(error) => return Err(at.failed("open", name)(error)),
            };
            at = Self { open, path: at.path.join(name) };
        }
        Ok(at)
    }

    fn failed(&self, action: &'static str, name: &OsStr) -> impl FnOnce(Errno) -> Obstacle {
        let path = self.path.join(name);
        move |error| Obstacle::Failed(failed(action, path)(error))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

/// [`Error::io`] of what a system call returns.
pub(crate) fn failed(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
    move |error| Error::io(action, path)(error.into())
}
