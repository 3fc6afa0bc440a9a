//! The journal of a partial blob: which of its bytes are in its file.
//!
//! It is text, one record a line:
//!
//! ```text
//! modelpack-partial 1
//! blob sha256:… 1073741824
//! boot 5f2d…
//! synced 0 268435456
//! have 268435456 268959744
//! hashed 268959744 6a09… 2049 1234 …
//! ```
//!
//! `synced` are bytes that are on the disk. The file is replaced as a whole when there are more of them. `have` are bytes that were
//! written: the operating system keeps them if the program is killed, but not if the machine stops. So they count only until the machine
//! starts again, which another `boot` shows. `hashed` is written when the upload is suspended: the state of the hash function after the
//! first bytes, and a stamp of the file. It counts as long as the file has this stamp and the machine runs.

use super::Place;
use crate::{Error, Ranges, Result};
use modelpack_spec::{Descriptor, Hasher};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use std::{
    fmt::Write as _,
    fs::{File, Metadata},
    io::{Read, Write as _},
    ops::Range,
    os::unix::fs::MetadataExt,
};

const HEAD: &str = "modelpack-partial 1";
/// No journal is longer: it is shortened each time that bytes are synced.
const MAX_BYTES: u64 = 16 << 20;

/// The open journal of a partial blob that this process owns.
pub(super) struct Journal {
    file: File,
}

/// What a journal says.
#[derive(Default)]
pub(super) struct Found {
    /// The bytes that are in the file.
    pub(super) present: Ranges,
    /// The hash function after the first bytes, and how many these are.
    pub(super) hashed: Option<(u64, Hasher)>,
}

/// What changes whenever somebody writes to a file.
fn stamp(metadata: &Metadata) -> String {
    let m = metadata;
    format!("{} {} {} {} {} {} {}", m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
}

pub(super) fn name(of: &str) -> String {
    format!("{of}.journal")
}

impl Journal {
    /// Begins the journal of the file `of`, with these bytes, which are on the disk. It replaces an earlier journal in one step.
    pub(super) fn create(place: &Place, of: &str, blob: &Descriptor, synced: &Ranges) -> Result<Self> {
        let (name, new) = (name(of), format!("{}.new", name(of)));
        let path = place.path.join(&name);
        let mut text = format!("{HEAD}\nblob {} {}\n", blob.digest, blob.size);
        if let Some(boot) = &place.boot {
            let _ = writeln!(text, "boot {boot}");
        }
        synced.iter().for_each(|range| print(&mut text, "synced", &range));
        // What a killed process left of it has no use.
        let _ = unlinkat(&place.directory, &new, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&place.directory, &new, flags, Mode::from_raw_mode(0o666));
        let mut file = File::from(made.map_err(|e| Error::io("create", &path)(e.into()))?);
        file.write_all(text.as_bytes()).map_err(Error::io("write", &path))?;
        if !synced.is_empty() {
            file.sync_data().map_err(Error::io("sync", &path))?;
        }
        renameat(&place.directory, &new, &place.directory, &name).map_err(|e| Error::io("rename into place", &path)(e.into()))?;
        Ok(Self { file })
    }

    /// Opens the journal of the file `of` and reads it, if it is one of this blob.
    pub(super) fn open(place: &Place, of: &str, blob: &Descriptor, data: &File) -> Result<Option<(Self, Found)>> {
        let (name, flags) = (name(of), OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC);
        let Ok(file) = openat(&place.directory, &name, flags, Mode::empty()) else { return Ok(None) };
        let file = File::from(file);
        let mut text = String::new();
        let is_readable =
            file.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES) && (&file).take(MAX_BYTES).read_to_string(&mut text).is_ok();
        let metadata = data.metadata().map_err(Error::io("look at", place.path.join(of)))?;
        if !is_readable || metadata.len() != blob.size {
            return Ok(None);
        }
        match parse(&text, blob, place.boot.as_deref(), &stamp(&metadata)) {
            Some((found, true)) => Ok(Some((Self { file }, found))),
            // What is written from now on belongs to this run of the machine.
            Some((found, false)) => Ok(Some((Self::create(place, of, blob, &found.present)?, found))),
            None => Ok(None),
        }
    }

    /// Adds bytes that were written.
    pub(super) fn have(&mut self, written: &Ranges) -> std::io::Result<()> {
        let mut text = String::new();
        written.iter().for_each(|range| print(&mut text, "have", &range));
        self.file.write_all(text.as_bytes())
    }

    /// Adds the state of the hash function after the first `count` bytes of `data`.
    pub(super) fn hashed(&mut self, count: u64, hasher: &Hasher, data: &File) -> std::io::Result<()> {
        let mut state = String::new();
        hasher.state().iter().for_each(|byte| write!(state, "{byte:02x}").expect("a string takes all text"));
        let line = format!("hashed {count} {state} {}\n", stamp(&data.metadata()?));
        self.file.write_all(line.as_bytes())
    }
}

fn print(text: &mut String, kind: &str, range: &Range<u64>) {
    let _ = writeln!(text, "{kind} {} {}", range.start, range.end);
}

/// Reads a journal up to the first line that makes no sense; after a power failure, the rest may be anything. Also returns whether the
/// machine still runs since it was begun.
fn parse(text: &str, blob: &Descriptor, boot: Option<&str>, stamp: &str) -> Option<(Found, bool)> {
    // The last line may be incomplete.
    let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    if lines.next()? != HEAD || lines.next()? != format!("blob {} {}", blob.digest, blob.size) {
        return None;
    }
    let (mut present, mut hashed, mut is_same_boot) = (Ranges::new(), None, false);
    for line in lines {
        let Some((kind, rest)) = line.split_once(' ') else { break };
        match kind {
            "boot" => is_same_boot = boot == Some(rest),
            "synced" | "have" => {
                let Some(range) = range(rest, blob.size) else { break };
                if kind == "synced" || is_same_boot {
                    present.insert(range);
                }
            }
            "hashed" if is_same_boot => hashed = state(rest, blob, stamp),
            "hashed" => {}
            _ => break,
        }
    }
    let hashed = hashed.filter(|(count, _)| *count <= present.end_of_prefix());
    Some((Found { present, hashed }, is_same_boot))
}

fn range(text: &str, size: u64) -> Option<Range<u64>> {
    let (start, end) = text.split_once(' ')?;
    let range = start.parse().ok()?..end.parse().ok()?;
    (range.start < range.end && range.end <= size).then_some(range)
}

fn state(text: &str, blob: &Descriptor, stamp: &str) -> Option<(u64, Hasher)> {
    let (count, rest) = text.split_once(' ')?;
    let (state, of) = rest.split_once(' ')?;
    if of != stamp || state.len() % 2 != 0 || !state.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> = (0..state.len()).step_by(2).map(|at| u8::from_str_radix(&state[at..at + 2], 16).ok()).collect();
    Some((count.parse().ok()?, Hasher::resume(blob.digest.algorithm(), &bytes?)?))
}
