//! A file that is mapped into memory: what is stored there is in the file, and nobody wrote to it.
#![expect(unsafe_code, reason = "a shared mapping is made in no other way")]

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::{ffi::c_void, fs::File, path::Path, ptr::null_mut};

/// A whole file, mapped to be read and written, shared with whoever else has it open. It stays so without a descriptor.
pub struct SharedMapping {
    start: *mut c_void,
    len: usize,
}

impl SharedMapping {
    /// Maps the file at `path`, and closes it.
    pub fn of(path: &Path) -> Self {
        let file = File::options().read(true).write(true).open(path).expect("the file can be opened to be written");
        let len = usize::try_from(file.metadata().expect("it can be looked at").len()).expect("it fits into memory");
        // SAFETY: the kernel chooses the addresses, so nothing else is there.
        let start = unsafe { mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0) };
        Self { start: start.expect("the file can be mapped"), len }
    }

    /// Stores a byte at `at`.
    pub fn store(&self, at: usize, byte: u8) {
        assert!(at < self.len, "{at} is within the file");
        // SAFETY: `at` is within the mapping, which lives as long as this does. No reference to its bytes exists.
        unsafe { self.start.cast::<u8>().add(at).write_volatile(byte) };
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing points into it.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_stored_is_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [1; 10_000]).unwrap();
        let mapping = SharedMapping::of(file.path());
        mapping.store(9_999, 2);
        assert_eq!(fs::read(file.path()).unwrap()[9_998..], [1, 2]);
    }
}
