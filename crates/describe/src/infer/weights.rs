//! Determines the weight files, their format, and the shards of each model.

use super::{
    findings::{Findings, field},
    folder::{Folder, parent},
    parameters::Parameters,
};
use crate::ModelFile;
use modelpack_spec::{FilePath, LayerKind, ShardName};
use std::collections::BTreeMap;

/// Extensions of weight files and their formats.
const FORMATS: [(&str, &str); 11] = [
    ("safetensors", "safetensors"),
    ("gguf", "gguf"),
    ("onnx", "onnx"),
    ("onnx_data", "onnx"),
    ("pt", "pt"),
    ("pth", "pt"),
    ("h5", "h5"),
    ("keras", "keras"),
    ("msgpack", "msgpack"),
    ("tflite", "tflite"),
    ("mlmodel", "mlmodel"),
];

/// The format of a weight file, from its name.
pub(super) fn format_of(file: &ModelFile) -> Option<&'static str> {
    if file.kind == LayerKind::Weight { format_by_name(&file.path) } else { None }
}

/// The format of weights with this name.
pub fn format_by_name(path: &FilePath) -> Option<&'static str> {
    let name = path.file_name().to_ascii_lowercase();
    let (_, extension) = name.rsplit_once('.')?;
    // Many files are named `.bin`. PyTorch's are recognised by the rest of the name.
    let is_pytorch = extension == "bin" && (name.contains("pytorch_model") || name == "adapter_model.bin");
    let is_onnx_data = name.contains(".onnx.data") || name.contains(".onnx_data");
    let known = FORMATS.iter().find(|(known, _)| *known == extension).map(|(_, format)| *format);
    known.or(is_pytorch.then_some("pt")).or(is_onnx_data.then_some("onnx"))
}

/// Whether a file of this format begins with a header. External files of an ONNX model have none.
fn has_header(file: &ModelFile, format: &str) -> bool {
    format_of(file) == Some(format) && (format != "onnx" || file.path.file_name().to_ascii_lowercase().ends_with(".onnx"))
}

/// Records and returns the format with the most bytes. Among copies of the same weights, the format
/// that loaders use wins.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) -> Option<&'static str> {
    let has_main = !folder.is_pipeline() && folder.files_in(folder.directory).any(is_main);
    let mut formats: BTreeMap<&str, (u64, &ModelFile)> = BTreeMap::new();
    for file in folder.files() {
        let Some(format) = format_of(file).filter(|_| !(has_main && is_copy(folder, file))) else { continue };
        let (bytes, largest) = formats.entry(format).or_insert((0, file));
        *bytes = bytes.saturating_add(file.size);
        if file.size > largest.size {
            *largest = file;
        }
    }
    let (format, (_, largest)) = formats.into_iter().max_by_key(|(_, (bytes, _))| *bytes)?;
    found.say(field::FORMAT, Some(format), largest.path.as_str());
    Some(format)
}

/// Whether a file has the name that loaders look for first.
fn is_main(file: &ModelFile) -> bool {
    format_of(file) == Some("safetensors") && shard(file.path.file_name()).0 == "model"
}

/// Whether a file has a name or location in which hubs store copies of the weights for other
/// programs.
fn is_copy(folder: &Folder<'_>, file: &ModelFile) -> bool {
    const NAMES: [&str; 3] = ["pytorch_model", "tf_model", "flax_model"];
    const DIRECTORIES: [&str; 5] = ["original", "onnx", "openvino", "coreml", "metal"];
    let directory = parent(file);
    if directory == folder.directory {
        return NAMES.iter().any(|name| file.path.file_name().strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '-'])));
    }
    let below = directory.strip_prefix(folder.directory).map(|below| below.trim_start_matches('/'));
    below.and_then(|below| below.split('/').next()).is_some_and(|first| DIRECTORIES.contains(&first))
}

/// The directory of the least deeply nested weights; the root if several directories have such
/// weights, as in pipelines.
pub(super) fn directory<'a>(files: &[&'a ModelFile]) -> &'a str {
    let depth = |file: &ModelFile| file.path.components().count();
    let weights = || files.iter().copied().filter(|file| format_of(file).is_some());
    let Some(least) = weights().map(depth).min() else { return "" };
    let mut directories = weights().filter(|file| depth(file) == least).map(parent);
    let first = directories.next().unwrap_or_default();
    if directories.all(|other| other == first) { first } else { "" }
}

