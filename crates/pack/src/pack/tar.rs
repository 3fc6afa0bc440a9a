//! Writing of tar archives: the same bytes for the same files, on every machine.
//!
//! Entries are POSIX ustar, with a pax header before entries whose name or size ustar cannot
//! represent. Times and owners are zero, modes are those of git, and nothing depends on the
//! platform. A directory has an entry before its first file, because not every reader creates the
//! parent directories of a file.

use modelpack_spec::FilePath;
use std::{
    collections::HashSet,
    io::{self, Write},
};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// Two blocks of zeros end an archive.
const END: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];
/// The lengths of a name and of its directories in ustar, in bytes.
const NAME: usize = 100;
const PREFIX: usize = 155;
/// The first size that the eleven octal digits of a header cannot represent.
const OCTAL_SIZE_END: u64 = 1 << 33;
/// The name of a pax header. Only readers without pax support show it.
const PAX: &str = "PaxHeaders/0";

/// Writes an archive entry by entry.
pub(crate) struct TarWriter<W> {
    out: W,
    /// The directories that have an entry, with a slash at the end.
    directories: HashSet<String>,
    /// Bytes of the current file that are still to be written.
    missing: u64,
    padding: u64,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, directories: HashSet::new(), missing: 0, padding: 0 }
    }

    /// Writes a directory, unless it has an entry.
    pub(crate) fn directory(&mut self, path: &FilePath) -> io::Result<()> {
        let entries = directories(&format!("{path}/"), |directory| is_new(&mut self.directories, directory));
        self.out.write_all(&entries)
    }

    /// Starts a file of `size` bytes, which are then written with [`data`](Self::data).
    pub(crate) fn file(&mut self, path: &FilePath, size: u64, executable: bool) -> io::Result<()> {
        self.out.write_all(&head(path.as_str(), size, executable, |directory| is_new(&mut self.directories, directory)))?;
        (self.missing, self.padding) = (size, size.wrapping_neg() % BLOCK);
        self.pad()
    }

    /// Writes the next bytes of the current file, at most as many as are missing.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.missing = self.missing.checked_sub(bytes.len() as u64).expect("a file is written with its declared size");
        self.out.write_all(bytes)?;
        self.pad()
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&END)?;
        Ok(self.out)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            return Ok(());
        }
        let padding = std::mem::take(&mut self.padding) as usize;
        self.out.write_all(&END[..padding])
    }
}

/// The size of an archive with these files and sizes, in the order of writing.
pub(crate) fn archive_len<'a>(files: impl IntoIterator<Item = (&'a FilePath, u64)>) -> u64 {
    let mut directories = HashSet::new();
    files.into_iter().fold(END.len() as u64, |len, (path, size)| {
        let head = head(path.as_str(), size, false, |directory| directories.insert(directory)).len() as u64;
        len.saturating_add(head).saturating_add(size).saturating_add(size.wrapping_neg() % BLOCK)
    })
}

/// What an archive with a single file has before and after the bytes of the file.
pub(crate) fn around(path: &FilePath, size: u64, executable: bool) -> (Vec<u8>, Vec<u8>) {
    let padding = size.wrapping_neg() % BLOCK;
    (head(path.as_str(), size, executable, |_| true), vec![0; padding as usize + END.len()])
}

/// Adds a directory to those that have an entry. Returns whether it had none.
fn is_new(directories: &mut HashSet<String>, directory: &str) -> bool {
    !directories.contains(directory) && directories.insert(directory.to_owned())
}

/// The bytes before the data of a file: entries for its directories that are new, and its header.
fn head<'a>(path: &'a str, size: u64, executable: bool, is_new: impl FnMut(&'a str) -> bool) -> Vec<u8> {
    let mut head = directories(path, is_new);
    head.extend(entry(path, EntryType::Regular, size, if executable { 0o755 } else { 0o644 }));
    head
}

