//! Whatever the builders get, they build a valid artifact or return an error.

use modelpack_spec::{ArtifactBuilder, ConfigBuilder, Descriptor, Digest, Encoding, FileMetadata, LayerInput, LayerKind};
use modelpack_validate::validate_artifact;
use proptest::{collection::vec, option, prelude::*, sample::select};
use std::collections::BTreeMap;

/// Texts that are valid for some fields and invalid for others, and any other text.
fn text() -> impl Strategy<Value = String> {
    let known = [
        "",
        "7B",
        "8x7B",
        "float16",
        "float16,int8",
        "bf16",
        "text",
        "other",
        "img",
        "en",
        "EN",
        "eng",
        "MIT",
        "mit or isc",
        "LicenseRef-",
        "LicenseRef-x",
        "llama3.1",
        "2025-01-31T00:00:00Z",
        "2025-01-31",
        "2025-02-30T00:00:00Z",
        "application/x",
        "a/b/c",
        "weights.bin",
        "../x",
    ];
    prop_oneof![4 => select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

type Set = fn(ConfigBuilder, String) -> ConfigBuilder;

fn config() -> impl Strategy<Value = ConfigBuilder> {
    let setters: [Set; 22] = [
        ConfigBuilder::created_at,
        ConfigBuilder::vendor,
        ConfigBuilder::family,
        ConfigBuilder::name,
        ConfigBuilder::version,
        ConfigBuilder::title,
        ConfigBuilder::description,
        ConfigBuilder::doc_url,
        ConfigBuilder::source_url,
        ConfigBuilder::revision,
        ConfigBuilder::architecture,
        ConfigBuilder::format,
        ConfigBuilder::param_size,
        ConfigBuilder::precision,
        ConfigBuilder::quantization,
        ConfigBuilder::author,
        ConfigBuilder::dataset_url,
        ConfigBuilder::license,
        ConfigBuilder::input_type,
        ConfigBuilder::output_type,
        ConfigBuilder::knowledge_cutoff,
        ConfigBuilder::language,
    ];
    vec((select(setters.to_vec()), text()), 0..3)
        .prop_map(|settings| settings.into_iter().fold(ConfigBuilder::new(), |builder, (set, text)| set(builder, text)))
}

fn layer() -> impl Strategy<Value = LayerInput> {
    let size = || prop_oneof![Just(1), Just(i64::MAX as u64), any::<u64>()];
    let metadata =
        (select(vec!["a", "b", "c/a", "x", ""]), size(), select(vec!["1970-01-01T00:00:00Z", "now"]), any::<u8>(), any::<[u32; 3]>());
    let metadata = metadata.prop_map(|(name, size, mtime, typeflag, [mode, uid, gid])| FileMetadata {
        name: name.to_owned(),
        mode,
        uid,
        gid,
        size,
        mtime: mtime.to_owned(),
        typeflag: if typeflag < 200 { 0 } else { typeflag },
    });
    let path = option::weighted(0.9, select(vec!["a", "b", "c/a", "c/b", "A", "a/b"]));
    let digest = || select(vec![Digest::of(b"x"), Digest::of(b"y")]);
    let of = (select(LayerKind::ALL.to_vec()), select(Encoding::ALL.to_vec()), digest(), option::of(digest()));
    (of, size(), path, option::of(metadata), any::<Option<bool>>()).prop_map(
        |((kind, encoding, digest, diff_id), size, path, metadata, untested)| LayerInput {
            kind,
            encoding,
            digest,
            diff_id,
            size,
            path: path.map(|path| path.parse().expect("a path")),
            metadata,
            untested,
            hash_states: None,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn built_artifacts_are_valid(
        config in config(),
        layers in vec(layer(), 0..3),
        subject in option::weighted(0.2, (text(), prop_oneof![Just(1), any::<u64>()])),
        annotation in option::of((any::<String>(), any::<String>())),
    ) {
        let mut builder = layers.into_iter().fold(ArtifactBuilder::new(config), ArtifactBuilder::layer);
        if let Some((media_type, size)) = subject {
            builder = builder.subject(Descriptor::new(media_type, Digest::of(b"subject"), size));
        }
        if let Some((key, value)) = annotation {
            builder = builder.annotation(key, value);
        }
        if let Ok(built) = builder.build() {
            let report = validate_artifact(built.manifest.bytes(), Some(&built.config_bytes), &BTreeMap::new());
            prop_assert!(report.is_valid(), "{:#?}", report);
        }
    }
}