/// The files that together hold one model's weights.
pub(super) struct Shards<'a> {
    /// The files' name without number and extension.
    stem: &'a str,
    /// At least one file, in order.
    pub(super) files: Vec<&'a ModelFile>,
}

impl Shards<'_> {
    /// The files as the source text of findings.
    pub(super) fn source(&self) -> String {
        match self.files.as_slice() {
            [only] => only.path.to_string(),
            [first, rest @ ..] => format!("{} and {} more", first.path, rest.len()),
            [] => String::new(),
        }
    }
}

/// Counts the weights of `format`. `read` counts one model, and gets its directory and shards.
/// Alternatives give their common values; the parts of a pipeline are added up. Returns the count
/// with its source, unless the weights of some part cannot be read or exist only in another format.
pub(super) fn count<'a>(
    folder: &Folder<'a>,
    format: &str,
    mut read: impl FnMut(&'a str, &Shards<'a>) -> Option<Parameters>,
) -> Option<(Parameters, String)> {
    let mut total = Parameters::default();
    let mut first = None;
    let mut files = 0;
    for directory in folder.parts() {
        let models = models_in(folder, directory, format);
        if models.is_empty() && !folder.is_pipeline() {
            return None;
        }
        if models.is_empty() && folder.files_in(directory).any(|file| format_of(file).is_some()) {
            return None;
        }
        let alternatives: Option<Vec<_>> = models.iter().map(|shards| read(directory, shards)).collect();
        let Some(part) = Parameters::common(alternatives?) else { continue };
        total.merge(part);
        files += models[0].files.len();
        first.get_or_insert(models.into_iter().next()?);
    }
    let first = first?;
    let source = if files == first.files.len() { first.source() } else { format!("{} and {} more", first.files[0].path, files - 1) };
    Some((total, source))
}

/// The models in the directory of the weights.
pub(super) fn models<'a>(folder: &Folder<'a>, format: &str) -> Vec<Shards<'a>> {
    models_in(folder, folder.directory, format)
}

/// The models of one directory in `format`: complete sets of shards.
///
/// Loaders use the file with the usual name if there are others too, such as the same weights under
/// older names or in another precision. So does this function. Otherwise several models are
/// alternatives, and only values that all share are true of the artifact.
fn models_in<'a>(folder: &Folder<'a>, directory: &str, format: &str) -> Vec<Shards<'a>> {
    let mut sets: BTreeMap<(&str, usize), BTreeMap<usize, &ModelFile>> = BTreeMap::new();
    for file in folder.files_in(directory).filter(|file| has_header(file, format)) {
        let (stem, number, total) = shard(file.path.file_name());
        sets.entry((stem, total)).or_default().insert(number, file);
    }
    let complete = |total: usize, set: &BTreeMap<usize, &ModelFile>| {
        set.len() == total && (set.keys().copied().eq(1..=total) || set.keys().copied().eq(0..total))
    };
    let mut models: Vec<Shards<'a>> = sets
        .into_iter()
        .filter(|((_, total), set)| complete(*total, set))
        .map(|((stem, _), set)| Shards { stem, files: set.into_values().collect() })
        .collect();
    match models.iter().position(|model| ["model", "pytorch_model", "diffusion_pytorch_model"].contains(&model.stem)) {
        Some(preferred) => vec![models.swap_remove(preferred)],
        None => models,
    }
}

/// Parses `name-00002-of-00003.safetensors` as `("name", 2, 3)`. A file that is not a shard is the
/// only one of its set.
fn shard(name: &str) -> (&str, usize, usize) {
    let only = || (name.rsplit_once('.').map_or(name, |(stem, _)| stem), 1, 1);
    ShardName::parse(name).map_or_else(only, |shard| (shard.stem, shard.number, shard.total))
}

/// The value that all of `models` share.
pub(super) fn agreed<M, T: PartialEq>(models: &[M], value: impl Fn(&M) -> Option<T>) -> Option<T> {
    let first = value(models.first()?)?;
    models[1..].iter().all(|model| value(model).as_ref() == Some(&first)).then_some(first)
}
