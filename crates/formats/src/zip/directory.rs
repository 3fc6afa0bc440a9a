//! The central directory, and the local headers that it points to.

use super::Content;
use crate::{Malformed, malformed::shown};
use std::{
    collections::HashSet,
    io::{BufReader, Read, Seek, SeekFrom},
};

/// The largest directory, so that its names fit into memory.
const MAX_DIRECTORY: u64 = 64 << 20;
/// The maximum number of contradictions that are reported.
const MAX_PROBLEMS: usize = 20;
/// The size of the end record without its comment, and the longest comment.
const END: u64 = 22;
const MAX_COMMENT: u64 = 0xffff;
const ENCRYPTED: u16 = 1;
/// The flag for sizes that are stored in a data descriptor after the data.
const DESCRIBED_BEHIND: u16 = 1 << 3;
/// The longest data descriptor.
const MAX_DESCRIPTOR: u64 = 24;

/// The central directory of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Archive {
    /// Its entries, in the directory's order.
    pub entries: Vec<Entry>,
    /// The first contradictions in the archive, because of which programs read different content.
    pub problems: Vec<String>,
}

/// An entry of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the directory.
    pub name: String,
    /// Its size in bytes, from the directory.
    pub size: u64,
    /// The compressed size of its data in bytes.
    pub compressed: u64,
    /// The compression method: 0 is none, 8 is deflate, 12 is bzip2, 14 is lzma, 93 is zstd.
    pub method: u16,
    flags: u16,
    /// The offset of its local header.
    header: u64,
    /// The offset of its data; `None` if there is no local header.
    data: Option<u64>,
}

impl Entry {
    /// Opens the entry's bytes in the archive's file.
    pub fn open<R: Read + Seek>(&self, mut file: R) -> Result<Content<R>, Malformed> {
        let data = self
            .data
            .ok_or_else(|| Malformed::new(format!("the entry {} is not at the offset that the directory gives", shown(&self.name))))?;
        file.seek(SeekFrom::Start(data)).map_err(|e| Malformed::io(&e))?;
        Content::new(file, self.method, self.compressed, self.size)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.name.ends_with('/') && self.size == 0
    }
}

impl Archive {
    /// Reads the directory of a file of `size` bytes, and the local header of each entry.
    ///
    /// Fails if there is no directory at the location that the end record gives, or if it cannot be
    /// read completely.
    pub fn read(mut file: impl Read + Seek, size: u64) -> Result<Self, Malformed> {
        let mut archive = Self::default();
        let end = End::find(&mut file, size, &mut archive)?;
        archive.read_directory(&mut file, &end)?;
        let mut reader = BufReader::with_capacity(4 << 10, &mut file);
        let mut entries = std::mem::take(&mut archive.entries);
        for entry in &mut entries {
            archive.compare(entry, &mut reader)?;
        }
        archive.find_overlaps(&entries, &mut reader, end.directory)?;
        archive.entries = entries;
        Ok(archive)
    }

