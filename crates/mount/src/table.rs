//! The system's table of mounts: which models are mounted, and unmounting one.

use crate::{Error, Result};
use rustix::{
    io::Errno,
    mount::{UnmountFlags, unmount as unmount_at},
    process::geteuid,
};
use std::{
    ffi::OsString,
    fs, io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::Command,
};

/// What the table has for each model after the type of all FUSE mounts.
pub(crate) const SUBTYPE: &str = "modelpack";

const TABLE: &str = "/proc/self/mountinfo";

/// A model that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedModel {
    /// Where.
    pub directory: PathBuf,
    /// The name that it was mounted by, and the digest of its manifest.
    pub name: String,
}

/// The models that this process sees as mounted, by whichever process, in the order of mounting; blocks.
pub fn mounted_models() -> io::Result<Vec<MountedModel>> {
    Ok(fs::read(TABLE)?.split(|byte| *byte == b'\n').filter_map(entry).collect())
}

/// A line of the table, if it is a mounted model.
fn entry(line: &[u8]) -> Option<MountedModel> {
    let mut fields = line.split(|byte| *byte == b' ');
    let directory = fields.nth(4)?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let is_model = fields.next()?.strip_prefix(b"fuse.")? == SUBTYPE.as_bytes();
    let name = fields.next()?;
    is_model.then(|| MountedModel {
        directory: OsString::from_vec(unescaped(directory)).into(),
        name: String::from_utf8_lossy(&unescaped(name)).into_owned(),
    })
}

/// The table has white space and the backslash as `\\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) => {
                bytes.push(digits.iter().fold(0, |value: u8, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

/// The absolute path of a directory without links. Nothing is asked of what is mounted there: its process may be gone.
fn name_in_table(directory: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(directory)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) if fs::read_link(&absolute).is_err() => Ok(parent.canonicalize()?.join(name)),
        _ => absolute.canonicalize(),
    }
}

/// What happens to a mount that processes use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmount {
    /// It stays.
    IfIdle,
    /// Nobody finds it any more. Those who use it can go on.
    WhenIdle,
}

/// Unmounts a model; blocks. Without privileges, `fusermount3` does it.
///
/// Fails if no model is mounted there, or if it is in use and has to stay.
pub fn unmount(directory: &Path, how: Unmount) -> Result<()> {
    let failed = |source| Error::Directory { what: "unmount a model", directory: directory.to_owned(), source };
    let at = name_in_table(directory).map_err(failed)?;
    if !mounted_models().map_err(failed)?.iter().any(|mounted| mounted.directory == at) {
        return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no model is mounted there")));
    }
    let flags = if how == Unmount::WhenIdle { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match unmount_at(&at, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) if !geteuid().is_root() => {
            let lazy: &[&str] = if how == Unmount::WhenIdle { &["-z"] } else { &[] };
            let output = Command::new("fusermount3").arg("-u").args(lazy).arg("--").arg(&at).output().map_err(|source| {
                failed(io::Error::new(source.kind(), format!("`fusermount3` is needed for that, and cannot be run: {source}")))
            })?;
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() { Ok(()) } else { Err(failed(io::Error::other(said.trim().to_owned()))) }
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_from_other_mounts() {
        let line = b"61 29 0:48 / /mnt/a\\040b rw,nosuid - fuse.modelpack registry.example.com/m:v1 ro,user_id=0";
        let found = entry(line).unwrap();
        assert_eq!((found.directory.as_path(), found.name.as_str()), (Path::new("/mnt/a b"), "registry.example.com/m:v1"));
        // Optional fields come before the dash.
        assert!(entry(b"61 29 0:48 / /mnt rw shared:1 master:2 - fuse.modelpack m ro").is_some());
        assert_eq!(entry(b"61 29 0:48 / /mnt rw - fuse.sshfs m ro"), None);
        assert_eq!(entry(b"61 29 0:48 / /mnt rw - ext4 m ro"), None);
        for broken in [&b""[..], b"61 29", b"61 29 0:48 / /mnt rw fuse.modelpack m", b"61 29 0:48 / /mnt rw - fuse"] {
            assert_eq!(entry(broken), None);
        }
    }

    #[test]
    fn a_directory_without_a_model_is_not_unmounted() {
        let directory = tempfile::tempdir().unwrap();
        let Err(Error::Directory { source, .. }) = unmount(directory.path(), Unmount::WhenIdle) else { panic!("it is no mount") };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
    }
}
