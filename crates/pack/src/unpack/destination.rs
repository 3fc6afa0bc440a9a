//! The directory that is unpacked into. It is opened once, and nothing outside of it can be reached through it.

use modelpack_spec::FilePath;
use modelpack_store::{Error, Result};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

/// A directory, held open. Every path below it is walked one component at a time, and no symbolic link on the way is followed.
#[derive(Debug)]
pub(super) struct Destination {
    root: OwnedFd,
    path: PathBuf,
}

impl Destination {
    /// Opens the directory at `path`, which is made if need be. The path itself is the user's, and its links are followed.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create the directory", path))?;
        let root = rustix::fs::open(path, DIRECTORY & !OFlags::NOFOLLOW, Mode::empty());
        Ok(Self { root: root.map_err(failed("open", path))?, path: path.to_owned() })
    }

    /// What the directory is called in an error.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What a file in the directory is called in an error.
    pub(super) fn locate(&self, path: &FilePath) -> PathBuf {
        self.path.join(path.as_str())
    }

    /// The file with this path, open for reading, if there is one.
    ///
    /// Fails with [`Error::Conflict`] if something other than a file has the path, or other than a directory a part of it.
    pub(super) fn file(&self, path: &FilePath) -> Result<Option<File>> {
        let Some(parent) = self.directory(parents(path), false)? else { return Ok(None) };
        let located = self.locate(path);
        // Looked at first, because merely opening a device can have effects.
        match rustix::fs::statat(&parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile => {}
            Ok(found) => return Err(conflict(located, describe(FileType::from_raw_mode(found.st_mode)))),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(failed("look at", located)(error)),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, path.file_name(), flags, Mode::empty());
        file.map(|file| Some(File::from(file))).map_err(failed("open", located))
    }

    /// Moves the file `name` in the directory `from` to `path`, making directories on the way.
    ///
    /// Fails with [`Error::Conflict`] if something is there, unless it may be replaced.
    pub(super) fn place(&self, from: BorrowedFd<'_>, name: &str, path: &FilePath, replace: bool) -> Result<()> {
        let located = self.locate(path);
        let parent = self.make_directories(parents(path))?;
        let renamed = if replace {
            rustix::fs::renameat(from, name, &parent, path.file_name())
        } else {
            match rustix::fs::renameat_with(from, name, &parent, path.file_name(), RenameFlags::NOREPLACE) {
                // Some network file systems cannot rename like this. Looking first is the best there is on them.
                Err(Errno::INVAL | Errno::NOSYS) => match rustix::fs::statat(&parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(from, name, &parent, path.file_name()),
                    found => found.and(Err(Errno::EXIST)),
                },
                renamed => renamed,
            }
        };
        match renamed {
            Err(Errno::EXIST) => Err(conflict(located, "it appeared while the artifact was unpacked")),
            renamed => renamed.map_err(failed("rename into place", located)),
        }
    }

    /// Lets those who may read the file execute it too, or nobody; its other permissions stay.
    pub(super) fn set_executable(&self, path: &FilePath, executable: bool) -> Result<()> {
        let Some(file) = self.file(path)? else { return Ok(()) };
        let mode = file.metadata().map_err(Error::io("look at", self.locate(path)))?.permissions().mode() & 0o777;
        if (mode & 0o100 != 0) == executable {
            return Ok(());
        }
        let mode = if executable { mode | (mode & 0o444) >> 2 } else { mode & 0o666 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(Error::io("set the mode of", self.locate(path)))
    }

    /// Makes a directory and those above it, as far as they are missing.
    pub(super) fn make_directory(&self, path: &FilePath) -> Result<()> {
        self.make_directories(path.components()).map(drop)
    }

    /// Fails with [`Error::Conflict`] if something other than a directory has the path, or a part of it.
    pub(super) fn check_directory(&self, path: &FilePath) -> Result<()> {
        self.directory(path.components(), false).map(drop)
    }

    /// Makes durable that the files and directories with these paths are there.
    pub(super) fn sync<'a>(&self, paths: impl IntoIterator<Item = &'a FilePath>) -> Result<()> {
        let ends = |path: &'a FilePath| path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]);
        let directories: BTreeSet<&str> = paths.into_iter().flat_map(ends).chain([""]).collect();
        for directory in directories {
            let Some(open) = self.directory(directory.split_terminator('/'), false)? else { continue };
            match rustix::fs::fsync(open) {
                // Not every file system can sync a directory.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(failed("sync", self.path.join(directory))(error)),
            }
        }
        Ok(())
    }

    fn make_directories<'a>(&self, components: impl Iterator<Item = &'a str>) -> Result<OwnedFd> {
        Ok(self.directory(components, true)?.expect("a missing directory is made"))
    }

    /// The directory at the end of `components`; `None` if one is missing and they are not to be made.
    fn directory<'a>(&self, components: impl Iterator<Item = &'a str>, make: bool) -> Result<Option<OwnedFd>> {
        let mut path = self.path.clone();
        let mut at = self.root.try_clone().map_err(Error::io("open", &path))?;
        for component in components {
            path.push(component);
            let mut opened = rustix::fs::openat(&at, component, DIRECTORY, Mode::empty());
            if make && matches!(opened, Err(Errno::NOENT)) {
                match rustix::fs::mkdirat(&at, component, Mode::from_raw_mode(0o777)) {
                    // Another task may have made it at the same time.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(failed("create the directory", path)(error)),
                }
                opened = rustix::fs::openat(&at, component, DIRECTORY, Mode::empty());
            }
            at = match opened {
                Ok(opened) => opened,
                Err(Errno::NOENT) if !make => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(conflict(path, "it is a symbolic link or no directory, where a directory is needed"));
                }
                Err(error) => return Err(failed("open", path)(error)),
            };
        }
        Ok(Some(at))
    }
}

impl AsFd for Destination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// How a directory is opened: only if it is one, and not through a link.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// [`Error::io`] of what a system call returns.
pub(super) fn failed(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(Errno) -> Error {
    move |error| Error::io(action, path)(error.into())
}

pub(super) fn conflict(path: PathBuf, why: &str) -> Error {
    Error::Conflict { path, why: why.to_owned() }
}

fn parents(path: &FilePath) -> impl Iterator<Item = &str> {
    path.as_str().rsplit_once('/').into_iter().flat_map(|(parents, _)| parents.split('/'))
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "it is a directory",
        FileType::Symlink => "it is a symbolic link, which is not followed",
        _ => "it is not a regular file",
    }
}
