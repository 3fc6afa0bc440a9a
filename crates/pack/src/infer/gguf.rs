//! GGUF: metadata, tensor infos and tensors in one file. What its header tells of the model.

mod header;
mod types;

use super::{
    chat_template,
    findings::{Findings, field},
    folder::Folder,
    language, licence,
    transformers::architecture_of,
    weights::{self, Shards},
};
use header::Header;
use modelpack_spec::value;
use std::fs::File;

/// Says what the headers tell: of all models beside each other only what is true of each, since they are usually one model in
/// several quantizations.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    let sets = weights::models(folder, "gguf");
    let headers: Option<Vec<_>> = sets.iter().map(|set| Some((read(set)?, set.source()))).collect();
    let Some(mut models) = headers else { return };
    models.retain(|(header, _)| header.is_model());
    let Some((_, source)) = models.first() else { return };
    let agreed = |value: fn(&Header) -> Option<String>| weights::agreed(&models, |(header, _)| value(header));
    let at = |key: &str| format!("{source}: `{key}`");

    let family = agreed(|h| h.architecture.clone());
    found.say(field::ARCHITECTURE, family.as_deref().and_then(architecture_of), at("general.architecture"));
    found.say(field::FAMILY, family, at("general.architecture"));
    found.say(field::NAME, agreed(|h| h.name.clone()), at("general.name"));
    found.say(field::VERSION, agreed(|h| h.version.clone()), at("general.version"));
    found.say(field::LICENSES, agreed(|h| h.license.as_deref().and_then(licence::spdx)).map(|id| vec![id]), at("general.license"));
    let languages = weights::agreed(&models, |(header, _)| header.languages.clone());
    found.say(field::LANGUAGES, languages.map(language::codes), at("general.languages"));
    found.say(field::PARAM_SIZE, agreed(|h| h.parameters.size()), format!("{source}: tensor shapes"));
    let label = agreed(|h| h.size_label.clone().filter(|label| value::is_param_size(label)));
    found.say(field::PARAM_SIZE, label, at("general.size_label"));
    found.say(field::PRECISION, agreed(Header::precision), format!("{source}: tensor types"));
    found.say(field::QUANTIZATION, agreed(Header::quantization), format!("{source}: `general.file_type`, tensor types"));
    if let Some(template) = agreed(|h| h.chat_template.clone()) {
        chat_template::read(&template, &at("tokenizer.chat_template"), found);
    }
}

/// The header of a model in one or several files: the first has the metadata, each its own tensors.
fn read(shards: &Shards<'_>) -> Option<Header> {
    let mut headers = shards.files.iter().map(|file| Header::read(File::open(&file.source).ok()?, file.size));
    let mut first = headers.next()??;
    for header in headers {
        first.take_tensors_of(&header?);
    }
    Some(first)
}
