//! What a model's files say of it: fields of the config that nobody had to write down.
//!
//! Weights are read by their headers only, side files up to a bound, so the cost does not grow with the model. What cannot be
//! read, or cannot be believed, says nothing: a field is right or absent. The values depend on the files' content and on their
//! paths in the artifact alone, never on where they lie on this machine or when they were written.
//!
//! Each source has a file here. [`infer`] asks them in order of trust, and the first that speaks of a field is heard.

mod capabilities;
mod chat_template;
mod findings;
mod folder;
mod gguf;
mod language;
pub(crate) mod licence;
mod model_card;
mod parameters;
mod prose;
mod quantization;
mod safetensors;
#[cfg(test)]
mod tests;
mod transformers;
mod weights;

use crate::plan::PlannedFile;
use findings::Findings;
use folder::Folder;
use model_card::ModelCard;
use modelpack_spec::{ModelConfig, ModelDescriptor};
use transformers::TransformersConfig;

pub use findings::Finding;
pub(crate) use findings::config_of;
pub(crate) use weights::format_by_name;

/// The fields of a model's config that its files give, and where each came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inferred {
    /// General information.
    pub descriptor: ModelDescriptor,
    /// Technical metadata.
    pub config: ModelConfig,
    /// Every field that is filled above, once.
    pub findings: Vec<Finding>,
}

/// Reads what `files` say of their model. Blocks on their headers and side files.
pub fn infer(files: &[PlannedFile]) -> Inferred {
    let folder = Folder::new(files);
    let card = ModelCard::read(&folder);
    let config = TransformersConfig::read(&folder);
    let mut found = Findings::default();

    if let Some(card) = &card {
        card.describe(&mut found);
    }
    if let Some(config) = &config {
        config.describe(&mut found);
    }
    capabilities::describe(&folder, card.as_ref(), config.as_ref(), &mut found);
    chat_template::describe(&folder, &mut found);
    let format = weights::describe(&folder, &mut found);
    if format == Some("gguf") {
        gguf::describe(&folder, &mut found);
    } else {
        if format == Some("safetensors") {
            let quantization = config.as_ref().and_then(TransformersConfig::quantization);
            safetensors::describe(&folder, quantization.as_ref(), &mut found);
        }
        // Not for GGUF: a config beside such files is that of the model they were converted from.
        if let Some(config) = &config {
            config.describe_numbers(&mut found);
        }
    }
    licence::describe(&folder, &mut found);
    found.into_inferred()
}
