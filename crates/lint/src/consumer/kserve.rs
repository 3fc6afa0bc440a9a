//! KServe: storage at `oci://` and its kin is a container image that holds the model below `/models`.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer},
};

/// The layers that `oci+fetch://` reads.
const READ: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

pub(crate) const KSERVE: Consumer = Consumer {
    id: "kserve",
    name: "KServe",
    versions: "0.21",
    rules: &[
        Rule {
            name: "no-image-layer",
            severity: Severity::Fatal,
            reason: "the model is read from the tar layers of a container image, below `models/`; layers of other types are passed over, and nothing is left (kserve#4083)",
            change: "add a `ClusterStorageContainer` that unpacks artifacts to /mnt/models, or build a container image that holds the files below /models",
            breaches: |subject| {
                let has_image_layer = subject.layers.iter().any(is_image_layer);
                if has_image_layer { Vec::new() } else { vec![Breach::manifest("/layers", "no layer of a container image")] }
            },
        },
        Rule {
            name: "not-an-image",
            severity: Severity::Loss,
            reason: "`oci://` and `oci+native://` leave the pull to the container runtime, which takes container images only; `oci+fetch://` does not ask what the config is",
            change: "use `oci+fetch://`, or build a container image that holds the files below /models",
            // What has no layer of an image is judged by `no-image-layer`.
            breaches: |subject| if subject.layers.iter().any(is_image_layer) { subject.not_an_image() } else { Vec::new() },
        },
        Rule {
            name: "layer-type",
            severity: Severity::Loss,
            reason: "`oci+fetch://` reads layers of the types tar and tar+gzip; one that is compressed with zstd fails it, any other is passed over without a word",
            change: "build the image with layers that are compressed with gzip, or use `oci://`",
            breaches: |subject| {
                if !subject.layers.iter().any(is_image_layer) {
                    return Vec::new();
                }
                subject.each("mediaType", |layer| {
                    let media_type = layer.descriptor.media_type.as_str();
                    (!READ.contains(&media_type)).then(|| media_type.to_owned())
                })
            },
        },
    ],
};

/// Whether it is a layer of a container image, in whatever compression.
fn is_image_layer(layer: &Layer<'_>) -> bool {
    let media_type = layer.descriptor.media_type.as_str();
    media_type.starts_with("application/vnd.oci.image.layer.") || media_type.starts_with("application/vnd.docker.image.rootfs.")
}
