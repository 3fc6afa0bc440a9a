//! The artifact as consumers see it, with names that are not normalised, and the checks that
//! several rules share.

use crate::Location;
use modelpack_spec::{Descriptor, Encoding, ImageManifest, LayerKind, LayerType, annotation, media_type};
use serde_json::Value;
use std::{collections::BTreeMap, ops::Bound};

/// The older key of a layer's path.
pub(crate) const OLDER_FILEPATH: &str = "org.cnai.model.filepath";
/// The older key of a file's attributes.
const OLDER_FILE_METADATA: &str = "org.cnai.model.file.metadata+json";
/// The older media type of a config.
pub(crate) const OLDER_CONFIG: &str = "application/vnd.cnai.model.config.v1+json";

/// A place where a rule is broken.
pub(crate) struct Breach {
    pub(crate) location: Location,
    pub(crate) found: String,
}

impl Breach {
    pub(crate) fn manifest(field: &'static str, found: impl Into<String>) -> Self {
        Self { location: Location::Manifest(field), found: found.into() }
    }

    pub(crate) fn config(pointer: &str, found: impl Into<String>) -> Self {
        Self { location: Location::Config(pointer.to_owned()), found: found.into() }
    }
}

/// The input of the rules.
pub(crate) struct Subject<'a> {
    pub(crate) manifest: &'a ImageManifest,
    /// The config blob; `Null` if it is not JSON, `None` if it was not given.
    pub(crate) config: Option<Value>,
    pub(crate) layers: Vec<Layer<'a>>,
}

/// A layer and its names.
pub(crate) struct Layer<'a> {
    index: usize,
    pub(crate) descriptor: &'a Descriptor,
    /// The layer type, from today's or the older names; `None` for a media type that the
    /// specification does not have.
    pub(crate) layer_type: Option<LayerType>,
    /// The path from today's annotation.
    pub(crate) filepath: Option<&'a str>,
    pub(crate) older_filepath: Option<&'a str>,
    pub(crate) title: Option<&'a str>,
    /// The unparsed file attributes, from today's or the older annotation.
    pub(crate) metadata: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(manifest: &'a ImageManifest, config: Option<&[u8]>) -> Self {
        let layers = manifest.layers.iter().enumerate().map(|(index, descriptor)| {
            // An empty annotation counts as absent.
            let annotation = |key: &str| descriptor.annotations.get(key).map(String::as_str).filter(|value| !value.is_empty());
            Layer {
                index,
                descriptor,
                layer_type: descriptor.media_type.parse().ok(),
                filepath: annotation(annotation::FILEPATH),
                older_filepath: annotation(OLDER_FILEPATH),
                title: annotation(annotation::TITLE),
                metadata: annotation(annotation::FILE_METADATA).or_else(|| annotation(OLDER_FILE_METADATA)),
            }
        });
        Self { manifest, config: config.map(|bytes| serde_json::from_slice(bytes).unwrap_or_default()), layers: layers.collect() }
    }

    /// A breach at `field` of each layer for which `found` returns a description.
    pub(crate) fn each(&self, field: &'static str, found: impl Fn(&Layer<'a>) -> Option<String>) -> Vec<Breach> {
        self.layers.iter().filter_map(|layer| Some(layer.breach(field, found(layer)?))).collect()
    }

    /// Layers that are not raw files.
    pub(crate) fn archives(&self) -> Vec<Breach> {
        self.each("mediaType", |layer| layer.is_archive().then(|| layer.descriptor.media_type.clone()))
    }

    /// Layers without today's path annotation.
    pub(crate) fn without_filepath(&self) -> Vec<Breach> {
        self.each(annotation::FILEPATH, |layer| layer.filepath.is_none().then(|| "missing".to_owned()))
    }

    /// The config type, if it is not one of `allowed`.
    pub(crate) fn config_type_outside(&self, allowed: &[&str]) -> Vec<Breach> {
        let found = &self.manifest.config.media_type;
        if allowed.contains(&found.as_str()) { Vec::new() } else { vec![Breach::manifest("/config/mediaType", found)] }
    }

    /// The artifact type, if it is not today's.
    pub(crate) fn other_artifact_type(&self) -> Vec<Breach> {
        match self.manifest.artifact_type.as_deref() {
            Some(media_type::ARTIFACT) => Vec::new(),
            found => vec![Breach::manifest("/artifactType", found.unwrap_or("missing"))],
        }
    }

    /// Times in the config that are not RFC 3339. A Go program refuses the whole config because of
    /// one such time.
    pub(crate) fn times_that_do_not_parse(&self) -> Vec<Breach> {
        let pointers = ["/descriptor/createdAt", "/config/capabilities/knowledgeCutoff"];
        let wrong = pointers.iter().filter_map(|pointer| {
            let value = self.config.as_ref()?.pointer(pointer)?;
            let is_time = value.is_null() || value.as_str().is_some_and(is_go_time);
            (!is_time).then(|| Breach::config(pointer, value.to_string()))
        });
        wrong.collect()
    }

    /// The config type, if it is not that of a container image. Runtimes without artifact support
    /// accept only container images.
    pub(crate) fn not_an_image(&self) -> Vec<Breach> {
        let is_image = matches!(
            self.manifest.config.media_type.as_str(),
            "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
        );
        if is_image { Vec::new() } else { vec![Breach::manifest("/config/mediaType", &self.manifest.config.media_type)] }
    }

    /// Names that two different layers have, and names that one layer has as a file and another
    /// needs as a directory.
    pub(crate) fn clashes(&self, field: &'static str, name: impl Fn(&Layer<'a>) -> Option<&'a str>) -> Vec<Breach> {
        let mut breaches = self.named_twice(field, &name);
        breaches.extend(self.files_that_are_directories(field, &self.by_name(name)));
        breaches
    }

    /// Layers with the same name as an earlier layer, but other content.
    pub(crate) fn named_twice(&self, field: &'static str, name: impl Fn(&Layer<'a>) -> Option<&'a str>) -> Vec<Breach> {
        let first = self.by_name(&name);
        self.each(field, |layer| {
            let name = name(layer)?;
            let other = first.get(name)?;
            (other.descriptor.digest != layer.descriptor.digest).then(|| format!("{name}, which is also the name of layer {}", other.index))
        })
    }

    /// The first layer with each name.
    pub(crate) fn by_name(&self, name: impl Fn(&Layer<'a>) -> Option<&'a str>) -> BTreeMap<&'a str, &Layer<'a>> {
        let mut first = BTreeMap::new();
        for layer in &self.layers {
            if let Some(name) = name(layer) {
                first.entry(name).or_insert(layer);
            }
        }
        first
    }

    /// Names that are both a file and a directory: for each file, the first layer that is below it.
    pub(crate) fn files_that_are_directories(&self, field: &'static str, named: &BTreeMap<&str, &Layer<'a>>) -> Vec<Breach> {
        let inside = named.keys().filter_map(|file| {
            let directory = format!("{file}/");
            let (name, layer) = named.range::<str, _>((Bound::Included(directory.as_str()), Bound::Unbounded)).next()?;
            name.starts_with(&directory).then(|| layer.breach(field, format!("{name}, but {file} is also a file")))
        });
        inside.collect()
    }
}

