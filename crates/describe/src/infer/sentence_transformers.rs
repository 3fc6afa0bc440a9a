//! Models of sentence-transformers: how much of a text they take.

use super::{findings::Findings, folder::Folder, transformers::tokens};
use modelpack_spec::annotation;

/// Notes the length to which texts are cut, which may be less than the model could take.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    if let Some((config, path)) = folder.json("sentence_bert_config.json") {
        found.annotate(annotation::CONTEXT_LENGTH, tokens(&config["max_seq_length"]), format!("{path}: `max_seq_length`"));
    }
}
