//! A file that is written next to the file that it will replace. It is renamed when it is complete. It is also the lock that lets in only
//! one writer at a time.

use modelpack_transfer::{Error, Result, blocking, follow_links};
use rustix::fs::OFlags;
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// How often a waiting writer checks whether it may begin.
const POLL: Duration = Duration::from_millis(50);

/// `.NAME.modelpack-partial`, next to the file `NAME` that it will replace. If it is dropped before it was published, the file is removed.
///
/// Its writer holds a lock on it. The operating system releases the lock when the writer ends. So a file that can be locked is left from a
/// dead writer, and the next writer removes it.
pub(crate) struct Partial {
    path: PathBuf,
    destination: PathBuf,
    file: File,
    published: bool,
}

impl Partial {
    /// Begins to replace `destination` as soon as no other process does. Calls `waits` once if it has to wait.
    pub(crate) async fn create(destination: &Path, waits: impl FnOnce()) -> Result<Self> {
        let mut waits = Some(waits);
        loop {
            let destination = destination.to_owned();
            if let Some(partial) = blocking(move || Self::try_create(&destination)).await? {
                return Ok(partial);
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            // To wait for the lock itself could not be cancelled.
            tokio::time::sleep(POLL).await;
        }
    }

    /// Begins to replace `destination`, unless another process does.
    fn try_create(destination: &Path) -> Result<Option<Self>> {
        // A writer to a link and a writer to its target write to the same file.
        let destination = follow_links(destination).map_err(Error::io("look at", destination))?;
        let mut name = std::ffi::OsString::from(".");
        let no_name = || Error::InvalidName { name: destination.display().to_string(), why: "it names no file".into() };
        name.push(destination.file_name().ok_or_else(no_name)?);
        name.push(".modelpack-partial");
        let path = destination.with_file_name(name);
        let open = |options: &mut OpenOptions| options.read(true).write(true).open(&path);
        loop {
            match open(OpenOptions::new().create_new(true)) {
                Ok(file) => {
                    // Another writer may have found the file before it was locked, and removed it as that of a dead writer.
                    if try_lock(&file, &path)? && is_at(&file, &path)? {
                        return Ok(Some(Self { path, destination, file, published: false }));
                    }
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                    // Another user may have put a link or a pipe there: no link is followed, and no pipe is waited for.
                    let file = match open(OpenOptions::new().custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)) {
                        Ok(file) => file,
                        Err(e) if e.kind() == ErrorKind::NotFound => continue,
                        Err(e) => return Err(Error::io("open", path)(e)),
                    };
                    if !try_lock(&file, &path)? {
                        return Ok(None);
                    }
                    // Nothing is written to it: another process may still have it open.
                    if is_at(&file, &path)? {
                        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                    }
                }
                Err(e) => return Err(Error::io("create", path)(e)),
            }
        }
    }

    /// The path of the file that it will replace, after following links.
    pub(crate) fn destination(&self) -> &Path {
        &self.destination
    }

    /// Its own path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for reading and writing.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Renames it to the path of the file that it replaces, durably; blocks.
    pub(crate) fn publish(&mut self) -> Result<()> {
        self.file.sync_all().map_err(Error::io("sync", &self.path))?;
        fs::rename(&self.path, &self.destination).map_err(Error::io("rename into place", &self.destination))?;
        // From now on its old name may be that of another writer's file.
        self.published = true;
        let directory = self.destination.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|d| d.sync_all()).map_err(Error::io("sync", directory))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // What is left, the next writer removes.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes the lock of a file or directory, unless somebody else holds it.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}

/// Whether the open file is the one with this name.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool> {
    let opened = file.metadata().map_err(Error::io("look at", path))?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("look at", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn begin(destination: &Path) -> Option<Partial> {
        Partial::try_create(destination).unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_link_whose_target_is_not_there_yet_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("real")).unwrap();
        std::os::unix::fs::symlink("real/b.tar", at("a.tar")).unwrap();
        std::os::unix::fs::symlink("a.tar", at("link.tar")).unwrap();
        let mut first = begin(&at("link.tar")).unwrap();
        assert!(begin(&at("a.tar")).is_none() && begin(&at("real/b.tar")).is_none(), "all of them mean one file");
        first.publish().unwrap();
        assert!(at("link.tar").is_symlink() && at("a.tar").is_symlink() && at("real/b.tar").is_file());
        assert_eq!(names(&at("real")), ["b.tar"]);
    }

    #[test]
    fn one_writer_at_a_time_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("a.tar"), directory.path().join("link.tar"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink("a.tar", &link).unwrap();
        let mut first = begin(&path).unwrap();
        assert!(begin(&path).is_none());
        assert!(begin(&link).is_none(), "a link is its target");
        first.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        first.publish().unwrap();
        let second = begin(&link).unwrap();
        drop(first);
        assert!(second.path().exists(), "the first takes nothing from the second");
        drop(second);
        assert_eq!(names(directory.path()), ["a.tar", "link.tar"]);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(link.is_symlink());
    }

    #[test]
    fn what_a_dead_writer_left_goes_and_what_lies_behind_a_link_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        let partial = directory.path().join(".a.tar.modelpack-partial");
        fs::write(&partial, "half").unwrap();
        let held = File::open(&partial).unwrap();
        let next = begin(&path).unwrap();
        assert!(!is_at(&held, &partial).unwrap(), "it is another file");
        drop(next);
        assert_eq!(names(directory.path()), Vec::<String>::new());
        fs::write(directory.path().join("precious"), "kept").unwrap();
        std::os::unix::fs::symlink("precious", &partial).unwrap();
        assert!(matches!(Partial::try_create(&path), Err(Error::Io { .. })));
        assert_eq!(fs::read(directory.path().join("precious")).unwrap(), b"kept");
    }

    #[tokio::test]
    async fn whoever_comes_second_says_so_once_and_waits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.tar");
        let mut first = begin(&path).unwrap();
        let (said, waits) = tokio::sync::oneshot::channel();
        let second = tokio::spawn(async move { Partial::create(&path, || said.send(()).unwrap()).await });
        waits.await.unwrap();
        assert!(!second.is_finished());
        first.publish().unwrap();
        drop(first);
        assert!(second.await.unwrap().is_ok());
    }
}
