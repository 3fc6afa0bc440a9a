//! Computes the artifact that packing would write, without reading the files, for checks before
//! packing.

use crate::{Description, PlannedLayer, Result, pack::artifact_of};
use modelpack_spec::{BuiltArtifact, Digest};

/// The artifact that [`pack`](crate::pack()) would write for these layers, as far as it is known
/// without reading the files.
///
/// The digests of layers are placeholders, which differ if the paths differ. The size of a
/// compressed layer is its size without compression. Fails like packing if the specification does
/// not allow a value of `description`.
pub fn preview(layers: &[PlannedLayer], description: &Description) -> Result<BuiltArtifact> {
    let inputs = layers.iter().map(|layer| {
        let stand_in = |what: &str| Digest::of(format!("{what}{}", layer.path).as_bytes());
        let diff_id = layer.encoding.is_compressed().then(|| stand_in("uncompressed "));
        layer.input(stand_in(""), diff_id, layer.size().unwrap_or_else(|| layer.archive_len()))
    });
    artifact_of(description, inputs)
}
