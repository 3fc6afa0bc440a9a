//! What packing would write, without reading the files: for whoever judges an artifact before it is made.

use crate::{
    Description, Plan,
    pack::{annotations, image_of},
};
use modelpack_spec::{Descriptor, Digest, Encoding, ImageManifest, LayerType};

/// The manifest and config of an artifact that was not packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// The manifest. The digests of its layers stand in for those of the files, and differ where paths differ.
    pub manifest: ImageManifest,
    /// The config blob.
    pub config: Vec<u8>,
}

/// The artifact that [`pack`](crate::pack()) would make of `plan` and `description`, as far as it can be told without reading the files.
pub fn preview(plan: &Plan, description: &Description) -> Preview {
    let layers = plan.files.iter().map(|file| {
        let layer_type = LayerType { kind: file.kind, encoding: Encoding::Raw }.to_string();
        let mut layer = Descriptor::new(layer_type, Digest::of(file.path.as_str().as_bytes()), file.size);
        layer.annotations = annotations(file);
        layer
    });
    let (manifest, config) = image_of(description, layers.collect());
    Preview { manifest, config }
}
