//! For any file names, metadata and encodings, unpacking a packed model gives the same files, and so do
//! the layers of its image.

use modelpack_pack::{
    Description, Error, FileFilter, ImagePrefix, LayerPolicy, PackOptions, UnpackOptions, image, layers, pack, plan, unpack,
};
use modelpack_spec::{
    Artifact, Config, Digest, Encoding, FilePath, LayerType, Manifest, ModelConfig, ModelDescriptor, PathSet, Selector, Tag,
};
use modelpack_testkit::assert_same_tree;
use modelpack_transfer::{CopyOptions, MemoryStore, Source};
use proptest::{collection, option, prelude::*};
use std::{collections::BTreeMap, fs, io::Read, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

/// A name that a disk accepts and that packing does not leave out. The letter at its start avoids
/// dots and reserved names.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "\\PC{0,12}", 1 => "[ -~\t\n]{0,20}", 1 => "[\u{300}-\u{310}é模🦙]{0,30}"]
        .prop_map(|rest| format!("n{}", rest.replace(['/', '\\', '\0'], "_")))
}

fn path() -> impl Strategy<Value = String> {
    collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>, bool)>> {
    collection::vec((path(), collection::vec(any::<u8>(), 0..40), any::<bool>()), 1..8)
}

fn config() -> impl Strategy<Value = Config> {
    let text = || option::of("\\PC{1,20}");
    let texts = || collection::vec("\\PC{1,20}", 0..3);
    let licences = collection::vec(proptest::sample::select(vec!["MIT".to_owned(), "Apache-2.0 OR LicenseRef-x".to_owned()]), 0..3);
    (text(), text(), texts(), licences, text(), text()).prop_map(|(name, title, authors, licenses, architecture, quantization)| Config {
        descriptor: ModelDescriptor { name, title, authors, licenses, ..ModelDescriptor::default() },
        config: ModelConfig { architecture, quantization, ..ModelConfig::default() },
        ..Config::default()
    })
}

/// Writes the files that can exist together in one artifact, and returns their number.
fn write(directory: &Path, files: &[(String, Vec<u8>, bool)]) -> usize {
    let mut paths = PathSet::default();
    let mut written = 0;
    for (path, bytes, executable) in files {
        let Ok(valid) = path.parse::<FilePath>() else { continue };
        if valid.components().any(|name| name.len() > 255) || paths.insert(&valid).is_err() {
            continue;
        }
        let file = directory.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, bytes).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(if *executable { 0o755 } else { 0o644 })).unwrap();
        written += 1;
    }
    written
}

/// Rules for some files and for all, and a limit for the number of layers.
fn policy() -> impl Strategy<Value = LayerPolicy> {
    let encoding = || proptest::sample::select(vec!["raw", "tar", "tar+gzip", "tar+zstd"]);
    let selector = || proptest::sample::select(vec!["", "code=", "doc=", "config=", "<20=", "n*=", "**/*a*=", "code,>10="]);
    let rules =
        collection::vec((selector(), encoding()).prop_map(|(selector, encoding)| format!("{selector}{encoding}").parse().unwrap()), 0..4);
    (rules, 1..10_usize).prop_map(|(rules, max_layers)| LayerPolicy::default().rules(rules).max_layers(max_layers))
}

/// Packs twice, which must give the same, unpacks, and applies the layers of the image; `None` if the policy allows too few layers.
async fn round_trip(from: &Path, to: &Path, config: Config, policy: &LayerPolicy) -> Option<(Config, usize)> {
    let store = MemoryStore::new();
    let options = PackOptions { concurrency: 2, ..PackOptions::default() };
    let description = Description { descriptor: config.descriptor, config: config.config, ..Description::default() };
    let layers = match layers(&plan(from, None, &FileFilter::default()).unwrap(), policy) {
        Err(Error::TooManyLayers { needed, limit, .. }) if needed > limit => return None,
        layers => layers.unwrap(),
    };
    assert!(layers.len() <= policy.max_layers);
    let at = Selector::Tag(Tag::latest());
    let manifest = pack(&layers, &description, &store, &at, &options).await.unwrap();
    assert_eq!(pack(&layers, &description, &MemoryStore::new(), &at, &options).await.unwrap(), manifest);
    let written = &manifest.image().unwrap().config;
    let bytes = store.blob(written, 0..written.size).await.unwrap().collect(1 << 20, "config").await.unwrap();
    assert_eq!(Digest::of(&bytes), written.digest);
    let config = Config::parse(&bytes).unwrap();
    for (layer, diff_id) in manifest.image().unwrap().layers.iter().zip(&config.modelfs.diff_ids) {
        let bytes = store.blob(layer, 0..layer.size).await.unwrap().collect(1 << 20, "layer").await.unwrap();
        assert_eq!(Digest::of(&uncompressed(&layer.media_type, bytes)), *diff_id);
    }
    let options = UnpackOptions { concurrency: 2, ..UnpackOptions::default() };
    let unpacked = unpack(&store, &manifest, &to.join("unpacked"), &options, || {}).await.unwrap();
    // The `tar` crate takes the end of a line for the end of an extended header.
    if unpacked.written.iter().all(|path| !path.as_str().contains('\n')) {
        apply_image(&store, &manifest, &to.join("applied")).await;
    }
    Some((config, unpacked.written.len()))
}

/// Makes an image of the model, and applies its layers.
async fn apply_image(store: &MemoryStore, manifest: &Manifest, to: &Path) {
    let artifact = Artifact::read(manifest.image().unwrap()).unwrap();
    let (source, prefix): (Arc<dyn Source>, ImagePrefix) = (Arc::new(store.clone()), "/".parse().unwrap());
    let at = Selector::Tag("image".parse().unwrap());
    let image = image(&source, &artifact, &BTreeMap::new(), &prefix, store, &at, &CopyOptions::default()).await.unwrap();
    let platform = Selector::Digest(image.manifest.manifests()[0].digest.clone());
    for layer in &store.manifest(&platform).await.unwrap().image().unwrap().layers {
        let archive = store.blob(layer, 0..layer.size).await.unwrap().collect(1 << 20, "layer").await.unwrap();
        tar::Archive::new(&archive[..]).unpack(to).unwrap();
    }
}

fn uncompressed(media_type: &str, bytes: Vec<u8>) -> Vec<u8> {
    match media_type.parse::<LayerType>().unwrap().encoding {
        Encoding::Raw | Encoding::Tar => bytes,
        Encoding::TarGzip => {
            let mut read = Vec::new();
            flate2::bufread::GzDecoder::new(&bytes[..]).read_to_end(&mut read).unwrap();
            read
        }
        Encoding::TarZstd => zstd::decode_all(&bytes[..]).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_files_metadata_and_encodings_are_unpacked_unchanged(files in files(), config in config(), policy in policy()) {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let written = write(from.path(), &files);
        prop_assume!(written > 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let done = runtime.block_on(round_trip(from.path(), to.path(), config.clone(), &policy));
        let is_enough = policy.max_layers >= written;
        prop_assert!(done.is_some() || !is_enough, "a layer for each file is allowed");
        let Some((read, unpacked)) = done else { return Ok(()) };
        prop_assert_eq!(unpacked, written);
        prop_assert_eq!((&read.descriptor, &read.config), (&config.descriptor, &config.config));
        assert_same_tree(from.path(), &to.path().join("unpacked"));
        let applied = to.path().join("applied");
        if applied.exists() {
            assert_same_tree(from.path(), &applied);
        }
    }
}