/// Entries for the directories in `path` that are new. A path with a slash at its end is a directory.
fn directories<'a>(path: &'a str, mut is_new: impl FnMut(&'a str) -> bool) -> Vec<u8> {
    let all = path.match_indices('/').map(|(end, _)| &path[..=end]);
    all.filter(|directory| is_new(directory)).flat_map(|directory| entry(directory, EntryType::Directory, 0, 0o755)).collect()
}

/// The header of an entry, after a pax header if one is needed.
fn entry(path: &str, kind: EntryType, size: u64, mode: u32) -> Vec<u8> {
    let mut records = Vec::new();
    let parts = split(path);
    if parts.is_none() {
        records.extend(record("path", path));
    }
    if size >= OCTAL_SIZE_END {
        records.extend(record("size", &size.to_string()));
    }
    let mut bytes = Vec::new();
    if !records.is_empty() {
        bytes.extend(header("", PAX, EntryType::XHeader, records.len() as u64, 0o644));
        let padding = records.len().wrapping_neg() % BLOCK as usize;
        bytes.extend(records);
        bytes.extend(&END[..padding]);
    }
    let size = if size >= OCTAL_SIZE_END { 0 } else { size };
    let (prefix, name) = parts.unwrap_or(("", PAX));
    bytes.extend(header(prefix, name, kind, size, mode));
    bytes
}

/// Splits a path into the directories and the name of ustar. `None` if it is too long, or not
/// ASCII, which readers decode differently.
fn split(path: &str) -> Option<(&str, &str)> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME {
        return Some(("", path));
    }
    // The slash at the end of a directory belongs to its name.
    let slashes = path.trim_end_matches('/').match_indices('/');
    slashes.map(|(at, _)| (&path[..at], &path[at + 1..])).find(|(prefix, name)| prefix.len() <= PREFIX && name.len() <= NAME)
}

fn header(prefix: &str, name: &str, kind: EntryType, size: u64, mode: u32) -> [u8; BLOCK as usize] {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let ustar = header.as_ustar_mut().expect("it was made as one");
    ustar.name[..name.len()].copy_from_slice(name.as_bytes());
    ustar.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
    for field in [&mut ustar.dev_major, &mut ustar.dev_minor] {
        field.copy_from_slice(b"0000000\0");
    }
    header.set_cksum();
    *header.as_bytes()
}

