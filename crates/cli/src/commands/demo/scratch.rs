//! A temporary directory that is removed at the end, even if a cancelled thread still writes to it.

use crate::failure::{Failure, Kind};
use std::{fs, io, path::PathBuf, thread, time::Duration};
use tempfile::TempDir;

pub struct Scratch(TempDir);

impl Scratch {
    pub fn create() -> Result<Self, Failure> {
        let made = tempfile::Builder::new().prefix("modelpack-demo-").tempdir();
        made.map(Self).map_err(|e| Failure::new(Kind::Io, format!("cannot create a temporary directory: {e}")))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Each attempt leaves less. A cancelled thread stops within one buffer.
        for _ in 0..100 {
            match fs::remove_dir_all(self.0.path()) {
                Ok(()) => return,
                Err(e) if e.kind() == io::ErrorKind::NotFound => return,
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}
