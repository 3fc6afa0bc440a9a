//! Strict reading of tar archives: anything that two programs could read differently is refused.
//!
//! POSIX (ustar, pax) and GNU archives of regular files and directories are accepted. The `tar`
//! crate locates the fields of a header. The order of headers, the numbers and the pax records are
//! parsed here, because that crate's own reader keeps extended headers of any size in memory and
//! stops at the first empty pax record.

use std::{
    borrow::Cow,
    io::{self, Read},
};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
/// An extended header holds a path, and attributes that are not used. A larger one is hostile.
const MAX_EXTENDED_HEADER: u64 = 1 << 20;
/// The first size that the eleven octal digits of a header cannot express.
const OCTAL_SIZE_END: u64 = 1 << 33;

/// A file or directory in an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, unchanged from the archive.
    pub path: String,
    /// The kind of entry.
    pub kind: Kind,
}

/// The kind of an entry. An archive with any other kind is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A directory.
    Directory,
}

/// A link in an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Its path, unchanged from the archive.
    pub path: String,
    /// The target, relative to the link's directory for a symbolic link, or to the top of the
    /// archive for a hard link.
    pub target: String,
    /// Whether it is a symbolic link, not a hard link.
    pub is_symbolic: bool,
}

/// Reads the entries of an archive in sequence.
pub struct Entries<R> {
    reader: R,
    /// Unread bytes of the current entry's file.
    data: u64,
    /// Bytes of padding after it, to the end of the block.
    padding: u64,
}

impl<R: Read> Entries<R> {
    /// Reads an uncompressed archive.
    pub fn new(reader: R) -> Self {
        Self { reader, data: 0, padding: 0 }
    }

    /// The reader of the archive. After an entry it is positioned at the first byte of the entry's
    /// file.
    pub fn reader(&self) -> &R {
        &self.reader
    }

    /// The reader of the archive, at the position where reading stopped.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// The next entry, or `None` at the end. Unread bytes of the previous entry are skipped.
    ///
    /// Fails with [`InvalidData`](io::ErrorKind::InvalidData) if programs would read the archive
    /// differently.
    #[allow(clippy::should_implement_trait, reason = "the entry borrows nothing, yet its data is read before the next")]
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        self.next_file(&mut None)
    }

    /// Like [`next`](Self::next), but passes links to `each` and continues.
    pub fn next_and_links(&mut self, mut each: impl FnMut(Link)) -> io::Result<Option<Entry>> {
        self.next_file(&mut Some(&mut each))
    }

    fn next_file(&mut self, links: &mut Option<&mut dyn FnMut(Link)>) -> io::Result<Option<Entry>> {
        let mut extended = Extended::default();
        loop {
            self.skip(self.data.saturating_add(self.padding))?;
            (self.data, self.padding) = (0, 0);
            let mut header = Header::new_old();
            self.read_exact(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|b| *b == 0) {
                self.end()?;
                return if extended == Extended::default() {
                    Ok(None)
                } else {
                    Err(malformed("the archive ends after an extended header"))
                };
            }
            check(&header)?;
            let size = number(&header.as_old().size)?;
            match header.entry_type() {
                EntryType::XHeader => extended.read_pax(&self.extended_header(size)?)?,
                EntryType::XGlobalHeader => {
                    let mut global = Extended::default();
                    global.read_pax(&self.extended_header(size)?)?;
                    if global.path.is_some() || global.size.is_some() {
                        return Err(malformed("a global header gives all entries one path or size"));
                    }
                }
                EntryType::GNULongName => extended.read_long_name(self.extended_header(size)?)?,
                EntryType::GNULongLink if links.is_some() => extended.read_long_link(self.extended_header(size)?)?,
                EntryType::Regular | EntryType::Directory => return self.entry(&header, size, extended).map(Some),
                other => {
                    let is_link = matches!(other, EntryType::Link | EntryType::Symlink) && size == 0 && extended.size.is_none();
                    let Some(each) = links.as_mut().filter(|_| is_link) else { return Err(refused(other, &header)) };
                    each(link(&header, std::mem::take(&mut extended))?);
                }
            }
        }
    }

    /// Reads bytes of the current entry's file; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.reader.read(&mut buffer[..want])?;
        if n == 0 {
            return Err(ends_early());
        }
        self.data -= n as u64;
        Ok(n)
    }

    fn entry(&mut self, header: &Header, size: u64, extended: Extended) -> io::Result<Entry> {
        let size = match extended.size {
            Some(declared) if declared < OCTAL_SIZE_END && declared != size => return Err(malformed("an entry has two different sizes")),
            declared => declared.unwrap_or(size),
        };
        let path = extended.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let path = String::from_utf8(path)
            .map_err(|e| malformed(&format!("the path {:?} is not UTF-8", e.as_bytes().escape_ascii().to_string())))?;
        if header.entry_type().is_dir() {
            return if size == 0 { Ok(Entry { path, kind: Kind::Directory }) } else { Err(malformed("a directory has a size")) };
        }
        if path.ends_with('/') {
            return Err(malformed(&format!("the name of the file {path:?} is that of a directory")));
        }
        let executable = number(&header.as_old().mode)? & 0o100 != 0;
        self.expect(size);
        Ok(Entry { path, kind: Kind::File { size, executable } })
    }

    /// The data of an extended header.
    fn extended_header(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENDED_HEADER {
            return Err(malformed("an extended header is larger than 1 MiB"));
        }
        self.expect(size);
        let mut data = vec![0; usize::try_from(size).expect("at most 1 MiB")];
        self.read_exact(&mut data)?;
        self.data = 0;
        Ok(data)
    }

    fn expect(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK;
    }

    /// Only zeros may follow the first block of zeros.
    fn end(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8 << 10];
        loop {
            let n = self.reader.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            if buffer[..n].iter().any(|b| *b != 0) {
                return Err(malformed("there is data after its end"));
            }
        }
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink())?;
        if skipped == bytes { Ok(()) } else { Err(ends_early()) }
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer).map_err(|e| if e.kind() == io::ErrorKind::UnexpectedEof { ends_early() } else { e })
    }
}

