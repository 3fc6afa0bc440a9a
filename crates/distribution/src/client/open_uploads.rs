//! Upload sessions that a later process continues: a directory with a small file for each.

use getrandom::fill;
use modelpack_http::Url;
use modelpack_spec::Digest;
use modelpack_transfer::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Once,
    time::{Duration, SystemTime},
};

/// How long a session is remembered after its last change. Registries end unused sessions earlier than that.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// The maximum size of a file. URLs of sessions are long, because registries keep their state in them.
const MAX_FILE: u64 = 64 << 10;

/// A directory that remembers the open upload sessions of this machine, so that a push that was killed continues when it is run again.
///
/// It has a file for each repository and digest, which only its owner can read, because the URL of a session may contain a secret. A
/// process locks the file while it uses the session. The lock ends with the process.
#[derive(Debug)]
pub struct OpenUploads {
    directory: PathBuf,
    cleared: Once,
}

/// What a file says.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// With the host of the registry.
    repository: String,
    digest: Digest,
    /// The URL of the next request.
    session: String,
}

impl OpenUploads {
    /// The sessions that are remembered in `directory`, which may be missing. It is created when there is something to remember.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), cleared: Once::new() }
    }

    /// The files that were not changed for seven days and that no process uses.
    pub fn expired(&self) -> Result<Vec<PathBuf>> {
        self.for_each_expired(|_| Ok(()))
    }

    /// Removes the files that were not changed for seven days and that no process uses, and returns them.
    pub fn remove_expired(&self) -> Result<Vec<PathBuf>> {
        self.for_each_expired(|path| fs::remove_file(path).map_err(Error::io("remove", path)))
    }

    fn for_each_expired(&self, mut take: impl FnMut(&Path) -> Result<()>) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &self.directory)(error)),
        };
        let mut expired = Vec::new();
        for entry in entries {
            let path = entry.map_err(Error::io("list", &self.directory))?.path();
            let Ok(file) = File::open(&path) else { continue };
            let Ok(changed) = file.metadata().and_then(|metadata| metadata.modified()) else { continue };
            let is_old = SystemTime::now().duration_since(changed).is_ok_and(|age| age > KEPT);
            if is_old && file.try_lock().is_ok() {
                take(&path)?;
                expired.push(path);
            }
        }
        expired.sort();
        Ok(expired)
    }

    /// Claims the session of a blob for this process. The claim may be that of a session that is not open yet. `None` if another upload
    /// uses the session. Blocks.
    pub(super) fn claim(&self, repository: &str, digest: &Digest) -> Result<Option<Claim>> {
        self.cleared.call_once(|| {
            // What cannot be removed does no harm.
            let _ = self.remove_expired();
        });
        let name = Digest::of(format!("{repository} {digest}").as_bytes());
        let path = self.directory.join(name.hex());
        let locked = loop {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => break None,
                Err(error) => return Err(Error::io("open", &path)(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            }
            // Before it was locked, it may have been replaced or removed.
            if is_at(&file, &path) {
                break Some(file);
            }
        };
        let entry = locked.as_ref().and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
            serde_json::from_slice::<Entry>(&bytes).ok()
        });
        let session = entry.filter(|entry| entry.repository == repository && entry.digest == *digest);
        let session = session.and_then(|entry| Url::parse(&entry.session).ok());
        Ok(Some(Claim { path, locked, repository: repository.to_owned(), digest: digest.clone(), session }))
    }
}

/// Whether `file` is what `path` names.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    (opened.dev(), opened.ino()) == (named.dev(), named.ino())
}

/// The right to use the session of a blob, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    /// The file, if there is one.
    locked: Option<File>,
    repository: String,
    digest: Digest,
    session: Option<Url>,
}

impl Claim {
    /// The session that is remembered.
    pub(super) fn session(&self) -> Option<&Url> {
        self.session.as_ref()
    }

