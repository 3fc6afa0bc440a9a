//! llmman: serves one GGUF file with llama.cpp, or a directory of safetensors with vLLM. It does
//! not check the artifact type or the config type.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, Subject, file_name, is_projector, leaves_directory, shard},
};
use modelpack_spec::{Encoding, LayerKind, annotation};

/// Docker's media type of a GGUF file. Such a layer needs no name, and is opened in the store.
const DOCKER_GGUF: &str = "application/vnd.docker.ai.gguf.v3";

pub(crate) const LLMMAN: Consumer = Consumer {
    id: "llmman",
    name: "llmman",
    versions: "as of August 2026",
    rules: &[
        Rule {
            name: "media-type-missing",
            severity: Severity::Fatal,
            reason: "a manifest without its own media type is not read",
            change: "set `mediaType` of the manifest to `application/vnd.oci.image.manifest.v1+json`",
            breaches: |subject| match subject.manifest.media_type {
                Some(_) => Vec::new(),
                None => vec![Breach::manifest("/mediaType", "missing")],
            },
        },
        Rule {
            name: "no-model",
            severity: Severity::Fatal,
            reason: "there must be a model: a layer whose path, or else its title, ends in `.gguf` or `.safetensors`",
            change: "annotate the layers of the weights with `org.cncf.model.filepath`; other formats are not supported",
            breaches: |subject| {
                let has_model = gguf(subject).is_some() || is_safetensors(subject);
                if has_model { Vec::new() } else { vec![Breach::manifest("/layers", "no layer with such a name")] }
            },
        },
        Rule {
            name: "gguf-compressed",
            severity: Severity::Fatal,
            reason: "a GGUF file is read from a raw layer or a tar archive; compressed layers are not supported",
            change: "make the layer raw",
            breaches: |subject| {
                let is_compressed = |layer: &&Layer<'_>| {
                    matches!(layer.encoding(), Some(Encoding::TarGzip | Encoding::TarZstd)) || layer.is_oras_directory()
                };
                let wrong = gguf(subject).filter(is_compressed);
                wrong.map(|layer| layer.breach("mediaType", &layer.descriptor.media_type)).into_iter().collect()
            },
        },
        Rule {
            name: "gguf-shards",
            severity: Severity::Fatal,
            reason: "only the first GGUF layer is unpacked, so a sharded model cannot be loaded",
            change: "merge the files with `llama-gguf-split --merge`",
            breaches: |subject| {
                let wrong = gguf(subject).and_then(|layer| Some((layer, name(layer).filter(|name| shard(name).is_some())?)));
                wrong.map(|(layer, name)| layer.breach(annotation::FILEPATH, name)).into_iter().collect()
            },
        },
        Rule {
            name: "projector-first",
            severity: Severity::Fatal,
            reason: "the first GGUF layer is started as the model, even if it is a multimodal projector (`*mmproj*.gguf`)",
            change: "put the weights of the model before the projector",
            breaches: |subject| {
                let wrong = gguf(subject).and_then(|layer| Some((layer, name(layer).filter(|name| is_projector(name))?)));
                wrong.map(|(layer, name)| layer.breach(annotation::FILEPATH, name)).into_iter().collect()
            },
        },
        Rule {
            name: "projector-not-used",
            severity: Severity::Loss,
            reason: "a multimodal projector (`*mmproj*.gguf`) after the model is not passed to llama.cpp",
            change: "change nothing in the artifact; use another tool for images and sound",
            breaches: |subject| {
                let first = gguf(subject).map(|layer| layer.descriptor.digest.clone());
                subject.each(annotation::FILEPATH, |layer| {
                    let projector = name(layer).filter(|name| is_gguf(layer) && is_projector(name));
                    projector.filter(|_| first.as_ref() != Some(&layer.descriptor.digest)).map(str::to_owned)
                })
            },
        },
        Rule {
            name: "layer-type",
            severity: Severity::Fatal,
            reason: "for a safetensors model, only weights and weight configs with today's raw types are unpacked; other layers are skipped silently",
            change: "make the layer raw, with the type `application/vnd.cncf.model.weight.v1.raw` or `application/vnd.cncf.model.weight.config.v1.raw`",
            breaches: |subject| {
                of_safetensors(subject, "mediaType", |layer| {
                    let is_aside = [LayerKind::Doc, LayerKind::Code, LayerKind::Dataset].into_iter().any(|kind| layer.is(kind));
                    (!is_unpacked(layer) && !is_aside).then(|| layer.descriptor.media_type.clone())
                })
            },
        },
        Rule {
            name: "code-skipped",
            severity: Severity::Loss,
            reason: "for a safetensors model, code is not unpacked",
            change: "change nothing in the artifact; use another tool for a model with its own code",
            breaches: |subject| {
                of_safetensors(subject, "mediaType", |layer| layer.is(LayerKind::Code).then(|| layer.descriptor.media_type.clone()))
            },
        },
        Rule {
            name: "name-missing",
            severity: Severity::Loss,
            reason: "a layer of a safetensors model is unpacked to its path, or else to its title; a layer without both is skipped silently",
            change: "annotate every layer with `org.cncf.model.filepath`",
            breaches: |subject| {
                of_safetensors(subject, annotation::FILEPATH, |layer| {
                    (is_unpacked(layer) && name(layer).is_none()).then(|| "missing".to_owned())
                })
            },
        },
        Rule {
            name: "name-outside",
            severity: Severity::Loss,
            reason: "a path that leaves the directory is accepted, so the file is not in the model's directory",
            change: "use a relative path without `..`",
            breaches: |subject| {
                of_safetensors(subject, annotation::FILEPATH, |layer| {
                    name(layer).filter(|name| is_unpacked(layer) && leaves_directory(name)).map(str::to_owned)
                })
            },
        },
        Rule {
            name: "name-twice",
            severity: Severity::Loss,
            reason: "if several layers of a safetensors model have the same path, only the first is unpacked; the others are skipped silently",
            change: "give each layer a different path",
            breaches: |subject| if is_safetensors(subject) { subject.named_twice(annotation::FILEPATH, unpacked_name) } else { Vec::new() },
        },
        Rule {
            name: "file-and-directory",
            severity: Severity::Fatal,
            reason: "unpacking a safetensors model fails if a path is a file in one layer and a directory in another",
            change: "rename the file",
            breaches: |subject| {
                let named = subject.by_name(|layer| unpacked_name(layer).filter(|_| is_safetensors(subject)));
                subject.files_that_are_directories(annotation::FILEPATH, &named)
            },
        },
        Rule {
            name: "first-config",
            severity: Severity::Fatal,
            reason: "the directory of the first `config.json` is used as the directory of a safetensors model",
            change: "put the `config.json` of the model before those of other directories",
            breaches: weights_outside_model,
        },
    ],
};

