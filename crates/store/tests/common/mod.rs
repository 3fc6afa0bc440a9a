//! What the tests of the store share.

// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub)]

use modelpack_spec::{ImageManifest, Manifest, RepositoryName, Selector, media_type};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::{Sink, put_bytes};
use std::{collections::BTreeMap, path::Path};

pub fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Selector {
    Selector::Tag(text.parse().unwrap())
}

pub fn open(root: &Path) -> Store {
    Store::open(root, Untagged::Drop).unwrap()
}

pub async fn put_model(sink: &dyn Sink, at: &Selector, layers: &[&[u8]]) -> Manifest {
    let config = put_bytes(sink, media_type::CONFIG, b"{}".to_vec()).await.unwrap();
    let mut descriptors = Vec::new();
    for layer in layers {
        descriptors.push(put_bytes(sink, "application/x", layer.to_vec()).await.unwrap());
    }
    let manifest = Manifest::from_image(ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(media_type::ARTIFACT.to_owned()),
        config,
        layers: descriptors,
        subject: None,
        annotations: BTreeMap::new(),
        other: Default::default(),
    })
    .unwrap();
    sink.put_manifest(at, &manifest).await.unwrap();
    manifest
}
