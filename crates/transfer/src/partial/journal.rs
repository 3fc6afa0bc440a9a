//! The journal of a partial blob or of an upload session: which of its bytes are in its file.
//!
//! It is text, one record a line:
//!
//! ```text
//! modelpack-partial 2
//! blob sha256:… 1073741824
//! boot 5f2d…
//! synced 0 268435456
//! have 268435456 268959744
//! states 1f3a…
//! hashed 268959744 6a09… 2049 1234 …
//! agreed sha256:… 0-268435456,536870912-537919488 2049 1234 …
//! acknowledged 268959744
//! ```
//!
//! The second line is `upload sha256 …` for an upload session, and ends with what the session belongs to.
//!
//! `synced` are bytes that are on the disk. The file is replaced as a whole when there are more of them. `have` are bytes that were
//! written: the operating system keeps them if the program is killed, but not if the machine stops. So they count only until the machine
//! starts again, which another `boot` shows. `hashed` is written when the upload is suspended: the state of the hash function after the
//! first bytes, and a stamp of the file. It counts as long as the file has this stamp and the machine runs. `states`
//! are the hash states that were noted until then; each line has those since the one before it. So does `agreed`: which bytes agree with the list of hash states that has this digest. `acknowledged` is how many bytes
//! the sender knows to have arrived.

use super::directory::Place;
use crate::{Error, Ranges, Result};
use modelpack_spec::{Algorithm, Descriptor, Digest, Hasher};
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use std::{
    fmt::Write as _,
    fs::{File, Metadata},
    io::{Read, Write as _},
    ops::Range,
    os::unix::fs::MetadataExt,
};

const HEAD: &str = "modelpack-partial 2";
/// No journal is longer: it is shortened each time that bytes are synced.
const MAX_BYTES: u64 = 16 << 20;

/// What the bytes are.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The second line of the journal.
    line: String,
    algorithm: Algorithm,
    /// How many bytes these are in all, if that is known.
    size: Option<u64>,
}

impl From<&Descriptor> for Subject {
    fn from(blob: &Descriptor) -> Self {
        let line = format!("blob {} {}", blob.digest, blob.size);
        Self { line, algorithm: blob.digest.algorithm(), size: Some(blob.size) }
    }
}

impl Subject {
    /// An upload session, whose bytes are hashed with `algorithm`.
    pub(super) fn session(algorithm: Algorithm, of: &str) -> Self {
        Self { line: format!("upload {} {of}", algorithm.name()), algorithm, size: None }
    }
}

/// The open journal of a partial blob that this process owns.
pub(super) struct Journal {
    file: File,
    /// How many bytes of hash states it has.
    states: usize,
}

/// What a journal says.
#[derive(Default)]
pub(super) struct Found {
    /// The bytes that are in the file.
    pub(super) present: Ranges,
    /// Those of them that are on the disk.
    pub(super) synced: Ranges,
    /// The hash function after the first bytes, and how many these are.
    pub(super) hashed: Option<(u64, Hasher)>,
    /// The digest of a list of hash states, and which bytes agree with it.
    pub(super) agreed: Option<(Digest, Ranges)>,
    /// How many bytes the sender knows to have arrived.
    pub(super) acknowledged: Option<u64>,
    /// Whether the machine still runs since the journal was begun.
    is_same_boot: bool,
    /// The hash states that were noted.
    states: Vec<u8>,
}

/// What changes whenever somebody writes to a file.
fn stamp(metadata: &Metadata) -> String {
    let m = metadata;
    format!("{} {} {} {} {} {} {}", m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec())
}

pub(super) fn name(of: &str) -> String {
    format!("{of}.journal")
}

/// The name of the file that a journal of this name belongs to. Any other name is returned as it is.
pub(super) fn name_of_data(name: &str) -> &str {
    let journal = name.strip_suffix(".new").unwrap_or(name);
    journal.strip_suffix(".journal").unwrap_or(name)
}

/// The name of a journal that is being made, until it replaces the earlier one.
pub(super) fn new_name(of: &str) -> String {
    format!("{}.new", name(of))
}

/// Removes the journal of the file `of`, and what a killed process left of a new one.
pub(super) fn remove(place: &Place, of: &str) {
    for name in [name(of), new_name(of)] {
        let _ = unlinkat(&place.directory, name, AtFlags::empty());
    }
}

impl Journal {
    /// Begins the journal of the file `of`, with these bytes, which are on the disk. It replaces an earlier journal in one step.
    pub(super) fn create(place: &Place, of: &str, subject: impl Into<Subject>, synced: &Ranges) -> Result<Self> {
        let (name, new) = (name(of), new_name(of));
        let path = place.path.join(&name);
        let mut text = format!("{HEAD}\n{}\n", subject.into().line);
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
        Ok(Self { file, states: 0 })
    }

