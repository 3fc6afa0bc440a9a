//! What a model's files say of it: fields of the config that nobody had to write down.
//!
//! Weights are read by their headers only, side files up to a bound, so the cost does not grow with the model. What cannot be
//! read, or cannot be believed, says nothing: a field is right or absent. The values depend on the files' content and on their
//! paths in the artifact alone, never on where they lie on this machine or when they were written.
//!
//! Each source has a file here. [`infer`] asks them in order of trust, and the first that speaks of a field is heard.

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

/// The fields of a model's config that its files give, and where each came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inferred {
    /// General information.
    pub descriptor: ModelDescriptor,
    /// Technical metadata.
    pub config: ModelConfig,
    /// Every field that is filled above, once.
    pub findings: Vec<Finding>,
    /// What the specification has no field for, as annotations of the manifest by their keys.
    pub annotations: BTreeMap<String, Finding>,
    /// Which weight files said nothing, and why, each in a sentence.
    pub notes: Vec<String>,
    /// Which side files could not be read, and why, each in a sentence.
    pub warnings: Vec<String>,
}

/// Reads what the files of `model` say of it. Blocks on their headers and side files.
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
        // A config beside such files is that of the model they were converted from.
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

/// Says the name under which the model was loaded where it was made, unless something says that this is another model: it was made
/// from the one it was loaded as, as the card's `base_model` or its title tells, and as models of sentence-transformers are.
fn name(folder: &Folder<'_>, config: &TransformersConfig, card: Option<&ModelCard>, found: &mut Findings) {
    let Some(name) = config.own_name().filter(|_| folder.find(|name| name == "modules.json").is_none()) else { return };
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let is_base = card.is_some_and(|card| card.base_models().iter().any(|base| config.is_loaded_from(base)));
    let is_titled = found.text(findings::field::TITLE).is_none_or(|title| letters(title).contains(&letters(name)));
    found.say(findings::field::NAME, (!is_base && is_titled).then_some(name), config.at("_name_or_path"));
}
