//! Conversion: an artifact of another tool, or with older names, becomes an artifact of the
//! specification with unchanged layers.

use crate::{
    Description, InvalidValue, Metadata, Result, classify,
    layers::BundleNames,
    pack::NO_TIME,
    unpack::{Allowance, content_digest},
};
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use modelpack_describe::format_by_name;
use modelpack_spec::{
    Algorithm, Artifact, ArtifactBuilder, Config, ConfigBuilder, Content, Descriptor, Digest, Encoding, FileMetadata, FilePath, Layer,
    LayerInput, LayerKind, Manifest, Selector, media_type, value::is_date_time,
};
use modelpack_transfer::{Begin, Body, CopyOptions, Error, Progress, Sink, Source, for_each_concurrent, put_bytes};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::mpsc;

/// Prefixes of manifest annotations that describe the original tool's artifact.
const FOREIGN: [&str; 5] =
    ["org.cncf.model.", "org.cnai.model.", "org.cncf.modctl.", "ml.kitops.modelkit.cli-version", "ml.kitops.modelkit.kitfile"];

/// Whether a manifest annotation describes the original tool's artifact, and not the model.
pub fn is_foreign(key: &str) -> bool {
    FOREIGN.iter().any(|foreign| key.starts_with(foreign))
}

/// How many pieces of a layer may wait to be hashed while the layer is transferred.
const PIECES: usize = 8;

/// A converted artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Converted {
    /// Its manifest.
    pub manifest: Manifest,
    /// Values of the old config that the specification does not allow. They are left out.
    pub left_out: Vec<InvalidValue>,
}

/// Writes an artifact with today's names and the layers of `artifact` to `sink`, and sets `at` to
/// it.
///
/// `config` describes the model; its description of layers is ignored. `annotations` are those of
/// the original manifest; those about the original format are dropped. Layers keep their bytes, so
/// layers that the sink has are not transferred. Each compressed layer is read once to compute the
/// digest of its uncompressed content, during the transfer if there is one. If no format is given,
/// the names of the weights determine it; the content of layers is not examined. A number of
/// parameters is rounded to the one decimal that the specification allows. The same artifact always
/// gives the same digest.
///
/// Fails with [`Error::Invalid`] before anything is transferred if a layer has no file name, if a
/// layer is a single compressed file, or if layers clash.
pub async fn convert(
    source: &dyn Source,
    artifact: &Artifact,
    config: &Config,
    annotations: &BTreeMap<String, String>,
    sink: &dyn Sink,
    at: &Selector,
    options: &CopyOptions,
) -> Result<Converted> {
    let (metadata, left_out) = Metadata::of_config(config, "config");
    let mut description = Description::of([metadata]);
    let mut inputs = artifact.layers.iter().map(input).collect::<Result<Vec<_>>>()?;
    name_archives(&mut inputs);
    description.config.format = description.config.format.or_else(|| format_of(&inputs));
    let known = Config { descriptor: description.descriptor, config: description.config, ..Config::default() };
    let build = |inputs: Vec<LayerInput>| {
        let builder = inputs.into_iter().fold(ArtifactBuilder::new(ConfigBuilder::from(known.clone())), ArtifactBuilder::layer);
        let annotations = annotations.iter().filter(|(key, _)| !is_foreign(key));
        let builder = annotations.fold(builder, |builder, (key, value)| builder.annotation(key, value));
        builder.build().map_err(|e| Error::Invalid { what: "the artifact".to_owned(), why: format!("it cannot be converted: {e}") })
    };
    // Checks that the artifact can be built before anything is transferred. Unique placeholder
    // diffIds are sufficient for that.
    let stand_in = |input: &LayerInput| input.encoding.is_compressed().then(|| Digest::of(input.digest.to_string().as_bytes()));
    build(inputs.iter().map(|input| LayerInput { diff_id: stand_in(input), ..input.clone() }).collect())?;

    inputs.iter().for_each(|layer| options.progress.expect(layer.size));
    let layers = artifact.layers.iter().zip(inputs.iter().map(|input| input.encoding));
    let moving = |(layer, encoding): (&Layer, Encoding)| move_layer(source, layer.descriptor.clone(), encoding, sink, &options.progress);
    let diff_ids = for_each_concurrent(options.concurrency, layers, moving).await?;
    inputs.iter_mut().zip(diff_ids).for_each(|(input, diff_id)| input.diff_id = diff_id);
    let built = build(inputs)?;
    put_bytes(sink, media_type::CONFIG, built.config_bytes).await?;
    sink.put_manifest(at, &built.manifest).await?;
    Ok(Converted { manifest: built.manifest, left_out })
}

/// The format of most of the weights, according to their names.
fn format_of(layers: &[LayerInput]) -> Option<String> {
    let mut formats: BTreeMap<&str, u64> = BTreeMap::new();
    for layer in layers.iter().filter(|layer| layer.kind == LayerKind::Weight) {
        let Some(format) = layer.path.as_ref().and_then(format_by_name) else { continue };
        let bytes = formats.entry(format).or_default();
        *bytes = bytes.saturating_add(layer.size);
    }
    formats.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(format, _)| format.to_owned())
}