/// A pax record: `LENGTH SP KEY=VALUE LF`; the length is that of the whole record.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + " =\n".len();
    let mut len = rest;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    format!("{len} {key}={value}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::Digest;

    fn archive(files: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (path, bytes, executable) in files {
            tar.file(&path.parse().unwrap(), bytes.len() as u64, *executable).unwrap();
            bytes.chunks(300).for_each(|part| tar.data(part).unwrap());
        }
        tar.finish().unwrap()
    }

    #[test]
    fn the_bytes_never_change() {
        let long = ["d".repeat(120), "f".repeat(90)].join("/");
        let longer = "x".repeat(200);
        let bytes = archive(&[
            ("a/b/run.sh", b"#!", true),
            ("a/b/z", &[7; 513], false),
            (&long, b"", false),
            (&longer, b"1", false),
            ("é", b"2", false),
        ]);
        assert_eq!(Digest::of(&bytes).to_string(), "sha256:3cb57c101975316493c2f18872d9f93c894976c38484fd850867741b448a1363");
    }

    #[test]
    fn other_readers_find_every_entry() {
        let long = ["d".repeat(120), "f".repeat(90)].join("/");
        let longer = format!("{}/{}", "é".repeat(100), "x".repeat(200));
        let files: [(&str, &[u8], bool); 5] = [
            ("a/b-c/x", b"1", false),
            ("a/b/run.sh", b"#!", true),
            ("a/b/z", &[7; 513], false),
            (&long, b"", false),
            (&longer, b"2", false),
        ];
        let bytes = archive(&files);
        assert_eq!(
            archive_len(files.map(|(path, bytes, _)| (path.parse().unwrap(), bytes.len() as u64)).iter().map(|(p, s)| (p, *s))),
            bytes.len() as u64
        );
        let mut reader = tar::Archive::new(&bytes[..]);
        let entries = reader.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let (path, header) = (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), entry.header());
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
            assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
            (path, entry.size(), header.mode().unwrap())
        });
        let entries: Vec<_> = entries.collect();
        let directory = |path: &str| (format!("{path}/"), 0, 0o755);
        assert_eq!(
            entries,
            [
                directory("a"),
                directory("a/b-c"),
                ("a/b-c/x".to_owned(), 1, 0o644),
                directory("a/b"),
                ("a/b/run.sh".to_owned(), 2, 0o755),
                ("a/b/z".to_owned(), 513, 0o644),
                directory(&"d".repeat(120)),
                (long.clone(), 0, 0o644),
                directory(&"é".repeat(100)),
                (longer.clone(), 1, 0o644),
            ]
        );
    }

    #[test]
    fn the_length_of_a_record_includes_itself() {
        for len in [1, 80, 90, 91, 92, 980, 990] {
            let record = String::from_utf8(record("path", &"x".repeat(len))).unwrap();
            assert_eq!(record.split(' ').next().unwrap(), record.len().to_string());
        }
    }

    #[test]
    fn a_size_too_large_for_octal_digits_is_in_a_record() {
        for (size, len) in [(OCTAL_SIZE_END - 1, 1), (OCTAL_SIZE_END, 3)] {
            let bytes = entry("large", EntryType::Regular, size, 0o644);
            assert_eq!(bytes.len() as u64, len * BLOCK);
            assert_eq!(String::from_utf8_lossy(&bytes).contains("size=8589934592\n"), len == 3);
        }
        let path: FilePath = "large".parse().unwrap();
        assert_eq!(archive_len([(&path, OCTAL_SIZE_END)]), OCTAL_SIZE_END + 3 * BLOCK + 2 * BLOCK);
    }

    #[test]
    fn the_only_file_of_an_archive_is_between_the_bytes_around_it() {
        let long = ["d".repeat(120), "f".repeat(200)].join("/");
        for (path, size, executable) in [("a/b/c", 513, true), ("empty", 0, false), (&long, OCTAL_SIZE_END + 7, false)] {
            let path: FilePath = path.parse().unwrap();
            let (before, after) = around(&path, size, executable);
            assert_eq!((before.len() + after.len()) as u64 + size, archive_len([(&path, size)]));
            assert!(after.iter().all(|byte| *byte == 0));
            let mut reader = tar::Archive::new(&before[..]);
            let entry = reader.entries().unwrap().nth(path.components().count() - 1).unwrap().unwrap();
            assert_eq!((entry.path_bytes().as_ref(), entry.size()), (path.as_str().as_bytes(), size));
            assert_eq!(entry.header().mode().unwrap(), if executable { 0o755 } else { 0o644 });
        }
    }

    #[test]
    fn a_directory_has_one_entry_wherever_its_files_are() {
        let mut tar = TarWriter::new(Vec::new());
        let path = |path: &str| path.parse::<FilePath>().unwrap();
        tar.directory(&path("a")).unwrap();
        for name in ["b/x", "a/x", "b/c/x"] {
            tar.file(&path(name), 0, false).unwrap();
        }
        tar.directory(&path("b/c")).unwrap();
        tar.directory(&path("d/e")).unwrap();
        let bytes = tar.finish().unwrap();
        let mut reader = tar::Archive::new(&bytes[..]);
        let paths: Vec<_> = reader.entries().unwrap().map(|e| String::from_utf8(e.unwrap().path_bytes().into_owned()).unwrap()).collect();
        assert_eq!(paths, ["a/", "b/", "b/x", "a/x", "b/c/", "b/c/x", "d/", "d/e/"]);
    }
}
