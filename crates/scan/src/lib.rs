//! Whether loading a model's files could run code that somebody put into them.
//!
//! What a file is, is told from its bytes. Headers are checked against their files; pickles are walked opcode by opcode, never run, and
//! what they import is judged against a list of what is harmless: anything else is a finding. So is what a loader opens that runs what it
//! reads, and what could not be read here. A [`Report`] lists what was not judged, and says of nothing that it is clean.

mod container;
mod file;
mod files;
mod format;
mod globals;
mod input;
mod json;
mod keras;
mod keras_objects;
mod onnx;
mod pickle;
mod report;
#[cfg(test)]
mod tests;
mod text;

pub use file::scan_file;
pub use files::{ScanOptions, ScannedFile, scan_files};
pub use report::{FileReport, Finding, Report, Severity};
