//! sentence-transformers models: the maximum length of a text.

use super::{findings::Findings, folder::Folder, transformers::tokens};
use modelpack_spec::annotation;

/// Records the length to which texts are truncated, which may be less than the model's limit.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    if let Some((config, path)) = folder.json("sentence_bert_config.json") {
        found.annotate(annotation::CONTEXT_LENGTH, tokens(&config["max_seq_length"]), format!("{path}: `max_seq_length`"));
    }
}
