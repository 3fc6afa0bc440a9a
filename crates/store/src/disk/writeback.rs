//! Begins to write a file to the disk while it is still being received, so that the sync at its end has little to do.

use modelpack_transfer::platform::start_writeback;
use std::fs::File;

/// After how many bytes the kernel is asked to begin to write them to the disk.
const STEP: u64 = 32 << 20;

/// Tells the kernel to write the bytes of one file to the disk early.
#[derive(Debug, Default)]
pub struct Writeback {
    started: u64,
}

impl Writeback {
    /// Call this when the file has `written` bytes. It asks the kernel to write each whole step to the disk, and does not wait.
    ///
    /// This is advice. A kernel or file system that ignores it writes the bytes at the sync.
    pub fn advance(&mut self, file: &File, written: u64) {
        while written - self.started >= STEP {
            start_writeback(file, self.started..self.started + STEP);
            self.started += STEP;
        }
    }
}