    fn problem(&mut self, problem: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem.into());
        }
    }

    fn read_directory(&mut self, file: &mut (impl Read + Seek), end: &End) -> Result<(), Malformed> {
        file.seek(SeekFrom::Start(end.directory)).map_err(|e| Malformed::io(&e))?;
        let mut directory = BufReader::new(file.take(end.length));
        let mut names = HashSet::new();
        for _ in 0..end.entries {
            let header: [u8; 46] = bytes(&mut directory)?;
            if header[..4] != *b"PK\x01\x02" {
                return Err(Malformed::new("its directory has a malformed entry"));
            }
            let name = text(&mut directory, u16_at(&header, 28))?;
            let mut extra = vec![0; u16_at(&header, 30).into()];
            directory.read_exact(&mut extra).map_err(|e| Malformed::io(&e))?;
            text(&mut directory, u16_at(&header, 32))?;
            let mut wide = Wide::find(&extra);
            // zip64 numbers are stored in this order.
            let size = wide.or(u32_at(&header, 24))?;
            let compressed = wide.or(u32_at(&header, 20))?;
            let at = wide.or(u32_at(&header, 42))?;
            if !names.insert(name.clone()) {
                self.problem(format!("two of its entries have the name {}", shown(&name)));
            }
            let header_at = at.checked_add(end.shift).ok_or_else(|| Malformed::new("an entry is after the end of the file"))?;
            let (flags, method) = (u16_at(&header, 8), u16_at(&header, 10));
            self.entries.push(Entry { name, size, compressed, method, flags, header: header_at, data: None });
        }
        let left = directory.get_ref().limit() + directory.buffer().len() as u64;
        if left > 0 {
            self.problem(format!("its directory has {left} bytes after its last entry"));
        }
        Ok(())
    }

    /// Compares the directory's record of an entry with the entry's local header, and finds its
    /// data after that header.
    fn compare(&mut self, entry: &mut Entry, file: &mut BufReader<impl Read + Seek>) -> Result<(), Malformed> {
        let name = shown(&entry.name);
        let header = file.seek(SeekFrom::Start(entry.header)).ok().and_then(|_| bytes::<30>(file).ok());
        let Some(header) = header.filter(|header| header[..4] == *b"PK\x03\x04") else {
            self.problem(format!("the entry {name} is not at the offset that the directory gives"));
            return Ok(());
        };
        let (name_length, extra_length) = (u16_at(&header, 26), u16_at(&header, 28));
        let own_name = text(file, name_length)?;
        entry.data = Some(entry.header + 30 + u64::from(name_length) + u64::from(extra_length));
        if own_name != entry.name {
            self.problem(format!("the entry {name} of its directory has the name {} in its local header", shown(&own_name)));
        }
        let (flags, method) = (u16_at(&header, 6), u16_at(&header, 8));
        if (flags | entry.flags) & ENCRYPTED != 0 {
            self.problem(format!("the entry {name} is marked as encrypted, which some programs ignore"));
        }
        if method != entry.method {
            self.problem(format!("the entry {name} has two different compression methods"));
        }
        let differs =
            |declared: u64, own: u32| u64::from(own) != declared && own != u32::MAX && !(own == 0 && flags & DESCRIBED_BEHIND != 0);
        if differs(entry.compressed, u32_at(&header, 18)) || differs(entry.size, u32_at(&header, 22)) {
            self.problem(format!("the entry {name} has two different sizes"));
        }
        Ok(())
    }

    /// Finds bytes that belong to two entries, and entries that the directory does not list.
    fn find_overlaps(&mut self, entries: &[Entry], file: &mut BufReader<impl Read + Seek>, directory: u64) -> Result<(), Malformed> {
        let mut order: Vec<&Entry> = entries.iter().filter(|entry| entry.data.is_some()).collect();
        order.sort_by_key(|entry| entry.header);
        let (mut end, mut descriptor) = (0, 0);
        let nexts = order.iter().map(|entry| entry.header).chain([directory]);
        for (index, next) in nexts.enumerate() {
            if next < end {
                let name = index.checked_sub(1).map(|last| shown(&order[last].name)).unwrap_or_default();
                self.problem(format!("the entry {name} overlaps with the data after it"));
            } else if next - end > descriptor {
                file.seek(SeekFrom::Start(end)).map_err(|e| Malformed::io(&e))?;
                if bytes::<4>(file).is_ok_and(|signature| signature == *b"PK\x03\x04") {
                    self.problem(format!("the entry at byte {end} is not in its directory"));
                }
            }
            if let Some(entry) = order.get(index) {
                let own = entry.data.unwrap_or(entry.header).saturating_add(entry.compressed);
                end = end.max(own);
                descriptor = if entry.flags & DESCRIBED_BEHIND != 0 { MAX_DESCRIPTOR } else { 0 };
            }
        }
        Ok(())
    }
}

/// The location of the directory.
struct End {
    directory: u64,
    length: u64,
    entries: u64,
    /// A correction that is added to the offsets of entries.
    shift: u64,
}

