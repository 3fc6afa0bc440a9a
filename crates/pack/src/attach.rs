//! Attaching: adds or replaces files of an existing artifact, and changes nothing else.

use crate::{
    Error, PackOptions, PlannedFile, PlannedLayer, Result,
    pack::digest_of,
    plan::place,
    unpack::{Occupied, occupied},
};
use modelpack_spec::{
    Artifact, Config, Content, Descriptor, Digest, Encoding, FilePath, ImageManifest, Layer, LayerInput, LayerKind, Manifest, Selector,
    annotation, media_type,
};
use modelpack_transfer::{CopyOptions, Error as StoreError, Overlay, Sink, Source, copy, for_each_concurrent, read_config};
use serde_json::{Value, json};

/// The result of attaching.
#[derive(Clone, Debug, PartialEq)]
pub struct Attached {
    /// The manifest of the new artifact.
    pub manifest: Manifest,
    /// Files that were not in the artifact.
    pub added: Vec<FilePath>,
    /// Files that were in the artifact with other bytes or another kind.
    pub replaced: Vec<FilePath>,
    /// Files that were in the artifact with the same bytes and kind.
    pub unchanged: Vec<FilePath>,
}

/// Writes the artifact of `manifest` with `files` as additional raw layers to `sink`, and sets `at`
/// to it.
///
/// Manifest and config keep all their fields, except for the layers of these files and their
/// `diffIds`. An existing file is replaced at its position and keeps its kind, unless another kind
/// was given. A new file is inserted where packing would put it. Layers that `sink` has are not
/// transferred. The entries of archives are read: an archive that contains only the file is
/// replaced like the file.
///
/// Fails before anything is written. The error is [`Error::Attached`] if a file exists with other
/// bytes and `replace` is not set, and [`Error::InArchive`] if it is in an archive with other
/// files. Other errors are paths that clash with existing ones, and artifacts without a config of
/// the specification that describes the layers.
pub async fn attach(
    source: &dyn Source,
    manifest: &Manifest,
    files: &[PlannedFile],
    replace: bool,
    sink: &dyn Sink,
    at: &Selector,
    options: &PackOptions,
) -> Result<Attached> {
    let what = format!("manifest {}", manifest.digest());
    let invalid = |why: &str| StoreError::Invalid { what: what.clone(), why: why.to_owned() };
    let image =
        manifest.image().ok_or_else(|| invalid("it is an index of several manifests; files can only be attached to one of them"))?;
    if image.config.media_type != media_type::CONFIG {
        return Err(Error::NotModelPack { what, media_type: image.config.media_type.clone() });
    }
    let artifact = Artifact::read(image).map_err(|source| StoreError::InvalidPath { what: what.clone(), source })?;
    let mut config = config_of(source, image).await?;
    let diff_ids = diff_ids_of(&config, &artifact.layers)
        .ok_or_else(|| invalid("its config does not contain the digests of the uncompressed layers"))?;

    let Occupied { mut paths, archives } = occupied(source, &artifact, options.concurrency).await?;
    let digested = for_each_concurrent(options.concurrency, files, |file| digest_of(file, options)).await?;
    let mut layers: Vec<Standing> = artifact.layers.into_iter().zip(diff_ids).map(Standing::from).collect();
    for archive in &archives {
        layers[archive.layer].file = archive.only_file().cloned();
    }
    let shared = |path: &FilePath| archives.iter().find(|archive| archive.only_file().is_none() && archive.files.contains(path));
    let mut overlay = Overlay::new(source);
    let (mut added, mut replaced, mut unchanged) = (Vec::new(), Vec::new(), Vec::new());
    for (file, (known, range)) in files.iter().zip(digested) {
        let (digest, list) = (known.digest, known.hash_states.filter(|_| options.hash_states));
        if let Some(archive) = shared(&file.path) {
            return Err(Error::InArchive { path: file.path.clone(), layer: archive.name.clone() });
        }
        let place = layers.iter().position(|layer| layer.file.as_ref() == Some(&file.path));
        if place.is_none() {
            paths.insert_file(&what, &file.path)?;
        }
        let kind = place.and_then(|at| layers[at].kind).filter(|_| file.inferred).unwrap_or(file.kind);
        if place.is_some_and(|at| layers[at].descriptor.digest == digest && layers[at].kind == Some(kind)) {
            unchanged.push(file.path.clone());
            continue;
        }
        let list = list.map(|list| {
            let named = list.descriptor();
            overlay.bytes(named.digest.clone(), list.bytes().to_vec());
            named
        });
        let mut layer = Standing::new(file, kind, digest, list, range.len);
        overlay.file(layer.descriptor.digest.clone(), range);
        match place {
            Some(_) if !replace => return Err(Error::Attached { path: file.path.clone() }),
            Some(at) => {
                replaced.push(file.path.clone());
                if let Some(untested) = layers[at].descriptor.annotations.remove(annotation::MEDIATYPE_UNTESTED).filter(|_| file.inferred) {
                    layer.descriptor.annotations.insert(annotation::MEDIATYPE_UNTESTED.to_owned(), untested);
                }
                layers[at] = layer;
            }
            None => {
                added.push(file.path.clone());
                let at = layers.iter().position(|other| other.order() > layer.order()).unwrap_or(layers.len());
                layers.insert(at, layer);
            }
        }
    }

    let manifest = if added.is_empty() && replaced.is_empty() {
        manifest.clone()
    } else {
        config["modelfs"] = modelfs_with(&config["modelfs"], layers.iter().map(|layer| &layer.diff_id));
        let config = to_bytes(&config);
        let mut image = image.clone();
        image.layers = layers.into_iter().map(|layer| layer.descriptor).collect();
        image.config = Descriptor { annotations: image.config.annotations, ..Descriptor::of(media_type::CONFIG, &config) };
        overlay.bytes(image.config.digest.clone(), config);
        Manifest::from_image(image).map_err(|source| StoreError::InvalidManifest { what, source })?
    };
    let copying =
        CopyOptions { concurrency: options.concurrency, progress: options.progress.clone(), connections: options.connections.clone() };
    copy(&overlay, &manifest, sink, at, &copying).await?;
    Ok(Attached { manifest, added, replaced, unchanged })
}

