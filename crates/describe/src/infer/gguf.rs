//! GGUF: metadata from the headers of the files.

mod mix;
mod model;

use super::{
    chat_template,
    findings::{Findings, field},
    folder::Folder,
    hub, language, licence,
    transformers::architecture_of,
    weights::{self, Shards},
};
use model::Model;
use modelpack_spec::{annotation, value};

/// Records the metadata of the headers. If there are several models, only values that all share are
/// recorded, because they are usually one model in several quantizations.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    let sets = weights::models(folder, "gguf");
    let headers: Option<Vec<_>> = sets.iter().map(|set| Some((read(set, found)?, set.source()))).collect();
    let Some(mut models) = headers else { return };
    models.retain(|(model, _)| model.is_model());
    let Some((_, source)) = models.first() else { return };
    let agreed = |value: fn(&Model) -> Option<String>| weights::agreed(&models, |(model, _)| value(model));
    let at = |key: &str| format!("{source}: `{key}`");

    let family = agreed(|m| m.header.architecture.clone());
    found.say(field::ARCHITECTURE, family.as_deref().and_then(architecture_of), at("general.architecture"));
    found.say(field::FAMILY, family.clone(), at("general.architecture"));
    found.say(field::NAME, agreed(|m| m.header.name.clone()), at("general.name"));
    found.say(field::VERSION, agreed(|m| m.header.version.clone()), at("general.version"));
    found.say(field::LICENSES, agreed(|m| m.header.license.as_deref().and_then(licence::spdx)).map(|id| vec![id]), at("general.license"));
    let own = agreed(|m| m.header.general.get("license.name").and_then(|name| licence::spdx(name)));
    found.say(field::LICENSES, own.map(|id| vec![id]), at("general.license.name"));
    found.say(field::AUTHORS, agreed(|m| m.header.general.get("author").cloned()).map(|author| vec![author]), at("general.author"));
    found.say(field::VENDOR, agreed(|m| m.header.general.get("organization").cloned()), at("general.organization"));
    found.say(field::DESCRIPTION, agreed(|m| m.header.general.get("description").cloned()), at("general.description"));
    found.say(field::DOC_URL, agreed(|m| m.header.general.get("url").and_then(|url| hub::public_url(url))), at("general.url"));
    let source_of = agreed(|m| m.header.general.get("repo_url").and_then(|url| hub::public_url(url)));
    found.say(field::SOURCE_URL, source_of, at("general.repo_url"));
    found.annotate(annotation::BASE_MODEL, agreed(Model::bases), at("general.base_model"));
    let tokens = agreed(|m| m.header.context_length.filter(|tokens| *tokens > 0).map(|tokens| tokens.to_string()));
    found.annotate(annotation::CONTEXT_LENGTH, tokens, at(&format!("{}.context_length", family.as_deref().unwrap_or("*"))));
    let languages = weights::agreed(&models, |(model, _)| model.header.languages.clone());
    found.say(field::LANGUAGES, languages.map(language::codes), at("general.languages"));
    found.say(field::PARAM_SIZE, agreed(|m| m.parameters.size()), format!("{source}: tensor shapes"));
    let label = agreed(|m| m.header.size_label.clone().filter(|label| value::is_param_size(label)));
    found.say(field::PARAM_SIZE, label, at("general.size_label"));
    found.say(field::PRECISION, agreed(Model::precision), format!("{source}: tensor types"));
    found.say(field::QUANTIZATION, agreed(Model::quantization), format!("{source}: `general.file_type`, tensor types"));
    if let Some(template) = agreed(|m| m.header.chat_template.clone()) {
        chat_template::read(&template, &at("tokenizer.chat_template"), found);
    }
}

/// A model in one or several files; `None` if one of them is malformed.
fn read(shards: &Shards<'_>, found: &mut Findings) -> Option<Model> {
    let mut model = Model::default();
    for (index, file) in shards.files.iter().enumerate() {
        let refused = model.add_file(file.open()?, file.size, index == 0).map_err(|why| found.note(file, why)).ok()?;
        if let Some(why) = refused {
            found.note_refused(file, "llama.cpp", why);
        }
    }
    Some(model)
}
