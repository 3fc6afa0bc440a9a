//! Layers of Docker Model Runner and Ollama, whose media types identify the file. Such media types
//! are read and never written.
//!
//! Many of these layers have no path. Their files get conventional names: the names that other
//! tools look for, or that the tools themselves use.

use crate::{Content, Encoding, FilePath, InvalidPath, Layer, LayerKind, path::PathSet};
use std::collections::HashMap;

const DOCKER: &str = "application/vnd.docker.ai.";
const OLLAMA: &str = "application/vnd.ollama.image.";

/// The meaning of a layer's media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypedLayer {
    /// The role of the layer in the model; `None` if the media type has several.
    pub(crate) kind: Option<LayerKind>,
    pub(crate) holds: Holds,
}

/// The content of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// A tar archive. Its title, if it has one, is the name of a temporary file and does not
    /// describe the content.
    Archive,
    /// One file with this name, unless the layer has a path. If there are several, the others get a
    /// number before the extension.
    File(&'static str),
    /// One of the files that hold the weights, with this extension: `model.EXTENSION`, or
    /// `model-00001-of-00002.EXTENSION` if there are several.
    Weights(&'static str),
    /// One file without a conventional name.
    AnyFile,
    /// One file whose path is the field `name` of its descriptor. This extension is added if the
    /// name has a different one.
    NamedBy(&'static str),
}

impl TypedLayer {
    pub(crate) fn parse(media_type: &str) -> Option<Self> {
        match (media_type.strip_prefix(DOCKER), media_type.strip_prefix(OLLAMA)) {
            (Some(what), _) => Self::of_docker(what),
            (_, Some(what)) => Self::of_ollama(what),
            _ => None,
        }
    }

    /// Whether the media type belongs to Ollama, including types that Ollama may add later.
    pub(crate) fn is_of_ollama(media_type: &str) -> bool {
        media_type.starts_with(OLLAMA)
    }

    /// Whether its file has a conventional name when the layer has no path.
    pub(crate) fn has_usual_name(&self) -> bool {
        matches!(self.holds, Holds::File(_) | Holds::Weights(_))
    }

    fn of_docker(what: &str) -> Option<Self> {
        let (kind, holds) = match what {
            "gguf.v3" => (Some(LayerKind::Weight), Holds::Weights("gguf")),
            "safetensors" => (Some(LayerKind::Weight), Holds::Weights("safetensors")),
            "dduf" => (Some(LayerKind::Weight), Holds::Weights("dduf")),
            "mmproj" => (Some(LayerKind::Weight), Holds::File("mmproj.gguf")),
            "chat.template.jinja" => (Some(LayerKind::WeightConfig), Holds::File("chat_template.jinja")),
            "license" => (Some(LayerKind::Doc), Holds::File("LICENSE")),
            "vllm.config.tar" => (Some(LayerKind::WeightConfig), Holds::Archive),
            "dir.tar" => (None, Holds::Archive),
            "model.file" => (None, Holds::AnyFile),
            _ => return None,
        };
        Some(Self { kind, holds })
    }

    fn of_ollama(what: &str) -> Option<Self> {
        let (kind, holds) = match what {
            "model" => (LayerKind::Weight, Holds::Weights("gguf")),
            "projector" => (LayerKind::Weight, Holds::File("projector.gguf")),
            "adapter" => (LayerKind::Weight, Holds::File("adapter.gguf")),
            "draft" => (LayerKind::Weight, Holds::File("draft.gguf")),
            "tensor" => (LayerKind::Weight, Holds::NamedBy("safetensors")),
            "json" => (LayerKind::WeightConfig, Holds::NamedBy("json")),
            // A Go template, not Jinja. `prompt` is its older name.
            "template" | "prompt" => (LayerKind::WeightConfig, Holds::File("template")),
            "system" => (LayerKind::WeightConfig, Holds::File("system")),
            "params" => (LayerKind::WeightConfig, Holds::File("params.json")),
            "messages" => (LayerKind::WeightConfig, Holds::File("messages.json")),
            "license" => (LayerKind::Doc, Holds::File("LICENSE")),
            _ => return None,
        };
        Some(Self { kind: Some(kind), holds })
    }

    /// The layer's path from the field `name` of its descriptor, if this layer type uses that
    /// field.
    pub(crate) fn named_path(&self, name: Option<&serde_json::Value>) -> Result<Option<FilePath>, InvalidPath> {
        let name = name.and_then(serde_json::Value::as_str).filter(|name| !name.is_empty());
        let (Holds::NamedBy(extension), Some(name)) = (self.holds, name) else { return Ok(None) };
        let has_extension = name.rsplit_once('.').is_some_and(|(_, own)| own == extension);
        if has_extension { name.parse() } else { format!("{name}.{extension}").parse() }.map(Some)
    }
}

/// Names the files among `layers` that have no path by their media types. `paths` are the paths
/// already used; no path is used twice.
pub(crate) fn name_by_type(layers: &mut [Layer], paths: &mut PathSet) {
    let holds = |layer: &Layer| {
        let is_unnamed = layer.content == Content::Unnamed;
        TypedLayer::parse(&layer.descriptor.media_type).map(|typed| typed.holds).filter(|_| is_unnamed)
    };
    let mut shards: HashMap<&str, usize> = HashMap::new();
    for what in layers.iter().filter_map(holds) {
        if let Holds::Weights(extension) = what {
            *shards.entry(extension).or_default() += 1;
        }
    }
    let (mut places, mut numbers) = (HashMap::new(), HashMap::new());
    for layer in layers {
        let name = match holds(layer) {
            Some(Holds::File(name)) => name.to_owned(),
            Some(Holds::Weights(extension)) => match shards[extension] {
                1 => format!("model.{extension}"),
                count => {
                    let place = places.entry(extension).or_insert(0);
                    *place += 1;
                    format!("model-{place:05}-of-{count:05}.{extension}")
                }
            },
            _ => continue,
        };
        let path = free_path(name, &mut numbers, paths);
        layer.content = Content::File(path.clone());
        layer.path = Some(path);
    }
}

/// Adds an unused path to `paths`: `name` or, if that is used, `name` with the next number before
/// its extension, as in `LICENSE.2` and `mmproj.2.gguf`. `numbers` counts how often each name was
/// given.
fn free_path(name: String, numbers: &mut HashMap<String, u32>, paths: &mut PathSet) -> FilePath {
    let number = numbers.entry(name.clone()).or_insert(0);
    loop {
        *number += 1;
        let numbered = match (*number, name.rsplit_once('.')) {
            (1, _) => name.clone(),
            (number, Some((stem, extension))) => format!("{stem}.{number}.{extension}"),
            (number, None) => format!("{name}.{number}"),
        };
        let path = numbered.parse().expect("it is one short component");
        if paths.insert(&path).is_ok() {
            return path;
        }
    }
}

impl Holds {
    /// The layer encoding of this content.
    pub(crate) fn encoding(self) -> Encoding {
        if self == Self::Archive { Encoding::Tar } else { Encoding::Raw }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Artifact, Descriptor, Digest, ImageManifest, UnknownFields, annotation};
    use serde_json::{Value, json};
    use std::collections::{BTreeMap, BTreeSet};

    /// A layer with a title, unless the title is empty.
    fn layer((media_type, title): (&str, &str)) -> Descriptor {
        let mut descriptor = Descriptor::new(format!("application/vnd.{media_type}"), Digest::of(b"x"), 1);
        descriptor.annotations.extend((!title.is_empty()).then(|| (annotation::TITLE.to_owned(), title.to_owned())));
        descriptor
    }

    fn read(layers: Vec<Descriptor>) -> Result<Artifact, InvalidPath> {
        let config = Descriptor::of("application/vnd.docker.ai.model.config.v0.1+json", b"{}");
        let (annotations, other) = (BTreeMap::new(), UnknownFields::default());
        let image =
            ImageManifest { schema_version: 2, media_type: None, artifact_type: None, config, layers, subject: None, annotations, other };
        Artifact::read(&image)
    }

    fn named(layers: &[(&str, &str)]) -> Vec<(String, Option<LayerKind>)> {
        let artifact = read(layers.iter().copied().map(layer).collect()).unwrap();
        let name = |layer: &Layer| match &layer.content {
            Content::File(path) => {
                assert_eq!(layer.path.as_ref(), Some(path));
                path.to_string()
            }
            other => format!("{other:?}"),
        };
        artifact.layers.iter().map(|layer| (name(layer), layer.kind)).collect()
    }

    fn names(layers: &[(&str, &str)]) -> Vec<String> {
        named(layers).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn files_without_titles_are_named_by_their_types() {
        use LayerKind::{Doc, Weight, WeightConfig};
        let layers = [
            "docker.ai.gguf.v3",
            "docker.ai.mmproj",
            "docker.ai.chat.template.jinja",
            "docker.ai.license",
            "docker.ai.license",
            "docker.ai.vllm.config.tar",
            "docker.ai.dir.tar",
            "docker.ai.model.file",
            "docker.ai.dduf",
            "docker.ai.of.tomorrow",
        ];
        let expected = [
            ("model.gguf", Some(Weight)),
            ("mmproj.gguf", Some(Weight)),
            ("chat_template.jinja", Some(WeightConfig)),
            ("LICENSE", Some(Doc)),
            ("LICENSE.2", Some(Doc)),
            ("Archive(Tar)", Some(WeightConfig)),
            ("Archive(Tar)", None),
            ("Unnamed", None),
            ("model.dduf", Some(Weight)),
            ("Unnamed", None),
        ];
        assert_eq!(named(&layers.map(|layer| (layer, ""))), expected.map(|(name, kind)| (name.to_owned(), kind)));
        let layers = ["model", "template", "system", "params", "messages", "license", "projector", "adapter", "adapter", "draft", "embed"];
        let expected = [
            "model.gguf",
            "template",
            "system",
            "params.json",
            "messages.json",
            "LICENSE",
            "projector.gguf",
            "adapter.gguf",
            "adapter.2.gguf",
            "draft.gguf",
            "Unnamed",
        ];
        let layers = layers.map(|layer| format!("ollama.image.{layer}"));
        assert_eq!(names(&layers.each_ref().map(|layer| (layer.as_str(), ""))), expected);
    }

    #[test]
    fn several_weight_files_are_numbered_in_order() {
        let layers = [("docker.ai.safetensors", ""), ("docker.ai.license", ""), ("docker.ai.safetensors", ""), ("docker.ai.gguf.v3", "")];
        assert_eq!(names(&layers), ["model-00001-of-00002.safetensors", "LICENSE", "model-00002-of-00002.safetensors", "model.gguf"]);
        let layers = [("docker.ai.gguf.v3", "big-Q4_K_M.gguf"), ("docker.ai.gguf.v3", "")];
        assert_eq!(names(&layers), ["big-Q4_K_M.gguf", "model.gguf"], "a file with a name is not counted");
    }

    #[test]
    fn a_used_name_is_not_given_again() {
        let license = ("docker.ai.license", "");
        let layers = [license, ("docker.ai.license", "license"), license, ("docker.ai.model.file", "LICENSE.3"), license];
        assert_eq!(names(&layers), ["LICENSE.2", "license", "LICENSE.4", "LICENSE.3", "LICENSE.5"]);
        let layers = [("docker.ai.gguf.v3", ""), ("docker.ai.model.file", "model.gguf/x"), ("docker.ai.mmproj", "model.2.gguf")];
        assert_eq!(names(&layers), ["model.3.gguf", "model.gguf/x", "model.2.gguf"]);
        let many = vec![license; 20_000];
        assert_eq!(names(&many).into_iter().collect::<BTreeSet<_>>().len(), many.len());
    }

    #[test]
    fn titles_follow_the_rules_for_all_artifacts() {
        for bad in ["../x", "/x", "a\\b", "C:x", "a/../../b"] {
            for media_type in ["docker.ai.gguf.v3", "docker.ai.dir.tar", "docker.ai.model.file", "ollama.image.model"] {
                assert!(read(vec![layer((media_type, bad))]).is_err(), "{media_type} {bad}");
            }
        }
        let mut empty = layer(("docker.ai.license", "my.txt"));
        empty.annotations.insert(annotation::FILEPATH.to_owned(), String::new());
        assert_eq!(
            read(vec![empty]).unwrap().layers[0].path.as_ref().map(FilePath::as_str),
            Some("my.txt"),
            "an empty path counts as no path"
        );
        let twice = [("docker.ai.license", "a"), ("docker.ai.license", "A"), ("docker.ai.gguf.v3", "a")];
        assert_eq!(names(&twice), ["a", "LICENSE", "model.gguf"], "a used name counts as no name");
        assert!(read(vec![layer(("docker.ai.model.file", "a")), layer(("docker.ai.model.file", "A"))]).is_err());
        let archive = &read(vec![layer(("docker.ai.vllm.config.tar", "vllm-config-123.tar"))]).unwrap().layers[0];
        assert_eq!((&archive.path, &archive.metadata), (&None, &None), "the title does not name the files in the archive");
    }

    #[test]
    fn tensors_and_configs_are_named_by_their_descriptors() {
        let layer = |what: &str, name: Value| -> Descriptor {
            let media_type = format!("application/vnd.ollama.image.{what}");
            serde_json::from_str(&json!({ "mediaType": media_type, "digest": Digest::of(b""), "size": 0, "name": name }).to_string())
                .unwrap()
        };
        let path =
            |what: &str, name: Value| read(vec![layer(what, name)]).map(|artifact| artifact.layers[0].path.clone().map(String::from));
        assert_eq!(path("tensor", json!("vae/conv.weight")).unwrap().as_deref(), Some("vae/conv.weight.safetensors"));
        assert_eq!(path("tensor", json!("a.safetensors")).unwrap().as_deref(), Some("a.safetensors"));
        assert_eq!(path("json", json!("vae/config.json")).unwrap().as_deref(), Some("vae/config.json"));
        for nothing in [json!(null), json!(""), json!(["x"]), json!({ "a": 1 }), json!(7)] {
            assert_eq!(path("json", nothing).unwrap(), None);
        }
        assert_eq!(path("license", json!("mine")).unwrap().as_deref(), Some("LICENSE"), "only these layer types use the field");
        for bad in ["../x", "/etc/x", "a\\b"] {
            assert!(path("json", json!(bad)).is_err(), "{bad}");
        }
    }
}
