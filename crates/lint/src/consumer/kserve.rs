//! KServe: a storage URI such as `oci://` names a container image that has the model below
//! `/models`.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer},
};

/// The layer types that `oci+fetch://` reads.
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
            reason: "the model is read from `models/` in the tar layers of a container image; layers of other types are skipped, so no file is left (kserve#4083)",
            change: "add a `ClusterStorageContainer` that unpacks artifacts to /mnt/models, or make an image of it with `modelpack cp --to image`",
            breaches: |subject| {
                let has_image_layer = subject.layers.iter().any(is_image_layer);
                if has_image_layer { Vec::new() } else { vec![Breach::manifest("/layers", "no layer of a container image")] }
            },
        },
        Rule {
            name: "not-an-image",
            severity: Severity::Loss,
            reason: "`oci://` and `oci+native://` use the container runtime to pull, which supports container images only; `oci+fetch://` does not check the config",
            change: "use `oci+fetch://`, or make an image of it with `modelpack cp --to image`",
            // An artifact without image layers is covered by the rule `no-image-layer`.
            breaches: |subject| if subject.layers.iter().any(is_image_layer) { subject.not_an_image() } else { Vec::new() },
        },
        Rule {
            name: "layer-type",
            severity: Severity::Loss,
            reason: "`oci+fetch://` reads layers of the types tar and tar+gzip; it fails on a layer that is compressed with zstd, and skips other layers silently",
            change: "build the image with layers compressed with gzip, or use `oci://`",
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

/// Whether it is a layer of a container image, with any compression.
fn is_image_layer(layer: &Layer<'_>) -> bool {
    let media_type = layer.descriptor.media_type.as_str();
    media_type.starts_with("application/vnd.oci.image.layer.") || media_type.starts_with("application/vnd.docker.image.rootfs.")
}
