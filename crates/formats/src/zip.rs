//! Zip archives: the central directory, and contradictions in the archive.
//!
//! Some readers use the central directory, others the local headers before the entries. Python's
//! reader checks both, PyTorch's does not. So entries are read at the location that the directory
//! gives, and every contradiction is reported.

mod content;
mod directory;
#[cfg(test)]
mod tests;

pub use content::Content;
pub use directory::{Archive, Entry};