fn link(header: &Header, extended: Extended) -> io::Result<Link> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| malformed("the path of a link is not UTF-8"));
    let target = extended.link.or_else(|| header.link_name_bytes().map(Cow::into_owned)).unwrap_or_default();
    Ok(Link {
        path: text(extended.path.unwrap_or_else(|| header.path_bytes().into_owned()))?,
        target: text(target)?,
        is_symbolic: header.entry_type() == EntryType::Symlink,
    })
}

/// Values from extended headers for the entry that follows them.
#[derive(Default, PartialEq, Eq)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extended {
    /// Reads records of the form `LENGTH SP KEY=VALUE LF`; the length is that of the whole record.
    fn read_pax(&mut self, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or_else(|| malformed("a pax record is malformed"))?;
            records = rest;
            match key {
                b"path" => self.set_path(value.to_vec())?,
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = decimal(value).ok_or_else(|| malformed("a pax size is not a number"))?;
                    if self.size.replace(size).is_some() {
                        return Err(malformed("an entry has two different sizes"));
                    }
                }
                b"SCHILY.realsize" => return Err(sparse()),
                _ if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the path that GNU tar writes before an entry, with or without a final NUL.
    fn read_long_name(&mut self, mut name: Vec<u8>) -> io::Result<()> {
        if name.last() == Some(&0) {
            name.pop();
        }
        self.set_path(name)
    }

    /// Reads the target that GNU tar writes before a link, with or without a final NUL.
    fn read_long_link(&mut self, mut target: Vec<u8>) -> io::Result<()> {
        if target.last() == Some(&0) {
            target.pop();
        }
        match self.link.replace(target) {
            Some(_) => Err(malformed("a link has two targets")),
            None => Ok(()),
        }
    }

    fn set_path(&mut self, path: Vec<u8>) -> io::Result<()> {
        match self.path.replace(path) {
            Some(_) => Err(malformed("an entry has two paths")),
            None => Ok(()),
        }
    }
}

/// Splits pax records into the first record's key, its value, and the other records.
fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().position(|b| *b == b' ')?;
    let length = usize::try_from(decimal(&records[..space])?).ok()?;
    let (record, rest) = records.split_at_checked(length)?;
    let content = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = content.iter().position(|b| *b == b'=')?;
    Some((&content[..equals], &content[equals + 1..], rest))
}

fn decimal(text: &[u8]) -> Option<u64> {
    // `parse` accepts a sign, which the format does not have.
    let digits = text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// A number in a header: octal digits between spaces or NULs, or GNU's binary form. An empty field
/// is 0.
fn number(field: &[u8]) -> io::Result<u64> {
    let wrong = || malformed("a number in a header is malformed");
    if let Some((&0x80, binary)) = field.split_first() {
        let (high, low) = binary.split_at(binary.len().saturating_sub(8));
        return if high.iter().all(|b| *b == 0) { Ok(low.iter().fold(0, |n, b| n << 8 | u64::from(*b))) } else { Err(wrong()) };
    }
    let start = field.iter().position(|b| *b != b' ').unwrap_or(field.len());
    let end = field.iter().rposition(|b| !matches!(b, b' ' | 0)).map_or(start, |last| last + 1);
    field[start..end].iter().try_fold(0, |n, b| match b {
        b'0'..=b'7' => Ok(n << 3 | u64::from(b - b'0')),
        _ => Err(wrong()),
    })
}

/// Whether a program that ignores magic bytes would take a file with these first bytes for an
/// archive: the first header's checksum is right.
pub fn is_header(first: &[u8]) -> bool {
    let Some((first, _)) = first.split_first_chunk::<512>() else { return false };
    let Ok(declared) = number(&first[148..156]) else { return false };
    // Some programs sum the bytes as signed numbers.
    let others = || first[..148].iter().chain(&first[156..]);
    let unsigned: i64 = others().map(|b| i64::from(*b)).sum();
    let signed: i64 = others().map(|b| i64::from(*b as i8)).sum();
    let spaces = 8 * i64::from(b' ');
    unsigned > 0 && [unsigned, signed].iter().any(|sum| u64::try_from(sum + spaces) == Ok(declared))
}

/// Checks the checksum, and that the header has one of the two supported layouts.
fn check(header: &Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let checksum = &header.as_old().cksum;
    // The checksum field itself counts as spaces.
    let count = |bytes: &[u8]| bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
    let sum = count(bytes) - count(checksum) + checksum.len() as u64 * u64::from(b' ');
    if number(checksum)? != sum {
        return Err(malformed("the checksum of a header is wrong"));
    }
    if header.as_ustar().is_none() && header.as_gnu().is_none() {
        return Err(malformed("a header is neither POSIX nor GNU"));
    }
    Ok(())
}

fn refused(kind: EntryType, header: &Header) -> io::Error {
    let what = match kind {
        EntryType::Link | EntryType::GNULongLink => "a hard or symbolic link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => return sparse(),
        _ => "of an unknown type",
    };
    malformed(&format!("the entry {:?} is {what}; only files and directories are supported", String::from_utf8_lossy(&header.path_bytes())))
}

fn sparse() -> io::Error {
    malformed("an entry is a sparse file, which is not supported")
}

fn ends_early() -> io::Error {
    malformed("it ends too early")
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
