//! What is done on every Unix that is not Linux: nothing is known, nothing is advised, and the caller does what works everywhere.

use super::FileSystem;
use std::{
    fs::File,
    io::{self, ErrorKind},
    ops::Range,
    os::fd::BorrowedFd,
    path::Path,
};

pub(super) fn file_system(_: &File) -> Option<FileSystem> {
    None
}

pub(super) fn read_cached(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

pub(super) fn is_cached(_: &File, _: Range<u64>) -> bool {
    false
}

pub(super) fn send_file(_: BorrowedFd<'_>, _: &File, _: u64, _: usize) -> io::Result<usize> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn start_writeback(_: &File, _: Range<u64>) {}

pub(super) fn clone_file(_: &File, _: &File) -> bool {
    false
}

pub(super) fn allocate(_: &File, _: Range<u64>) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn rename_without_replacing(_: BorrowedFd<'_>, _: &str, _: BorrowedFd<'_>, _: &str) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

pub(super) fn sync_file_system(_: &File) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}