impl<'a> Layer<'a> {
    pub(crate) fn breach(&self, field: &'static str, found: impl Into<String>) -> Breach {
        let path = self.path().map(str::to_owned);
        let location = Location::Layer { index: self.index, path, digest: Some(self.descriptor.digest.clone()), field };
        Breach { location, found: found.into() }
    }

    /// Its path, under today's name, the older name, or as the title.
    pub(crate) fn path(&self) -> Option<&'a str> {
        self.filepath.or(self.older_filepath).or(self.title)
    }

    pub(crate) fn is(&self, kind: LayerKind) -> bool {
        self.layer_type.is_some_and(|layer_type| layer_type.kind == kind)
    }

    /// Whether its media type is exactly today's raw type of `kind`.
    pub(crate) fn is_raw(&self, kind: LayerKind) -> bool {
        let raw = self.layer_type.filter(|layer_type| layer_type.kind == kind && layer_type.encoding == Encoding::Raw);
        raw.is_some_and(|raw| raw.to_string() == self.descriptor.media_type)
    }

    pub(crate) fn encoding(&self) -> Option<Encoding> {
        self.layer_type.map(|layer_type| layer_type.encoding)
    }

    /// Whether it is an archive: by its media type, or because it has the annotation for a
    /// directory that `oras` packed.
    pub(crate) fn is_archive(&self) -> bool {
        self.encoding().is_some_and(|encoding| encoding != Encoding::Raw) || self.is_oras_directory()
    }

    pub(crate) fn is_oras_directory(&self) -> bool {
        self.descriptor.annotations.get(annotation::ORAS_UNPACK).is_some_and(|value| value == "true")
    }
}

/// Whether a Go program accepts `text` as a time: RFC 3339 with upper-case letters and without leap
/// seconds.
pub(crate) fn is_go_time(text: &str) -> bool {
    modelpack_spec::value::is_date_time(text) && !text.contains(['t', 'z']) && text.get(17..19) != Some("60")
}

/// Whether a path would leave the directory that it is written into.
pub(crate) fn leaves_directory(path: &str) -> bool {
    path.starts_with('/') || path.split('/').any(|component| component == "..")
}

/// The name of the file at `path`, without its directories.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether the name of the file at `path` is that of a multimodal projector, which is a GGUF file
/// but not a model.
pub(crate) fn is_projector(path: &str) -> bool {
    file_name(path).to_lowercase().contains("mmproj")
}

/// The shard number in `…-00002-of-00003.gguf`.
pub(crate) fn shard(path: &str) -> Option<u64> {
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let number = rest.rsplit_once('-')?.1;
    count.parse::<u64>().ok()?;
    number.parse().ok()
}
