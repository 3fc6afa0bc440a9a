//! `config.json` as transformers and related libraries write it.

use super::{
    findings::{Findings, field},
    folder::Folder,
    hub,
    parameters::precision_of_torch,
    quantization::Quantization,
};
use modelpack_spec::annotation;
use serde_json::Value;

/// A model's `config.json`.
pub(super) struct TransformersConfig {
    json: Value,
    path: String,
}

impl TransformersConfig {
    pub(super) fn read(folder: &Folder<'_>) -> Option<Self> {
        let (json, path) = folder.json("config.json")?;
        Some(Self { json, path })
    }

    /// The `config.json` of one directory.
    pub(super) fn read_in(folder: &Folder<'_>, directory: &str) -> Option<Self> {
        let (json, path) = folder.json_in(directory, "config.json")?;
        Some(Self { json, path })
    }

    /// Records metadata that does not depend on the weights.
    pub(super) fn describe(&self, found: &mut Findings) {
        let outer = self.json["model_type"].as_str();
        let inner = self.json["text_config"]["model_type"].as_str();
        found.say(field::FAMILY, inner, self.at("text_config.model_type"));
        found.say(field::FAMILY, outer, self.at("model_type"));

        let of_family = outer.and_then(architecture_of);
        found.say(field::ARCHITECTURE, of_family, self.at("model_type"));
        // timm has models of any architecture under this one type.
        if !outer.is_some_and(|family| family.starts_with("timm")) {
            let by_library = self.json["transformers_version"].is_string().then_some("transformer");
            found.say(field::ARCHITECTURE, by_library, self.at("transformers_version"));
            found.say(field::ARCHITECTURE, self.head().map(|_| "transformer"), self.at("architectures"));
        }
    }

    /// Records the numeric type in which the model was saved.
    pub(super) fn describe_numbers(&self, found: &mut Findings) {
        for key in ["dtype", "torch_dtype"] {
            for (value, at) in [(&self.json[key], key.to_owned()), (&self.json["text_config"][key], format!("text_config.{key}"))] {
                found.say(field::PRECISION, value.as_str().and_then(precision_of_torch), self.at(&at));
            }
        }
        self.describe_quantization(found);
    }

    /// Records the quantization of the weights.
    pub(super) fn describe_quantization(&self, found: &mut Findings) {
        if let Some((quantization, key)) = self.quantization_at() {
            found.say(field::QUANTIZATION, quantization.method, self.at(&format!("{key}.quant_method")));
            // MLX has its own key, and one technique.
            found.say(field::QUANTIZATION, (key == "quantization").then_some("mlx"), self.at(key));
        }
    }

    /// The quantization of the weights, if they are quantized.
    pub(super) fn quantization(&self) -> Option<Quantization> {
        self.quantization_at().map(|(quantization, _)| quantization)
    }

    /// The quantization and its key.
    fn quantization_at(&self) -> Option<(Quantization, &'static str)> {
        // MLX writes it under both names. Multimodal models may have it in their text part.
        let places = [
            (&self.json["quantization"], "quantization"),
            (&self.json["quantization_config"], "quantization_config"),
            (&self.json["text_config"]["quantization_config"], "text_config.quantization_config"),
        ];
        places.into_iter().find(|(place, _)| place.is_object()).map(|(place, key)| (Quantization::new(place), key))
    }

    /// The model's name at its author: the last part of `_name_or_path`, if that is a hub name and
    /// not a path.
    pub(super) fn own_name(&self) -> Option<&str> {
        let id = self.json["_name_or_path"].as_str().filter(|id| hub::is_id(id))?;
        id.rsplit('/').next()
    }

    /// Whether the model was loaded under the name `id`.
    pub(super) fn is_loaded_from(&self, id: &str) -> bool {
        self.json["_name_or_path"].as_str() == Some(id)
    }

    /// Records the context length of the model.
    pub(super) fn describe_context(&self, found: &mut Findings) {
        const KEYS: [&str; 6] = ["max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length"];
        for key in KEYS {
            found.annotate(annotation::CONTEXT_LENGTH, tokens(&self.json["text_config"][key]), self.at(&format!("text_config.{key}")));
            found.annotate(annotation::CONTEXT_LENGTH, tokens(&self.json[key]), self.at(key));
        }
    }

    /// The purpose of the model: the class of its first architecture without the model's name, such
    /// as `ForCausalLM`.
    pub(super) fn head(&self) -> Option<&'static str> {
        const HEADS: [&str; 8] = [
            "ForCausalLM",
            "LMHeadModel",
            "ForConditionalGeneration",
            "ForMaskedLM",
            "ForSequenceClassification",
            "ForTokenClassification",
            "ForQuestionAnswering",
            "ForSpeechSeq2Seq",
        ];
        let class = self.json["architectures"][0].as_str()?;
        HEADS.into_iter().find(|head| class.ends_with(head))
    }

    /// Whether the model has a vision or audio part: `vision_config`, `audio_config`.
    pub(super) fn has_part(&self, key: &str) -> bool {
        self.json[key].is_object()
    }

    /// The source text for a field of this file.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}: `{key}`", self.path)
    }
}

/// A number of tokens. `None` for numbers that mean no limit.
pub(super) fn tokens(value: &Value) -> Option<String> {
    value.as_u64().filter(|tokens| (1..1 << 40).contains(tokens)).map(|tokens| tokens.to_string())
}

/// The architecture of a model family, if the family has only one.
pub(super) fn architecture_of(family: &str) -> Option<&'static str> {
    const CNN: [&str; 16] = [
        "bit",
        "convnext",
        "convnextv2",
        "dac",
        "dinov3_convnext",
        "efficientnet",
        "encodec",
        "hgnet_v2",
        "mobilenet_v1",
        "mobilenet_v2",
        "regnet",
        "resnet",
        "speecht5_hifigan",
        "superpoint",
        "univnet",
        "van",
    ];
    const TRANSFORMER: [&str; 33] = [
        "baichuan",
        "bert",
        "bloom",
        "chatglm",
        "codeshell",
        "command",
        "cohere",
        "dbrx",
        "deepseek",
        "exaone",
        "falcon",
        "gemma",
        "glm",
        "gpt",
        "granite",
        "grok",
        "internlm",
        "jina-bert",
        "llama",
        "minicpm",
        "mistral",
        "mixtral",
        "mpt",
        "nomic-bert",
        "olmo",
        "orion",
        "phi",
        "plamo",
        "qwen",
        "smollm",
        "stablelm",
        "starcoder",
        "t5",
    ];
    // Models with state-space layers between transformer layers have neither architecture.
    const HYBRID: [&str; 2] = ["falcon-h1", "granitehybrid"];
    let begins_with = |names: &[&str]| names.iter().any(|name| family.starts_with(name));
    if begins_with(&["mamba", "falcon_mamba", "falcon-mamba"]) {
        Some("mamba")
    } else if begins_with(&["rwkv", "arwkv"]) {
        Some("rwkv")
    } else if CNN.contains(&family) {
        Some("cnn")
    } else if begins_with(&["lstm", "gru", "rnn", "xlstm"]) {
        Some("rnn")
    } else if begins_with(&TRANSFORMER) && !HYBRID.contains(&family) {
        Some("transformer")
    } else {
        None
    }
}
