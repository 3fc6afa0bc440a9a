//! ONNX: where its tensors lie, and whose operators it needs.

use crate::{FileReport, Finding, Severity};
use modelpack_formats::{
    Malformed,
    onnx::{Item, Tensor, read},
};
use std::{
    collections::BTreeSet,
    io::{Read, Seek},
};

/// More files outside of the model are not told one by one.
const MAX_OUTSIDE: usize = 16;
/// Domains of operators that the runtimes have themselves, or a part of them.
const OWN_DOMAINS: [&str; 7] =
    ["", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft", "org.pytorch.aten"];

/// Checks a model of `size` bytes against its file, and looks for what its loader would fetch from elsewhere.
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
        let message = format!("has tensors in {location:?}, outside of the model's directory: its loader reads what lies there");
        report.find(Finding::new(Severity::Dangerous, message));
    }
    let header = header?;
    let is_own = |domain: &str| OWN_DOMAINS.contains(&domain) || domain.starts_with("com.microsoft.") || domain.starts_with("com.ms.");
    for domain in header.opsets.keys().filter(|domain| !is_own(domain) && !header.functions.contains(*domain)) {
        report.note(format!("needs operators of {domain:?}, which are code that its loader must be given; it was not judged"));
    }
    Ok(())
}
