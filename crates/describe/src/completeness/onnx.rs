//! ONNX models with tensors in external files.

use super::{Gap, Model, Names, split, stand_ins::is_stand_in};
use crate::{ModelFile, infer::format_by_name};
use modelpack_formats::onnx::{External, Item, read};
use modelpack_spec::LayerKind;
use std::collections::BTreeMap;

/// The largest number of external files that are checked for a model.
const MAX_FILES: usize = 1 << 12;

pub(super) fn gaps(model: &Model<'_>, gaps: &mut Vec<Gap>) {
    let is_model = |file: &&&ModelFile| {
        let has_graph = file.path.file_name().to_ascii_lowercase().ends_with(".onnx");
        file.kind == LayerKind::Weight && has_graph && format_by_name(&file.path) == Some("onnx")
    };
    for file in model.files.values().filter(is_model) {
        // The required length of each external file, by the name that the model uses.
        let mut ends: BTreeMap<String, u64> = BTreeMap::new();
        let Some(content) = file.open() else { continue };
        let read = read(content, file.size, |item| match item {
            Item::Tensor(tensor) => {
                let Some(External { location, offset }) = tensor.external.filter(|external| external.is_beside()) else { return };
                let end = offset.saturating_add(tensor.bytes);
                let is_full = ends.len() >= MAX_FILES;
                match ends.get_mut(location) {
                    Some(known) => *known = end.max(*known),
                    None if is_full => {}
                    None => _ = ends.insert(location.clone(), end),
                }
            }
            Item::Node(_) => {}
        });
        if read.is_err() {
            continue;
        }
        let (mut absent, mut short) = (Names::default(), Names::default());
        for (location, end) in &ends {
            match model.beside(split(file.path.as_str()).0, location) {
                None => absent.add(location),
                Some(other) if other.size < *end && !is_stand_in(other) => short.add(location),
                Some(_) => {}
            }
        }
        if absent.count > 0 {
            gaps.push(Gap::new(file, format_args!("has tensors in missing files: {absent}")));
        }
        if short.count > 0 {
            gaps.push(Gap::new(file, format_args!("has tensors in files that are too short: {short}")));
        }
    }
}
