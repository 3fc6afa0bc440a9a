//! Inference: fields of the config from the files of the model.
//!
//! Only the headers of weights are read, and side files only up to a limit, so the cost does not
//! grow with the size of the model. A source that cannot be read or is malformed is ignored: a
//! field is right or absent. The values depend only on the content of the files and on their paths
//! in the artifact, not on their location on this machine or their times.
//!
//! Each source has a file in this module. Sources are listed by priority; the first with a value
//! for a field wins.

mod adapter;
mod capabilities;
mod chat_template;
mod diffusers;
mod findings;
mod folder;
mod front_matter;
mod generation;
mod gguf;
mod hub;
mod language;
pub(crate) mod licence;
mod model_card;
mod onnx;
mod parameters;
mod prose;
mod pytorch;
mod quantization;
mod safetensors;
mod sentence_transformers;
#[cfg(test)]
mod tests;
mod transformers;
mod weights;

use crate::ModelFiles;
use diffusers::Pipeline;
use findings::Findings;
use folder::Folder;
use model_card::ModelCard;
use modelpack_spec::{ModelConfig, ModelDescriptor};
use modelpack_transfer::{Origin, Stated};
use std::collections::BTreeMap;
use transformers::TransformersConfig;

pub use findings::Finding;
pub(crate) use findings::config_of;
pub use hub::public_url;
pub use weights::format_by_name;

/// The config fields that the files of a model give, with their sources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inferred {
    /// General information.
    pub descriptor: ModelDescriptor,
    /// Technical metadata.
    pub config: ModelConfig,
    /// Every filled field, once.
    pub findings: Vec<Finding>,
    /// Values for which the specification has no field, as annotations of the manifest by key.
    pub annotations: BTreeMap<String, Finding>,
    /// Sentences about weight files without usable metadata.
    pub notes: Vec<String>,
    /// Sentences about side files that could not be read.
    pub warnings: Vec<String>,
}

/// Infers the metadata of `model` from its files. Blocks on reading headers and side files.
pub fn infer(model: &ModelFiles) -> Inferred {
    let mut folder = Folder::new(&model.files);
    let pipeline = Pipeline::read(&folder);
    if let Some(pipeline) = &pipeline {
        folder.set_parts(&pipeline.parts());
    }
    let folder = &folder;
    let card = ModelCard::read(folder);
    let config = TransformersConfig::read(folder);
    let config = config.as_ref();
    let mut found = Findings::default();

    if let Some(card) = &card {
        card.describe(&mut found);
    }
    if let Some(config) = config {
        config.describe(&mut found);
    }
    if let Some(pipeline) = &pipeline {
        pipeline.describe(&mut found);
    }
    capabilities::describe(folder, card.as_ref(), config, &mut found);
    adapter::describe(folder, &mut found);
    chat_template::describe(folder, &mut found);
    let format = weights::describe(folder, &mut found);
    match format {
        Some("gguf") => gguf::describe(folder, &mut found),
        Some("onnx") => onnx::describe(folder, &mut found),
        Some("safetensors") => safetensors::describe(folder, config, &mut found),
        Some("pt") => pytorch::describe(folder, config, &mut found),
        _ => {}
    }
    sentence_transformers::describe(folder, &mut found);
    if let Some(config) = config {
        // A config beside such files belongs to the model from which they were converted.
        if !matches!(format, Some("gguf" | "onnx")) {
            config.describe_numbers(&mut found);
        }
        config.describe_context(&mut found);
        name(folder, config, card.as_ref(), &mut found);
    }
    generation::describe(folder, &mut found);
    chat_template::describe_context(folder, &mut found);
    licence::describe(folder, &mut found);
    origin(model.origin(), &mut found);
    folder.unread().into_iter().for_each(|warning| found.warn(warning));
    found.into_inferred()
}

/// Records where the files were published.
fn origin(origin: Origin, found: &mut Findings) {
    for (field, stated) in [(findings::field::REVISION, origin.revision), (findings::field::SOURCE_URL, origin.url)] {
        if let Some(Stated { value, by }) = stated {
            found.say(field, Some(value), by);
        }
    }
}

/// Records the name under which the model was loaded by its author's program, unless this is
/// another model: one that was derived from the loaded one, according to the card's `base_model` or
/// title, or a sentence-transformers model.
fn name(folder: &Folder<'_>, config: &TransformersConfig, card: Option<&ModelCard>, found: &mut Findings) {
    let Some(name) = config.own_name().filter(|_| folder.find(|name| name == "modules.json").is_none()) else { return };
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let is_base = card.is_some_and(|card| card.base_models().iter().any(|base| config.is_loaded_from(base)));
    let is_titled = found.text(findings::field::TITLE).is_none_or(|title| letters(title).contains(&letters(name)));
    found.say(findings::field::NAME, (!is_base && is_titled).then_some(name), config.at("_name_or_path"));
}
