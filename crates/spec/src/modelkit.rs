//! Reads the config of a KitOps ModelKit into a ModelPack [`Config`]. Such configs are never
//! written.

use crate::{
    Artifact, Config, Descriptor, FilePath, LayerKind,
    media_type::KitLayer,
    translate::{self, Fields, text},
};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};

const FIELDS: &Fields = &[
    ("package/name", "descriptor.name"),
    ("model/name", "descriptor.name"),
    ("model/name", "descriptor.title"),
    ("package/version", "descriptor.version"),
    ("model/version", "descriptor.version"),
    ("package/description", "descriptor.description"),
    ("model/description", "descriptor.description"),
    ("package/authors/*", "descriptor.authors"),
    ("package/license", "descriptor.licenses"),
    ("model/license", "descriptor.licenses"),
    ("model/parts/*/license", "descriptor.licenses"),
    ("code/*/license", "descriptor.licenses"),
    ("datasets/*/license", "descriptor.licenses"),
    ("model/format", "config.format"),
];

/// The sections whose entries are layers, each in the order of its layers, with the name that their
/// media types contain.
const SECTIONS: [(&str, &str); 7] = [
    ("model", "model"),
    ("model/parts/*", "modelpart"),
    ("code/*", "code"),
    ("datasets/*", "dataset"),
    ("docs/*", "docs"),
    ("prompts/*", "code"),
    ("mcpServers/*", "mcpb"),
];

/// The config of a KitOps ModelKit, `application/vnd.kitops.modelkit.config.v1+json`: its Kitfile
/// as JSON.
///
/// Reading is lenient: unknown fields and values of the wrong type are ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelKit(Value);

impl ModelKit {
    /// The manifest annotation for `model.framework`, for which [`Config`] has no field.
    pub const FRAMEWORK: &str = "ml.kitops.modelkit.model.framework";
    /// The manifest annotation for `model.parameters`, as JSON.
    pub const PARAMETERS: &str = "ml.kitops.modelkit.model.parameters";

    /// Reads a config blob, which must be a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        translate::parse(bytes).map(Self)
    }

    /// The description of the model. `modelfs` stays empty.
    pub fn config(&self) -> Config {
        translate::config(&self.0, FIELDS, "", &[])
    }

    /// The values for which [`Config`] has no field, as annotations of a manifest.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let framework = self.at("model/framework").into_iter().find_map(text).and_then(|text| text.as_str().map(str::to_owned));
        let parameters = self.at("model/parameters").into_iter().find(|value| !value.is_null()).map(Value::to_string);
        let pairs = [(Self::FRAMEWORK, framework), (Self::PARAMETERS, parameters)];
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// Gives the layers of `artifact` the paths that only the config contains, and gives model
    /// parts their kinds. This must be the config of `artifact`.
    ///
    /// An entry belongs to the layer whose digest it has. Entries of older ModelKits have no
    /// digests; there the entry's position decides. An invalid path is ignored.
    pub fn name_layers(&self, artifact: &mut Artifact) {
        let mut sections: HashMap<&str, Vec<&Value>> = HashMap::new();
        for (path, what) in SECTIONS {
            sections.entry(what).or_default().extend(self.at(path).into_iter().filter(|entry| is_layer(entry)));
        }
        // Equal files may be two entries with one digest.
        let mut by_digest: HashMap<(&str, String), VecDeque<&Value>> = HashMap::new();
        for (what, entries) in &sections {
            for entry in entries {
                let Some(digest) = entry.get("digest").and_then(Value::as_str) else { continue };
                by_digest.entry((*what, digest.to_owned())).or_default().push_back(*entry);
            }
        }
        let mut places: HashMap<&str, usize> = HashMap::new();
        for layer in &mut artifact.layers {
            let Descriptor { media_type, digest, .. } = &layer.descriptor;
            let Some(KitLayer { what, .. }) = KitLayer::parse(media_type) else { continue };
            let Some((what, entries)) = sections.get_key_value(what) else { continue };
            let place = places.entry(what).or_default();
            let entry = if by_digest.is_empty() {
                entries.get(*place).copied()
            } else {
                by_digest.get_mut(&(*what, digest.to_string())).and_then(VecDeque::pop_front)
            };
            *place += 1;
            let Some(entry) = entry else { continue };
            if layer.path.is_none() {
                layer.path = entry.get("path").and_then(Value::as_str).and_then(|path| path.parse().ok());
            }
            if let (&"modelpart", Some(path)) = (what, &layer.path) {
                layer.kind = Some(Self::kind_of_part(entry.get("type").and_then(Value::as_str), path));
            }
        }
    }

    /// The kind of a model part, by its `type` or else by its name: a config if that clearly names
    /// one, weights otherwise.
    ///
    /// KitOps itself writes all parts as weight configs, which hides the weights of a multi-file
    /// model from other tools.
    pub fn kind_of_part(type_: Option<&str>, path: &FilePath) -> LayerKind {
        let is_config = |word: &str| ["config", "tokenizer", "vocab"].iter().any(|part| word.contains(part));
        let is_config = match type_ {
            Some(type_) => is_config(&type_.to_lowercase()),
            None => {
                let name = path.file_name().to_lowercase();
                let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
                matches!(extension, "json" | "jsonl" | "yaml" | "yml" | "toml" | "ini" | "cfg" | "txt" | "jinja" | "tiktoken")
                    || name.contains("tokenizer")
            }
        };
        if is_config { LayerKind::WeightConfig } else { LayerKind::Weight }
    }

    fn at(&self, path: &str) -> Vec<&Value> {
        translate::at(&self.0, path)
    }
}

