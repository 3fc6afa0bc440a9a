//! ONNX: the locations of its tensors, and the origin of its operators.

use crate::{FileReport, Finding, Severity};
use modelpack_formats::{
    Malformed,
    onnx::{Item, Tensor, read},
};
use std::{
    collections::BTreeSet,
    io::{Read, Seek},
};

/// The largest number of reported files outside the model.
const MAX_OUTSIDE: usize = 16;
/// Operator domains that runtimes, or some of them, implement.
const OWN_DOMAINS: [&str; 7] =
    ["", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "org.pytorch.aten"];

/// Checks a model of `size` bytes against its file, and looks for content that its loader would
/// read from elsewhere.
pub(crate) fn scan(file: impl Read + Seek, size: u64, report: &mut FileReport) -> Result<(), Malformed> {
    let mut outside = BTreeSet::new();
    let header = read(file, size, |item| {
        if let Item::Tensor(Tensor { external: Some(external), .. }) = item
            && !external.is_beside()
            && outside.len() < MAX_OUTSIDE
        {
            outside.insert(external.location.clone());
        }
    });
    for location in &outside {
        let message = format!("has tensors in {location:?}, outside the model's directory: its loader reads that file");
        report.find(Finding::new(Severity::Dangerous, message));
    }
    let header = header?;
    let is_own = |domain: &str| OWN_DOMAINS.contains(&domain) || domain.starts_with("com.microsoft.") || domain.starts_with("com.ms.");
    for domain in header.opsets.keys().filter(|domain| !is_own(domain) && !header.functions.contains(*domain)) {
        report.note(format!("needs operators of {domain:?}, which are code that must be given to the loader; they were not judged"));
    }
    Ok(())
}
