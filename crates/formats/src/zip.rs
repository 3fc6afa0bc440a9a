//! Zip archives: the central directory, and what the archive says twice and differently.
//!
//! Some readers believe the directory, others the headers before the entries; Python's checks both, PyTorch's does not. So entries are
//! read where the directory says that they lie, and each contradiction is told.

mod content;
mod directory;
#[cfg(test)]
mod tests;

pub use content::Content;
pub use directory::{Archive, Entry};
