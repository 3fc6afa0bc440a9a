//! Weights that end before the end that their header gives, because they were copied or fetched
//! incompletely.

use super::{Gap, Model, stand_ins::is_stand_in};
use crate::{ModelFile, infer::format_by_name};
use modelpack_formats::{Fault, gguf, safetensors};
use modelpack_spec::LayerKind;

pub(super) fn gaps(model: &Model<'_>, gaps: &mut Vec<Gap>) {
    let files = model.files.values().filter(|file| file.kind == LayerKind::Weight && !is_stand_in(file));
    gaps.extend(files.filter_map(|file| Some(Gap::new(file, format_args!("is incomplete: {}", cut(file)?)))));
}

fn cut(file: &ModelFile) -> Option<impl std::fmt::Display> {
    let checked = match format_by_name(&file.path)? {
        "safetensors" => safetensors::check(file.open()?, file.size),
        "gguf" => gguf::check(file.open()?, file.size),
        _ => return None,
    };
    checked.err().filter(|why| why.fault == Fault::Cut)
}
