//! Checks whether loading a model's files could run malicious code.
//!
//! The format of a file is detected from its bytes. Headers are checked against their files.
//! Pickles are walked opcode by opcode and never executed; their imports are judged by a list of
//! harmless globals, and anything else is a finding. Findings are also unsafe formats that a loader
//! opens, and content that could not be read. A [`Report`] lists everything that was not judged,
//! and never states that a file is clean.

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
