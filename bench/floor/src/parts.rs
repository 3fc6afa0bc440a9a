//! What is processed: the files of a model, or pieces of them, in pairs.

use crate::{PIECE, Result};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    num::NonZeroU64,
    path::Path,
};

/// After how many bytes the kernel is told to begin to write them to the disk.
const WRITEBACK: u64 = 8 << 20;

/// Consecutive bytes of a file.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Part {
    /// The file in this directory, at the beginning of the part.
    pub(crate) fn open(&self, directory: &str) -> io::Result<File> {
        self.at_offset(File::open(Path::new(directory).join(&self.name))?)
    }

    /// The same to write; other threads may write other parts of the file.
    fn create(&self, directory: &str) -> io::Result<Destination> {
        let file = File::options().write(true).create(true).truncate(false).open(Path::new(directory).join(&self.name))?;
        Ok(Destination { file: self.at_offset(file)?, written: self.offset, started: self.offset })
    }

    fn at_offset(&self, mut file: File) -> io::Result<File> {
        if self.offset > 0 {
            file.seek(SeekFrom::Start(self.offset))?;
        }
        Ok(file)
    }
}

/// A part that is being written. If it is on a disk, the disk is busy from the beginning, so that little is left to do in the end.
pub(crate) struct Destination {
    file: File,
    /// Everything up to here was written.
    written: u64,
    /// Everything up to here is on its way to the disk.
    started: u64,
}

impl Destination {
    pub(crate) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.written += piece.len() as u64;
        if self.written - self.started >= WRITEBACK {
            fadvise(&self.file, self.started, NonZeroU64::new(self.written - self.started), Advice::DontNeed)?;
            self.started = self.written;
        }
        Ok(())
    }

    /// Waits until the part is on the disk.
    pub(crate) fn sync(self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Two parts that one thread processes together. The first is at least as long as the second, which may be empty.
#[derive(Debug)]
pub(crate) struct Pair(pub(crate) [Part; 2]);

impl Pair {
    pub(crate) fn is_alone(&self) -> bool {
        self.0[1].length == 0
    }

    pub(crate) fn open(&self, directory: &str) -> io::Result<[File; 2]> {
        Ok([self.0[0].open(directory)?, self.0[1].open(directory)?])
    }

    pub(crate) fn create(&self, directory: &str) -> io::Result<[Destination; 2]> {
        Ok([self.0[0].create(directory)?, self.0[1].create(directory)?])
    }

    /// The lengths of the pieces in which the two parts are processed in turn.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = [usize; 2]> {
        let [length, other_length] = [self.0[0].length, self.0[1].length];
        let piece = |length: u64, start| length.saturating_sub(start).min(PIECE as u64) as usize;
        (0..length).step_by(PIECE).map(move |start| [piece(length, start), piece(other_length, start)])
    }
}

/// The files in a directory, without subdirectories.
pub(crate) fn files(directory: &str) -> Result<Vec<Part>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            let name = entry.file_name().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
            files.push(Part { name, offset: 0, length: metadata.len() });
        }
    }
    Ok(files)
}

/// The files in a directory, for what must process each in order.
pub(crate) fn whole_files(directory: &str, threads: &str) -> Result<Vec<Pair>> {
    Ok(pairs(files(directory)?, threads.parse()?))
}

/// The files in a directory, of which large ones are split, so that each thread has two parts of equal size.
pub(crate) fn parts_of_files(directory: &str, threads: &str) -> Result<Vec<Pair>> {
    let (files, threads) = (files(directory)?, threads.parse()?);
    let total: u64 = files.iter().map(|file| file.length).sum();
    let share = total.div_ceil(2 * threads as u64).max(1);
    let parts = |file: Part| {
        // An empty file is a part too.
        (0..file.length.div_ceil(share).max(1)).map(move |number| {
            let offset = number * share;
            Part { name: file.name.clone(), offset, length: share.min(file.length - offset) }
        })
    };
    Ok(pairs(files.into_iter().flat_map(parts).collect(), threads))
}

/// Pairs of parts of similar length, the longest first. If there are not two large parts for each thread, the longest are alone, so that no
/// thread is without work.
fn pairs(mut parts: Vec<Part>, threads: usize) -> Vec<Pair> {
    parts.sort_by_key(|part| std::cmp::Reverse(part.length));
    let large = parts.iter().filter(|part| part.length > PIECE as u64).count();
    let (alone, others) = parts.split_at((2 * threads).saturating_sub(large).min(large));
    let partner = |pair: &[Part]| pair.get(1).cloned().unwrap_or_else(|| Part { length: 0, ..pair[0].clone() });
    alone.chunks(1).chain(others.chunks(2)).map(|pair| Pair([pair[0].clone(), partner(pair)])).collect()
}
