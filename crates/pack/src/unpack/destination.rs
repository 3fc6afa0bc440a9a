//! The destination directory. It is opened once, and nothing outside it can be reached through it.

use crate::directory::{Directory, Obstacle, failed};
use modelpack_spec::FilePath;
use modelpack_transfer::{Error, Result, platform::rename_without_replacing};
use rustix::io::Errno;
use std::{
    collections::BTreeSet,
    fs::{self, File, FileType, Permissions},
    io::ErrorKind,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

/// The open destination, and checks for conflicts with its content.
#[derive(Debug)]
pub(super) struct Destination(Directory);

impl Destination {
    /// Opens the directory at `path`, and creates it if necessary. Links in the path itself are
    /// followed, because the user gave it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create the directory", path))?;
        Directory::open(path).map(Self).map_err(failed("open", path))
    }

    /// The name of the directory in errors.
    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The name of a file of the directory in errors.
    pub(super) fn locate(&self, path: &FilePath) -> PathBuf {
        self.path().join(path.as_str())
    }

    /// Opens the file with this path for reading, if it exists.
    ///
    /// Fails with [`Error::Conflict`] if the path is not a file, or one of its parents is not a
    /// directory.
    pub(super) fn file(&self, path: &FilePath) -> Result<Option<File>> {
        found(self.0.file(Path::new(path.as_str())))
    }

    /// Moves the file `name` from the directory `from` to `path`, and creates parent directories.
    ///
    /// Fails with [`Error::Conflict`] if something exists there, unless it may be replaced.
    pub(super) fn place(&self, from: BorrowedFd<'_>, name: &str, path: &FilePath, replace: bool) -> Result<()> {
        let located = self.locate(path);
        let parent = self.0.make_directory(parents(path)).map_err(in_the_way)?;
        let renamed = if replace {
            rustix::fs::renameat(from, name, &parent, path.file_name()).map_err(Into::into)
        } else {
            rename_without_replacing(from, name, parent.as_fd(), path.file_name())
        };
        match renamed {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(conflict(located, "it appeared while the artifact was unpacked")),
            renamed => renamed.map_err(Error::io("rename into place", located)),
        }
    }

    /// Makes the file executable for all who may read it, or for nobody. Other permissions are
    /// kept.
    pub(super) fn set_executable(&self, path: &FilePath, executable: bool) -> Result<()> {
        let Some(file) = self.file(path)? else { return Ok(()) };
        let mode = file.metadata().map_err(Error::io("look at", self.locate(path)))?.permissions().mode() & 0o777;
        if (mode & 0o100 != 0) == executable {
            return Ok(());
        }
        let mode = if executable { mode | (mode & 0o444) >> 2 } else { mode & 0o666 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(Error::io("set the mode of", self.locate(path)))
    }

    /// Creates a directory and its parents, if they are missing.
    pub(super) fn make_directory(&self, path: &FilePath) -> Result<()> {
        self.0.make_directory(Path::new(path.as_str())).map(drop).map_err(in_the_way)
    }

    /// Fails with [`Error::Conflict`] if the path or one of its parents exists and is not a
    /// directory.
    pub(super) fn check_directory(&self, path: &FilePath) -> Result<()> {
        found(self.0.directory(Path::new(path.as_str()))).map(drop)
    }

    /// Syncs the directories of these paths, so that the files and directories are durable.
    pub(super) fn sync<'a>(&self, paths: impl IntoIterator<Item = &'a FilePath>) -> Result<()> {
        let ends = |path: &'a FilePath| path.as_str().match_indices('/').map(|(at, _)| &path.as_str()[..at]);
        let directories: BTreeSet<&str> = paths.into_iter().flat_map(ends).chain([""]).collect();
        for directory in directories {
            let Some(open) = found(self.0.directory(Path::new(directory)))? else { continue };
            match rustix::fs::fsync(&open) {
                // Not every file system can sync a directory.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(failed("sync", open.path())(error)),
            }
        }
        Ok(())
    }
}

impl AsFd for Destination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The result, or `None` if the path does not exist.
fn found<T>(found: Result<T, Obstacle>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Obstacle::Missing) => Ok(None),
        Err(obstacle) => Err(in_the_way(obstacle)),
    }
}

fn in_the_way(obstacle: Obstacle) -> Error {
    match obstacle {
        Obstacle::Missing => unreachable!("missing paths are handled by the caller or created"),
        Obstacle::NotADirectory(path) => conflict(path, "it is not a directory (or is a symbolic link), but a directory is needed"),
        Obstacle::NotAFile(path, kind) => conflict(path, describe(kind)),
        Obstacle::Failed(error) => error,
    }
}

pub(super) fn conflict(path: PathBuf, why: &str) -> Error {
    Error::Conflict { path, why: why.to_owned() }
}

/// The parent directory of a file; empty for the root.
fn parents(path: &FilePath) -> &Path {
    Path::new(path.as_str()).parent().expect("a path has a name at its end")
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "it is a directory",
        kind if kind.is_symlink() => "it is a symbolic link, which is not followed",
        _ => "it is not a regular file",
    }
}