    /// Opens the journal of the file `of` and reads it, if its subject is this one.
    pub(super) fn open(place: &Place, of: &str, subject: impl Into<Subject>, data: &File) -> Result<Option<(Self, Found)>> {
        let subject = subject.into();
        let (name, flags) = (name(of), OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC);
        let Ok(file) = openat(&place.directory, &name, flags, Mode::empty()) else { return Ok(None) };
        let file = File::from(file);
        let mut text = String::new();
        let is_readable =
            file.metadata().is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES) && (&file).take(MAX_BYTES).read_to_string(&mut text).is_ok();
        let metadata = data.metadata().map_err(Error::io("look at", place.path.join(of)))?;
        if !is_readable || subject.size.is_some_and(|size| metadata.len() != size) {
            return Ok(None);
        }
        match parse(&text, &subject, metadata.len(), place.boot.as_deref(), &stamp(&metadata)) {
            Some(found) if found.is_same_boot => Ok(Some((Self { file, states: found.states.len() }, found))),
            // What is written from now on belongs to this run of the machine.
            Some(found) => Ok(Some((Self::create(place, of, subject, &found.present)?, found))),
            None => Ok(None),
        }
    }

    /// Adds bytes that were written.
    pub(super) fn have(&mut self, written: &Ranges) -> std::io::Result<()> {
        let mut text = String::new();
        written.iter().for_each(|range| print(&mut text, "have", &range));
        self.file.write_all(text.as_bytes())
    }

    /// Adds how many bytes the sender knows to have arrived.
    pub(super) fn acknowledged(&mut self, count: u64) -> std::io::Result<()> {
        self.file.write_all(format!("acknowledged {count}\n").as_bytes())
    }

    /// How many bytes the journal has, without hash states.
    pub(super) fn len(&self) -> std::io::Result<u64> {
        Ok(self.file.metadata()?.len().saturating_sub(2 * self.states as u64))
    }

    /// Adds the state of the hash function after the first `count` bytes of `data`.
    pub(super) fn hashed(&mut self, count: u64, hasher: &Hasher, data: &File) -> std::io::Result<()> {
        let noted = hasher.noted_states().unwrap_or_default();
        if let Some(new) = noted.get(self.states..).filter(|new| !new.is_empty()) {
            self.file.write_all(format!("states {}\n", hex(new)).as_bytes())?;
            self.states = noted.len();
        }
        let line = format!("hashed {count} {} {}\n", hex(&hasher.state()), stamp(&data.metadata()?));
        self.file.write_all(line.as_bytes())
    }

    /// Adds which bytes of `data` agree with the list of hash states that has the digest `list`.
    pub(super) fn agreed(&mut self, list: &Digest, agreed: &Ranges, data: &File) -> std::io::Result<()> {
        let ranges: Vec<String> = agreed.iter().map(|range| format!("{}-{}", range.start, range.end)).collect();
        if ranges.is_empty() {
            return Ok(());
        }
        let line = format!("agreed {list} {} {}\n", ranges.join(","), stamp(&data.metadata()?));
        self.file.write_all(line.as_bytes())
    }
}

fn print(text: &mut String, kind: &str, range: &Range<u64>) {
    let _ = writeln!(text, "{kind} {} {}", range.start, range.end);
}

/// Reads the journal of a file of `len` bytes up to the first line that makes no sense; after a power failure, the rest may be anything.
fn parse(text: &str, subject: &Subject, len: u64, boot: Option<&str>, stamp: &str) -> Option<Found> {
    // The last line may be incomplete.
    let mut lines = text.split_inclusive('\n').map_while(|line| line.strip_suffix('\n'));
    if lines.next()? != HEAD || lines.next()? != subject.line {
        return None;
    }
    let mut found = Found::default();
    for line in lines {
        let Some((kind, rest)) = line.split_once(' ') else { break };
        match kind {
            "boot" => found.is_same_boot = boot == Some(rest),
            "synced" => {
                let Some(range) = range(rest, len) else { break };
                found.synced.insert(range.clone());
                found.present.insert(range);
            }
            "have" => {
                let Some(range) = range(rest, len) else { break };
                if found.is_same_boot {
                    found.present.insert(range);
                }
            }
            "states" => found.states.extend(bytes(rest).unwrap_or_default()),
            "hashed" if found.is_same_boot => found.hashed = state(rest, subject.algorithm, stamp),
            "agreed" if found.is_same_boot => found.agreed = agreed(rest, len, stamp),
            "hashed" | "agreed" => {}
            "acknowledged" => found.acknowledged = rest.parse().ok(),
            _ => break,
        }
    }
    let prefix = found.present.end_of_prefix();
    let with_states = |(count, hasher): (u64, Hasher)| (count, hasher.having_noted(found.states.clone()));
    found.hashed = found.hashed.filter(|(count, _)| *count <= prefix).map(with_states);
    let present = &found.present;
    found.agreed = found.agreed.filter(|(_, ranges)| ranges.iter().all(|range| present.contains(range)));
    Some(found)
}

fn range(text: &str, size: u64) -> Option<Range<u64>> {
    let (start, end) = text.split_once(' ')?;
    let range = start.parse().ok()?..end.parse().ok()?;
    (range.start < range.end && range.end <= size).then_some(range)
}

fn agreed(text: &str, size: u64, stamp: &str) -> Option<(Digest, Ranges)> {
    let (list, rest) = text.split_once(' ')?;
    let (agreed, of) = rest.split_once(' ')?;
    if of != stamp {
        return None;
    }
    let mut ranges = Ranges::new();
    for part in agreed.split(',') {
        ranges.insert(range(&part.replace('-', " "), size)?);
    }
    Some((list.parse().ok()?, ranges))
}

fn state(text: &str, algorithm: Algorithm, stamp: &str) -> Option<(u64, Hasher)> {
    let (count, rest) = text.split_once(' ')?;
    let (state, of) = rest.split_once(' ')?;
    if of != stamp {
        return None;
    }
    Some((count.parse().ok()?, Hasher::resume(algorithm, &bytes(state)?)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all text");
        text
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let is_hex = hex.len().is_multiple_of(2) && hex.is_ascii();
    is_hex.then(|| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect())?
}
