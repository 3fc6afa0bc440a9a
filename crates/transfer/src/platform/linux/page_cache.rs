//! Which pages of a file are in the page cache, as `cachestat` says (Linux 6.5 and newer).
//!
//! The kernel answers only those who may write to the file, or own it: others could learn what is read by whom.
#![expect(unsafe_code, reason = "no crate that is among our dependencies has this system call in a safe form")]

use libc::{SYS_futex_waitv, c_long, c_uint, syscall};
use std::{fs::File, ops::Range, os::fd::AsRawFd};

/// Its number follows that of `futex_waitv` on every processor. `libc` has it for few of them.
const SYS_CACHESTAT: c_long = SYS_futex_waitv + 2;

/// `struct cachestat_range`.
#[repr(C)]
struct Bytes {
    offset: u64,
    len: u64,
}

/// `struct cachestat`, in pages.
#[repr(C)]
#[derive(Default)]
struct Pages {
    cached: u64,
    dirty: u64,
    in_writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Whether all pages of `range`, which is not empty, are in the page cache. `false` if the kernel does not say.
pub(super) fn has_pages(file: &File, range: &Range<u64>) -> bool {
    let bytes = Bytes { offset: range.start, len: range.end - range.start };
    let mut pages = Pages::default();
    let flags: c_uint = 0;
    // SAFETY: the descriptor is open as long as `file` is borrowed. The kernel reads a `cachestat_range` and writes a `cachestat`, which
    // these two structures are, and keeps neither address.
    let result = unsafe { syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const bytes, &raw mut pages, flags) };
    let page = rustix::param::page_size() as u64;
    result == 0 && pages.cached == range.end.div_ceil(page) - range.start / page
}
