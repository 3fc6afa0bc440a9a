//! PEFT adapters: `adapter_config.json` and `adapter_model`, weights that modify another model.

use super::{
    findings::{Findings, field},
    folder::Folder,
    hub,
    weights::format_of,
};
use modelpack_spec::annotation;

/// Records the adapter's base model, kind and task, unless there is a complete model in the same
/// directory.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    let has = |stem: &str| {
        let mut weights = folder.files_in(folder.directory).filter(|file| format_of(file).is_some());
        weights.any(|file| file.path.file_name().strip_prefix(stem).is_some_and(|rest| rest.starts_with(['.', '-'])))
    };
    if !has("adapter_model") || has("model") {
        return;
    }
    let Some((config, path)) = folder.json_in(folder.directory, "adapter_config.json") else { return };
    let at = |key: &str| format!("{path}: `{key}`");
    let base = config["base_model_name_or_path"].as_str().filter(|id| hub::is_id(id));
    found.annotate(annotation::BASE_MODEL, base.map(str::to_owned), at("base_model_name_or_path"));
    let kind = config["peft_type"].as_str().map(str::to_ascii_lowercase);
    found.annotate(annotation::ADAPTER, kind, at("peft_type"));
    let outputs = match config["task_type"].as_str() {
        Some("CAUSAL_LM" | "SEQ_2_SEQ_LM" | "SEQ_CLS" | "TOKEN_CLS" | "QUESTION_ANS") => "text",
        Some("FEATURE_EXTRACTION") => "embedding",
        _ => return,
    };
    found.say(field::INPUT_TYPES, Some(vec!["text"]), at("task_type"));
    found.say(field::OUTPUT_TYPES, Some(vec![outputs]), at("task_type"));
}