    /// Remembers a session instead of the one before. Returns whether it is remembered: it is not if another process has been faster. Blocks.
    pub(super) fn remember(&mut self, session: &Url) -> Result<bool> {
        let directory = self.path.parent().unwrap_or(Path::new(""));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io("create", directory))?;
        let new = directory.join(random_name());
        let entry = Entry { repository: self.repository.clone(), digest: self.digest.clone(), session: session.to_string() };
        let written = self.replace(&new, &entry).map_err(Error::io("write", &new));
        // Unless it was renamed, it is still there.
        let _ = fs::remove_file(&new);
        let Some(file) = written? else { return Ok(false) };
        (self.locked, self.session) = (Some(file), Some(session.clone()));
        Ok(true)
    }

    /// Writes an entry to the file `new` and moves it to its place. It is locked before it is there, so nobody else can lock it. `None` if
    /// there is another file in its place, which is not that of this claim.
    fn replace(&self, new: &Path, entry: &Entry) -> io::Result<Option<File>> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
        file.lock()?;
        file.write_all(&serde_json::to_vec(entry)?)?;
        if self.locked.is_some() {
            fs::rename(new, &self.path)?;
            return Ok(Some(file));
        }
        match fs::hard_link(new, &self.path) {
            Ok(()) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Remembers no session any more. Blocks.
    pub(super) fn forget(&mut self) {
        self.session = None;
        if self.locked.take().is_some() {
            // If it stays, the registry will not know its session, and then it is removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn random_name() -> String {
    let mut bytes = [0; 16];
    fill(&mut bytes).expect("the operating system gives random numbers");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ".new"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const REPOSITORY: &str = "registry.example.com/a/b";

    fn url(session: &str) -> Url {
        format!("https://registry.example.com/v2/a/b/blobs/uploads/{session}").parse().unwrap()
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_session_is_remembered_by_repository_and_digest_until_it_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("store/uploads");
        let uploads = OpenUploads::new(&directory);
        let digest = Digest::of(b"x");
        let claim = |repository, digest: &Digest| OpenUploads::new(&directory).claim(repository, digest).unwrap();
        let mut first = claim(REPOSITORY, &digest).unwrap();
        assert!(first.session().is_none() && !directory.exists(), "nothing is created before there is a session");
        for session in ["1?_state=a", "1?_state=b"] {
            assert!(first.remember(&url(session)).unwrap());
            let [file] = &files(&directory)[..] else { panic!("one file") };
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(claim(REPOSITORY, &digest).is_none(), "it is in use");
        for (repository, digest) in [("registry.example.com/a/c", &digest), (REPOSITORY, &Digest::of(b"y"))] {
            assert!(claim(repository, digest).unwrap().session().is_none());
        }
        drop(first);
        let mut second = claim(REPOSITORY, &digest).unwrap();
        assert_eq!(second.session(), Some(&url("1?_state=b")));
        second.forget();
        assert_eq!(files(&directory), [] as [PathBuf; 0]);
        assert!(uploads.claim(REPOSITORY, &digest).unwrap().unwrap().session().is_none());
    }

    #[test]
    fn of_two_new_sessions_of_a_blob_one_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = OpenUploads::new(directory.path());
        let digest = Digest::of(b"x");
        let [mut one, mut other] = [(); 2].map(|()| uploads.claim(REPOSITORY, &digest).unwrap().unwrap());
        assert!(one.remember(&url("1")).unwrap());
        assert!(!other.remember(&url("2")).unwrap());
        other.forget();
        drop((one, other));
        assert_eq!(uploads.claim(REPOSITORY, &digest).unwrap().unwrap().session(), Some(&url("1")));
        assert_eq!(files(directory.path()).len(), 1);
    }

    #[test]
    fn a_file_that_is_no_entry_of_the_blob_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = OpenUploads::new(directory.path());
        let (digest, other) = (Digest::of(b"x"), Digest::of(b"y"));
        assert!(uploads.claim(REPOSITORY, &digest).unwrap().unwrap().remember(&url("1")).unwrap());
        let [path] = &files(directory.path())[..] else { panic!("one file") };
        let entry = |digest: &Digest| {
            serde_json::to_vec(&Entry { repository: REPOSITORY.to_owned(), digest: digest.clone(), session: url("3").to_string() })
        };
        for content in [b"".to_vec(), b"{\"repository\":".to_vec(), entry(&other).unwrap()] {
            fs::write(path, content).unwrap();
            let mut claim = uploads.claim(REPOSITORY, &digest).unwrap().unwrap();
            assert!(claim.session().is_none());
            assert!(claim.remember(&url("2")).unwrap());
        }
        assert_eq!(uploads.claim(REPOSITORY, &digest).unwrap().unwrap().session(), Some(&url("2")));
    }

    #[test]
    fn old_files_are_removed_unless_they_are_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = OpenUploads::new(directory.path());
        let claims = [b"1", b"2", b"3"].map(|content| {
            let mut claim = uploads.claim(REPOSITORY, &Digest::of(content)).unwrap().unwrap();
            claim.remember(&url("1")).unwrap();
            claim
        });
        let set_age = |claim: &Claim, age| {
            let file = OpenOptions::new().write(true).open(&claim.path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        let [old, used, new] = claims;
        set_age(&old, KEPT + Duration::from_secs(60));
        set_age(&used, KEPT + Duration::from_secs(60));
        set_age(&new, KEPT - Duration::from_secs(60));
        let path = old.path.clone();
        drop((old, new));
        assert_eq!(uploads.expired().unwrap(), std::slice::from_ref(&path));
        assert_eq!(uploads.remove_expired().unwrap(), [path]);
        assert_eq!(files(directory.path()).len(), 2);
        drop(used);
        // The first claim of another process removes what is left.
        OpenUploads::new(directory.path()).claim(REPOSITORY, &Digest::of(b"4")).unwrap();
        assert_eq!(files(directory.path()).len(), 1);
    }
}