/// The path, or else the title.
fn name<'a>(layer: &Layer<'a>) -> Option<&'a str> {
    layer.filepath.or(layer.title)
}

fn has_extension(layer: &Layer<'_>, extension: &str) -> bool {
    name(layer).is_some_and(|name| name.to_lowercase().ends_with(extension))
}

fn is_gguf(layer: &Layer<'_>) -> bool {
    layer.descriptor.media_type == DOCKER_GGUF || has_extension(layer, ".gguf")
}

/// The layer that is served as a GGUF model.
fn gguf<'s, 'a>(subject: &'s Subject<'a>) -> Option<&'s Layer<'a>> {
    subject.layers.iter().find(|layer| is_gguf(layer))
}

/// Whether the artifact is served as a directory of safetensors. A GGUF file takes precedence.
fn is_safetensors(subject: &Subject<'_>) -> bool {
    gguf(subject).is_none() && subject.layers.iter().any(|layer| has_extension(layer, ".safetensors"))
}

/// Whether the layer becomes a file of a safetensors model.
fn is_unpacked(layer: &Layer<'_>) -> bool {
    layer.is_raw(LayerKind::Weight) || layer.is_raw(LayerKind::WeightConfig)
}

fn unpacked_name<'a>(layer: &Layer<'a>) -> Option<&'a str> {
    name(layer).filter(|_| is_unpacked(layer))
}

/// In a safetensors model, a breach at `field` of each layer for which `found` returns a
/// description.
fn of_safetensors<'a>(subject: &Subject<'a>, field: &'static str, found: impl Fn(&Layer<'a>) -> Option<String>) -> Vec<Breach> {
    if is_safetensors(subject) { subject.each(field, found) } else { Vec::new() }
}

/// The first `config.json`, if there are weights outside its directory. Layers of all types count.
fn weights_outside_model(subject: &Subject<'_>) -> Vec<Breach> {
    if !is_safetensors(subject) {
        return Vec::new();
    }
    let mut named = subject.layers.iter().filter_map(|layer| Some((layer, name(layer)?)));
    let Some((config, path)) = named.find(|(_, path)| file_name(path) == "config.json") else { return Vec::new() };
    let directory = path.strip_suffix("config.json").unwrap_or(path);
    let is_outside = |layer: &Layer<'_>| has_extension(layer, ".safetensors") && !name(layer).unwrap_or_default().starts_with(directory);
    if subject.layers.iter().any(is_outside) { vec![config.breach(annotation::FILEPATH, path)] } else { Vec::new() }
}
