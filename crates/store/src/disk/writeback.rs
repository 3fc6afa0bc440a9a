//! Starting to write to the disk while a file is still being received, so that the sync at its end has little left to do.

use modelpack_transfer::platform::start_writeback;
use std::fs::File;

/// How many bytes are written before the kernel is asked to begin with them.
const STEP: u64 = 32 << 20;

/// Tells the kernel about the bytes of one file as they are written.
#[derive(Debug, Default)]
pub struct Writeback {
    started: u64,
}

impl Writeback {
    /// For a file of which `written` bytes were written before.
    pub(super) fn starting_at(written: u64) -> Self {
        Self { started: written }
    }

    /// `written` bytes are written so far: asks for those that have become a whole step to be put on the disk, without waiting.
    ///
    /// It is advice: a kernel or file system that does not take it writes them at the sync.
    pub fn advance(&mut self, file: &File, written: u64) {
        while written - self.started >= STEP {
            start_writeback(file, self.started..self.started + STEP);
            self.started += STEP;
        }
    }
}