/// Whether the entry of a section has a layer. A model may belong to another ModelKit or be absent,
/// and a data set may be stored elsewhere.
fn is_layer(entry: &Value) -> bool {
    let is_there = |key: &str| entry.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    !is_there("remotePath") && (is_there("path") || is_there("digest"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, ImageManifest, UnknownFields, media_type};
    use serde_json::json;

    fn kit(value: &Value) -> ModelKit {
        ModelKit::parse(value.to_string().as_bytes()).unwrap()
    }

    fn artifact(layers: &[&str]) -> Artifact {
        let layer = |(at, what): (usize, &&str)| {
            Descriptor::new(format!("application/vnd.kitops.modelkit.{what}.v1.tar"), Digest::of(&[u8::try_from(at).unwrap()]), 1)
        };
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: Descriptor::of(media_type::MODELKIT_CONFIG, b"{}"),
            layers: layers.iter().enumerate().map(layer).collect(),
            subject: None,
            annotations: BTreeMap::new(),
            other: UnknownFields::default(),
        };
        Artifact::read(&image).unwrap()
    }

    fn named(kit: &Value, layers: &[&str]) -> Vec<(Option<String>, Option<LayerKind>)> {
        let mut artifact = artifact(layers);
        assert!(artifact.has_known_config() && !artifact.has_model_config());
        assert_eq!(artifact.artifact_type.as_deref(), Some(media_type::MODELKIT));
        assert_eq!(artifact.read_config(kit.to_string().as_bytes()).unwrap().config, self::kit(kit).config());
        artifact.layers.iter().map(|layer| (layer.path.as_ref().map(ToString::to_string), layer.kind)).collect()
    }

    #[test]
    fn fields_are_translated_to_a_modelpack_config() {
        let kit = kit(&json!({
            "package": { "name": "pack", "version": 1.5, "description": "d", "license": "MIT", "authors": ["a", 7, "a"] },
            "model": {
                "name": "m", "version": "2", "description": "of the model", "license": "Apache-2.0", "format": "gguf", "framework": "ggml",
                "parameters": { "b": [1, 2], "a": true }, "parts": [{ "path": "x", "license": "MIT" }, { "path": "y", "license": "ISC" }],
            },
            "code": [{ "license": "BSD-3-Clause" }], "datasets": [{ "license": "CC0-1.0" }], "docs": 3,
        }));
        let expected = json!({
            "descriptor": {
                "authors": ["a", "7"], "name": "pack", "version": "1.5", "title": "m", "description": "d",
                "licenses": ["MIT", "Apache-2.0", "ISC", "BSD-3-Clause", "CC0-1.0"],
            },
            "config": { "format": "gguf" }, "modelfs": { "type": "layers", "diffIds": [] },
        });
        assert_eq!(serde_json::to_value(kit.config()).unwrap(), expected);
        let parameters = kit.annotations()[ModelKit::PARAMETERS].clone();
        assert_eq!(serde_json::from_str::<Value>(&parameters).unwrap(), json!({ "b": [1, 2], "a": true }));
        assert_eq!(kit.annotations()[ModelKit::FRAMEWORK], "ggml");
    }

    #[test]
    fn unusable_values_give_an_empty_config() {
        for nothing in [json!({}), json!({ "package": 1, "model": [], "code": {} }), json!({ "package": { "name": [], "authors": "a" } })] {
            assert_eq!((kit(&nothing).config(), kit(&nothing).annotations()), (Config::default(), BTreeMap::new()), "{nothing}");
        }
        for bad in ["", "[]", "null", "7"] {
            assert!(ModelKit::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn layers_get_the_paths_of_their_entries() {
        let layers = ["model", "modelpart", "modelpart", "code", "code", "docs"];
        let weight = |path: &str| (Some(path.to_owned()), Some(LayerKind::Weight));
        let by_place = json!({
            "model": { "path": "m.safetensors", "parts": [{ "path": "lora.bin" }, { "path": "config.json" }] },
            "code": [{ "path": "./src/" }], "prompts": [{ "path": "skills" }], "datasets": [{ "path": "d", "remotePath": "s3://b/k" }],
            "docs": [{ "path": "../README.md" }],
        });
        let expected = [
            weight("m.safetensors"),
            weight("lora.bin"),
            (Some("config.json".to_owned()), Some(LayerKind::WeightConfig)),
            (Some("src".to_owned()), Some(LayerKind::Code)),
            (Some("skills".to_owned()), Some(LayerKind::Code)),
            (None, Some(LayerKind::Doc)),
        ];
        assert_eq!(named(&by_place, &layers), expected);
        let digest = |at: u8| Digest::of(&[at]).to_string();
        let by_digest = json!({ "model": { "path": "m", "digest": digest(2), "parts": [{ "path": "p", "digest": digest(0) }] } });
        let of_digest = named(&by_digest, &["modelpart", "modelpart", "model"]);
        assert_eq!(of_digest, [weight("p"), (None, Some(LayerKind::Weight)), weight("m")]);
        let equal = json!({ "model": { "parts": [{ "path": "a", "digest": digest(0) }, { "path": "b", "digest": digest(0) }] } });
        let mut twice = artifact(&["modelpart", "modelpart"]);
        twice.layers[1].descriptor.digest = Digest::of(&[0]);
        kit(&equal).name_layers(&mut twice);
        assert_eq!(twice.layers.iter().map(|layer| layer.path.as_ref().unwrap().as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn parts_are_weights_unless_they_are_clearly_configs() {
        let kind = |type_, path: &str| ModelKit::kind_of_part(type_, &path.parse().unwrap());
        for (type_, path) in [(None, "config.json"), (None, "a/tokenizer.model"), (None, "merges.txt"), (Some("Tokenizer"), "x.bin")] {
            assert_eq!(kind(type_, path), LayerKind::WeightConfig, "{path}");
        }
        for (type_, path) in [(None, "model-2.safetensors"), (None, "adapter"), (Some("weight"), "model.json"), (Some("lora"), "l.bin")] {
            assert_eq!(kind(type_, path), LayerKind::Weight, "{path}");
        }
    }
}
