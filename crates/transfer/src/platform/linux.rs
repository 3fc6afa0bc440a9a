//! The system calls of Linux. What each of these functions has to do is said where they are called.

mod page_cache;

use super::FileSystem;
use rustix::{
    fs::{Advice, CWD, FallocateFlags, RenameFlags, fadvise, fallocate, fstatfs, ioctl_ficlone, renameat_with, sendfile, syncfs},
    io::{Errno, ReadWriteFlags, preadv2},
};
use std::{
    fs::File,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    ops::Range,
    os::{fd::BorrowedFd, unix::fs::FileExt},
    path::Path,
};

pub(super) fn file_system(file: &File) -> Option<FileSystem> {
    // The type of this number depends on the processor; it has 32 bits.
    match fstatfs(file).ok()?.f_type as u64 & 0xffff_ffff {
        0x0102_1994 => Some(FileSystem::Tmpfs),
        0xef53 => Some(FileSystem::Ext),
        0x5846_5342 => Some(FileSystem::Xfs),
        0x9123_683e => Some(FileSystem::Btrfs),
        0xca45_1a4e => Some(FileSystem::Bcachefs),
        0x2fc1_2fc1 => Some(FileSystem::Zfs),
        0x6573_5546 => Some(FileSystem::Fuse),
        0xff53_4d42 | 0xfe53_4d42 => Some(FileSystem::Smb),
        _ => None,
    }
}

pub(super) fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    match preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
        // A file system without a disk need not know this flag.
        Err(Errno::OPNOTSUPP) if file_system(file) == Some(FileSystem::Tmpfs) => file.read_at(buffer, offset).ok(),
        read => read.ok(),
    }
}

pub(super) fn is_cached(file: &File, range: Range<u64>) -> bool {
    // A page that is being read from the disk counts as cached before its bytes are there. The kernel reads ahead in the order of the file,
    // so at least one of these two bytes is missing then.
    let can_be_read = |at| read_cached(file, &mut [0], at) == Some(1);
    file_system(file) == Some(FileSystem::Tmpfs)
        || (page_cache::has_pages(file, &range) && can_be_read(range.start) && can_be_read(range.end - 1))
}

pub(super) fn send_file(socket: BorrowedFd<'_>, file: &File, mut offset: u64, len: usize) -> io::Result<usize> {
    Ok(sendfile(socket, file, Some(&mut offset), len)?)
}

pub(super) fn start_writeback(file: &File, range: Range<u64>) {
    // It also drops pages that are clean already; those that it begins to write stay in memory.
    let _ = fadvise(file, range.start, NonZeroU64::new(range.end - range.start), Advice::DontNeed);
}

pub(super) fn clone_file(from: &File, to: &File) -> bool {
    ioctl_ficlone(to, from).is_ok()
}

pub(super) fn allocate(file: &File, range: Range<u64>) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::empty(), range.start, range.end - range.start)?)
}

pub(super) fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

pub(super) fn rename_without_replacing(from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new_name: &str) -> io::Result<()> {
    Ok(renameat_with(from, name, to, new_name, RenameFlags::NOREPLACE)?)
}

pub(super) fn sync_file_system(directory: &File) -> io::Result<()> {
    Ok(syncfs(directory)?)
}
