//! What packing would write, without reading the files: for whoever judges an artifact before it is made.

use crate::{Description, PlannedLayer, Result, pack::artifact_of};
use modelpack_spec::{BuiltArtifact, Digest};

/// The artifact that [`pack`](crate::pack()) would make of these layers, as far as it can be told without reading the files.
///
/// The digests of layers stand in for those of the files, and differ where paths differ; the size of a compressed layer is what it would be
/// without compression. Fails as packing would if the specification does not allow what `description` says.
pub fn preview(layers: &[PlannedLayer], description: &Description) -> Result<BuiltArtifact> {
    let inputs = layers.iter().map(|layer| {
        let stand_in = |what: &str| Digest::of(format!("{what}{}", layer.path).as_bytes());
        let diff_id = layer.encoding.is_compressed().then(|| stand_in("uncompressed "));
        layer.input(stand_in(""), diff_id, layer.size().unwrap_or_else(|| layer.archive_len()))
    });
    artifact_of(description, inputs)
}
