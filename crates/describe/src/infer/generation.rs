//! `generation_config.json`: generation settings, which show the languages and inputs of speech
//! models.

use super::{
    findings::{Findings, field},
    folder::Folder,
    language,
};

/// Records input and output types and languages of models with a language or task setting, as
/// speech models have.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    let Some((config, path)) = folder.json("generation_config.json") else { return };
    let at = |key: &str| format!("{path}: `{key}`");
    if config["task_to_id"]["transcribe"].is_u64() {
        found.say(field::INPUT_TYPES, Some(vec!["audio"]), at("task_to_id"));
        found.say(field::OUTPUT_TYPES, Some(vec!["text"]), at("task_to_id"));
    }
    // Keys such as `<|en|>`.
    let tags = config["lang_to_id"].as_object().into_iter().flatten().map(|(key, _)| key.trim_matches(['<', '>', '|']).to_owned());
    found.say(field::LANGUAGES, Some(language::codes(tags)), at("lang_to_id"));
    let by_library = config["transformers_version"].is_string().then_some("transformer");
    found.say(field::ARCHITECTURE, by_library, at("transformers_version"));
}