impl End {
    fn find(file: &mut (impl Read + Seek), size: u64, archive: &mut Archive) -> Result<Self, Malformed> {
        let io = |e: std::io::Error| Malformed::io(&e);
        let from = size.saturating_sub(END + MAX_COMMENT + 20);
        file.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut tail = Vec::new();
        file.take(END + MAX_COMMENT + 20).read_to_end(&mut tail).map_err(io)?;
        let last = tail.len().checked_sub(usize::try_from(END).unwrap_or(22)).and_then(|last| {
            let is_end = |at: &usize| tail[*at..].starts_with(b"PK\x05\x06");
            (0..=last).rev().find(is_end)
        });
        let at = last.ok_or_else(|| Malformed::new("it has no central directory at its end"))?;
        let record = &tail[at..];
        let behind = record.len() - 22;
        if behind != usize::from(u16_at(record, 20)) {
            archive
                .problem(format!("{behind} bytes follow its end record, but the declared length of its comment is {}", u16_at(record, 20)));
        }
        let end_at = from + at as u64;
        let mut end =
            Self { directory: u32_at(record, 16).into(), length: u32_at(record, 12).into(), entries: u16_at(record, 10).into(), shift: 0 };
        let mut directory_end = end_at;
        let locator = at.checked_sub(20).map(|locator| &tail[locator..at]).filter(|locator| locator.starts_with(b"PK\x06\x07"));
        if let Some(locator) = locator {
            directory_end = u64_at(locator, 8);
            file.seek(SeekFrom::Start(directory_end)).map_err(io)?;
            let wide: [u8; 56] = bytes(file)?;
            if wide[..4] != *b"PK\x06\x06" {
                return Err(Malformed::new("its zip64 end record is not at the offset that its locator gives"));
            }
            let wide = Self { directory: u64_at(&wide, 48), length: u64_at(&wide, 40), entries: u64_at(&wide, 32), shift: 0 };
            let differs = |narrow: u64, limit: u64, wide: u64| narrow != limit && narrow != wide;
            if differs(end.directory, u32::MAX.into(), wide.directory)
                || differs(end.length, u32::MAX.into(), wide.length)
                || differs(end.entries, u16::MAX.into(), wide.entries)
            {
                archive.problem("its end records give two locations for its directory");
            }
            end = wide;
        }
        if end.length > MAX_DIRECTORY {
            return Err(Malformed::new(format!(
                "the declared length of its directory is {} bytes; at most {MAX_DIRECTORY} are supported",
                end.length
            )));
        }
        // If there are bytes between directory and end record, some programs shift all offsets by
        // their length, and others use the offsets unchanged.
        let declared = end.directory.checked_add(end.length).filter(|declared| *declared <= directory_end);
        let declared = declared.ok_or_else(|| Malformed::new("its directory extends past its end record"))?;
        if declared != directory_end {
            let shift = directory_end - declared;
            archive.problem(format!("all its offsets are {shift} bytes too small"));
            file.seek(SeekFrom::Start(end.directory)).map_err(io)?;
            if end.entries > 0 && bytes::<4>(file)? != *b"PK\x01\x02" {
                end.directory += shift;
                end.shift = shift;
            }
        }
        Ok(end)
    }
}

/// The zip64 numbers in an entry's extra fields.
struct Wide<'a>(&'a [u8]);

impl<'a> Wide<'a> {
    fn find(mut extra: &'a [u8]) -> Self {
        while let Some((header, rest)) = extra.split_at_checked(4) {
            let Some((field, others)) = rest.split_at_checked(u16_at(header, 2).into()) else { break };
            if u16_at(header, 0) == 1 {
                return Self(field);
            }
            extra = others;
        }
        Self(&[])
    }

    /// The number itself, or the next zip64 number in its place.
    fn or(&mut self, narrow: u32) -> Result<u64, Malformed> {
        if narrow != u32::MAX {
            return Ok(narrow.into());
        }
        let Some((wide, rest)) = self.0.split_at_checked(8) else {
            // Without zip64 numbers, the maximum is a normal value.
            return if self.0.is_empty() { Ok(narrow.into()) } else { Err(Malformed::new("an entry's zip64 numbers are missing")) };
        };
        self.0 = rest;
        Ok(u64_at(wide, 0))
    }
}

fn bytes<const N: usize>(file: &mut impl Read) -> Result<[u8; N], Malformed> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map_err(|e| Malformed::io(&e))?;
    Ok(bytes)
}

fn text(file: &mut impl Read, length: u16) -> Result<String, Malformed> {
    let mut bytes = vec![0; length.into()];
    file.read_exact(&mut bytes).map_err(|e| Malformed::io(&e))?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..].first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