/// Names archives without a path like the bundles of packing, because many tools require a path for
/// every layer.
fn name_archives(layers: &mut [LayerInput]) {
    let mut names = BundleNames::beside(layers.iter().filter_map(|layer| layer.path.as_ref()));
    for layer in layers.iter_mut().filter(|layer| layer.path.is_none()) {
        layer.path = names.next(layer.kind, layer.encoding);
    }
}

/// The layer with today's names, without its diffId.
fn input(layer: &Layer) -> Result<LayerInput> {
    let Descriptor { digest, size, .. } = &layer.descriptor;
    let (encoding, path) = match &layer.content {
        Content::File(path) => (Encoding::Raw, Some(path)),
        Content::Archive(encoding) => (*encoding, layer.path.as_ref()),
        Content::Compressed(..) => {
            return refused(layer, "it is a single compressed file, for which the specification has no type");
        }
        Content::Unnamed => return refused(layer, "it has no file name, so it cannot be a layer of a model"),
    };
    let untested = is_untested(layer);
    let (kind, untested) = match (layer.kind, path) {
        (Some(kind), _) => (kind, untested),
        (None, Some(path)) => (classify(path, *size).0, Some(true)),
        // Docker also treats such an archive as configs.
        (None, None) => (LayerKind::WeightConfig, Some(true)),
    };
    let metadata = path.filter(|_| encoding == Encoding::Raw).map(|path| attributes(layer, path));
    // The layer is not read, so nobody knows its hash states.
    let hash_states = None;
    Ok(LayerInput {
        kind,
        encoding,
        digest: digest.clone(),
        diff_id: None,
        size: *size,
        path: path.cloned(),
        metadata,
        untested,
        hash_states,
    })
}

/// Whether the kind of a layer was inferred from the name of its file, under today's or the older name of the annotation.
pub(crate) fn is_untested(layer: &Layer) -> Option<bool> {
    let annotation = layer.descriptor.annotations.iter().find(|(key, _)| key.ends_with(".model.file.mediatype.untested"));
    annotation.and_then(|(_, value)| value.parse().ok())
}

fn refused<T>(layer: &Layer, why: &str) -> Result<T> {
    let what = format!("layer {} of the type {:?}", layer.descriptor.digest, layer.descriptor.media_type);
    Err(Error::Invalid { what, why: why.to_owned() }.into())
}

/// The attributes of a raw layer's file: the existing ones, if they are correct.
fn attributes(layer: &Layer, path: &FilePath) -> FileMetadata {
    let size = layer.descriptor.size;
    let is_true = |metadata: &FileMetadata| metadata.size == size && matches!(metadata.typeflag, 0 | b'0') && is_date_time(&metadata.mtime);
    let metadata = layer.metadata.clone().filter(is_true);
    let mode = if layer.is_executable() { 0o755 } else { 0o644 };
    let own = metadata.unwrap_or_else(|| FileMetadata { mode, mtime: NO_TIME.to_owned(), ..FileMetadata::default() });
    FileMetadata { name: path.file_name().to_owned(), size, typeflag: 0, ..own }
}

/// Transfers a layer, unless the sink has it. Returns the digest of the uncompressed content if the
/// layer is compressed.
async fn move_layer(
    source: &dyn Source,
    layer: Descriptor,
    encoding: Encoding,
    sink: &dyn Sink,
    progress: &Arc<Progress>,
) -> Result<Option<Digest>> {
    match sink.begin(Some(&layer)).await? {
        Begin::Exists => {
            progress.skipped(layer.size);
            if !encoding.is_compressed() {
                return Ok(None);
            }
            Ok(Some(uncompressed(&layer, encoding, source.blob(&layer, 0..layer.size).await?).await?))
        }
        Begin::Upload(mut upload) => {
            let part = progress.blob(&layer);
            let body = source.blob(&layer, 0..layer.size).await?.counted(part.clone());
            if !encoding.is_compressed() {
                upload.write(body).await?;
                upload.commit(Some(&layer)).await?;
                return Ok(None);
            }
            let (body, again) = tee(body);
            let (written, digest) = future::join(upload.write(body), uncompressed(&layer, encoding, again)).await;
            written?;
            let digest = digest?;
            upload.commit(Some(&layer)).await?;
            Ok(Some(digest))
        }
    }
}

/// Duplicates a body: the second body receives the pieces as the first is read, so both must be
/// read.
fn tee(body: Body) -> (Body, Body) {
    let (sender, pieces) = mpsc::channel(PIECES);
    let len = body.len();
    let stream = body.into_stream().then(move |piece| {
        let sender = sender.clone();
        async move {
            if let Ok(piece) = &piece {
                // If the archive was refused, the receiver is gone.
                let _ = sender.send(Ok(piece.clone())).await;
            }
            piece
        }
    });
    let again = stream::unfold(pieces, async |mut pieces: mpsc::Receiver<Result<Bytes, Error>>| Some((pieces.recv().await?, pieces)));
    (Body::from_stream(stream, len), Body::from_stream(again, len))
}

/// The digest of the uncompressed content.
async fn uncompressed(layer: &Descriptor, encoding: Encoding, body: Body) -> Result<Digest, Error> {
    content_digest(layer, encoding, Algorithm::Sha256, body, Allowance::of(layer.size)).await
}
