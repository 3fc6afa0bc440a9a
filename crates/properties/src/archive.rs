//! Unpacking of archive layers.

use modelpack_pack::{UnpackOptions, unpack};
use modelpack_spec::{Descriptor, Encoding, ImageManifest, LayerKind, LayerType, Manifest, media_type};
use modelpack_transfer::{MemoryStore, put_bytes};
use std::{collections::BTreeMap, fs};

/// An archive layer writes the files that unpacking reports, and nothing outside its directory.
///
/// The first byte selects the encoding: tar, tar+gzip or tar+zstd.
pub(crate) fn tar(data: &[u8]) {
    let Some((encoding, bytes)) = data.split_first() else { return };
    let encoding = [Encoding::Tar, Encoding::TarGzip, Encoding::TarZstd][usize::from(*encoding) % 3];
    let above = tempfile::tempdir().expect("a temporary directory can be made");
    let destination = above.path().join("model");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    let unpacked = runtime.block_on(async {
        let store = MemoryStore::new();
        let layer_type = LayerType { kind: LayerKind::Weight, encoding }.to_string();
        let layer = put_bytes(&store, &layer_type, bytes.to_vec()).await.expect("memory takes bytes");
        let manifest = Manifest::from_image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
            artifact_type: Some(media_type::ARTIFACT.to_owned()),
            config: Descriptor::of(media_type::CONFIG, b"{}"),
            layers: vec![layer],
            subject: None,
            annotations: BTreeMap::new(),
            other: Default::default(),
        });
        let options = UnpackOptions { concurrency: 1, ..UnpackOptions::default() };
        unpack(&store, &manifest.expect("the manifest is valid"), &destination, &options, || {}).await
    });
    // Threads of the runtime remove the staged files.
    drop(runtime);
    let beside: Vec<_> = fs::read_dir(above.path()).expect("it is there").map(|entry| entry.expect("it can be read").file_name()).collect();
    assert!(beside.iter().all(|name| name == "model"), "written outside: {beside:?}");
    if let Ok(unpacked) = unpacked {
        for path in &unpacked.written {
            assert!(destination.join(path.as_str()).is_file(), "{path} was not written");
        }
    }
}