/// A layer of the resulting artifact.
struct Standing {
    descriptor: Descriptor,
    diff_id: Digest,
    kind: Option<LayerKind>,
    /// The path in its annotations.
    path: Option<FilePath>,
    /// The single file that it contains, if it contains one with a known name.
    file: Option<FilePath>,
}

impl Standing {
    fn new(file: &PlannedFile, kind: LayerKind, digest: Digest, hash_states: Option<Descriptor>, size: u64) -> Self {
        let layer = PlannedLayer { kind, ..PlannedLayer::of(file, Encoding::Raw) };
        let mut descriptor = Descriptor::new(layer.layer_type().to_string(), digest.clone(), size);
        descriptor.annotations = LayerInput { hash_states, ..layer.input(digest.clone(), None, size) }.annotations();
        Self { descriptor, diff_id: digest, kind: Some(kind), path: Some(file.path.clone()), file: Some(file.path.clone()) }
    }

    /// Its position in the order of layers that packing uses.
    fn order(&self) -> Option<impl Ord> {
        self.kind.zip(self.path.as_ref()).map(|(kind, path)| place(kind, path))
    }
}

impl From<(Layer, Digest)> for Standing {
    fn from((layer, diff_id): (Layer, Digest)) -> Self {
        let file = match layer.content {
            Content::File(path) | Content::Compressed(path, _) => Some(path),
            Content::Archive(_) | Content::Unnamed => None,
        };
        Self { descriptor: layer.descriptor, diff_id, kind: layer.kind, path: layer.path, file }
    }
}

/// The config as JSON, so that unknown fields are kept.
async fn config_of(source: &dyn Source, image: &ImageManifest) -> Result<Value> {
    let what = format!("config {}", image.config.digest);
    let bytes = read_config(source, &image.config).await?;
    match serde_json::from_slice(&bytes) {
        Ok(config @ Value::Object(_)) => Ok(config),
        Ok(_) => Err(StoreError::Invalid { what, why: "it is not a JSON object".to_owned() }.into()),
        Err(e) => Err(StoreError::Invalid { what, why: e.to_string() }.into()),
    }
}

/// The config in the field order of the specification, as packing writes it, unless that would lose
/// content of other tools.
fn to_bytes(config: &Value) -> Vec<u8> {
    let plain = serde_json::to_vec(config).expect("JSON that was read has string keys, so it always serialises");
    let ordered = Config::parse(&plain).map(|config| config.to_bytes());
    let is_same = |bytes: &Vec<u8>| serde_json::from_slice::<Value>(bytes).is_ok_and(|ordered| ordered == *config);
    ordered.ok().filter(is_same).unwrap_or(plain)
}

/// For each layer the digest of its uncompressed content: from the config, or, if the config has
/// none (some tools write `{}`), the digest of the layer, unless the layer is compressed.
fn diff_ids_of(config: &Value, layers: &[Layer]) -> Option<Vec<Digest>> {
    let declared = ["diffIds", "diff_ids"].into_iter().find_map(|key| config["modelfs"].get(key)).filter(|declared| !declared.is_null());
    if let Some(declared) = declared {
        let declared: Vec<Digest> = serde_json::from_value(declared.clone()).ok()?;
        return (declared.len() == layers.len()).then_some(declared);
    }
    let is_compressed = |layer: &Layer| matches!(layer.content, Content::Archive(encoding) if encoding.is_compressed());
    layers.iter().map(|layer| (!is_compressed(layer)).then(|| layer.descriptor.digest.clone())).collect()
}

fn modelfs_with<'a>(modelfs: &Value, diff_ids: impl Iterator<Item = &'a Digest>) -> Value {
    let mut modelfs = modelfs.as_object().cloned().unwrap_or_else(|| serde_json::Map::from_iter([("type".to_owned(), json!("layers"))]));
    modelfs.remove("diff_ids");
    modelfs.insert("diffIds".to_owned(), diff_ids.map(Digest::to_string).collect());
    Value::Object(modelfs)
}
