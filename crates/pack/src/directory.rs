//! A directory that is held open. Paths below it are resolved one component at a time and never
//! through a symbolic link, so nothing outside it is read or written, whatever is replaced
//! meanwhile.

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

/// Flags for a directory that is listed, locked or synced. They refuse links and other files.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for a directory that is only passed through. Permission to list it is not needed.
const ON_THE_WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for reading the metadata of a path, which has no effect on pipes or devices.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for opening a file. If a pipe or device has just replaced the file, opening it does not
/// block.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// An open directory. Paths below it contain neither `..` nor a root.
#[derive(Debug)]
pub(crate) struct Directory {
    open: OwnedFd,
    path: PathBuf,
}

/// Why a path below a directory cannot be used.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// The path does not exist, or no longer exists.
    Missing,
    /// This component is a symbolic link or another non-directory, but a directory is required.
    NotADirectory(PathBuf),
    /// The path exists but is not a file.
    NotAFile(PathBuf, FileType),
    /// A system call failed.
    Failed(Error),
}

impl Obstacle {
    /// The error for a path that was found before under the name `path`: it has changed, or a
    /// system call failed.
    pub(crate) fn since(self, path: &Path) -> Error {
        match self {
            Self::Failed(Error::Io { action, source, .. }) => Error::io(action, path)(source),
            Self::Failed(error) => error,
            Self::Missing | Self::NotADirectory(_) | Self::NotAFile(..) => Error::Changed { path: path.to_owned() },
        }
    }
}

impl Directory {
    /// Opens the directory at `path`. Links in the path itself are followed, because the user gave
    /// it.
    pub(crate) fn open(path: &Path) -> rustix::io::Result<Self> {
        let open = rustix::fs::open(path, DIRECTORY & !OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self { open, path: path.to_owned() })
    }

    /// The path by which the directory was opened, or that path and the relative one.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the directory at `path` to list, lock or sync it.
    pub(crate) fn directory(&self, path: &Path) -> Result<Self, Obstacle> {
        self.enter(path.components(), DIRECTORY, false)
    }

    /// Opens the directory at `path`, and creates it and its parents if necessary.
    pub(crate) fn make_directory(&self, path: &Path) -> Result<Self, Obstacle> {
        self.enter(path.components(), DIRECTORY, true)
    }

    /// The metadata of `path`, which may be a link, without opening it. An empty path means the
    /// directory itself.
    pub(crate) fn look(&self, path: &Path) -> Result<Metadata, Obstacle> {
        if path.as_os_str().is_empty() {
            return self.look_at(OsStr::new("."));
        }
        let (parent, name) = self.parent(path)?;
        parent.look_at(name)
    }

    /// Opens the file at `path` for reading.
    pub(crate) fn file(&self, path: &Path) -> Result<File, Obstacle> {
        let (parent, name) = self.parent(path)?;
        let is_file = |found: Metadata| match found.is_file() {
            true => Ok(()),
            false => Err(Obstacle::NotAFile(parent.path.join(name), found.file_type())),
        };
        // The metadata is checked first, because opening a device can have effects.
        parent.look_at(name).and_then(is_file)?;
        let file = match openat(&parent, name, FILE, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Err(Obstacle::Missing),
            Err(error) => return Err(parent.failed("open", name)(error)),
        };
        is_file(file.metadata().map_err(|error| Obstacle::Failed(Error::io("look at", parent.path.join(name))(error)))?)?;
        Ok(file)
    }

    /// Fails with the system's reason if the file at `path` cannot be read.
    pub(crate) fn may_read(&self, path: &Path) -> Result<(), Obstacle> {
        let (parent, name) = self.parent(path)?;
        match accessat(&parent, name, Access::READ_OK, AtFlags::EACCESS) {
            // Old kernels do not support the check. Then reading itself fails later.
            Ok(()) | Err(Errno::NOSYS) => Ok(()),
            Err(error) => Err(parent.failed("read", name)(error)),
        }
    }

    /// The names in the directory, unsorted.
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

    /// The parent directory of `path`, and the last component.
    fn parent<'a>(&self, path: &'a Path) -> Result<(Self, &'a OsStr), Obstacle> {
        let mut components = path.components();
        match components.next_back() {
            Some(Component::Normal(name)) => Ok((self.enter(components, ON_THE_WAY, false)?, name)),
            _ => Err(Obstacle::NotADirectory(self.path.join(path))),
        }
    }

    /// Walks along `components`. The last one is opened with `flags`. Missing directories are
    /// created if `make` is set.
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
                    // Another task may have created it at the same time.
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

/// [`Error::io`] for the result of a system call.
pub(crate) fn failed(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
    move |error| Error::io(action, path)(error.into())
}
