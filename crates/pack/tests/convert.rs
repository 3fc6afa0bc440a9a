//! Conversion of other tools' artifacts to artifacts of the specification.

mod artifact;

use artifact::{Artifact, compressed, tar_of};
use modelpack_pack::{Converted, Error, convert};
use modelpack_spec::{Config, Digest, Encoding, Selector, Tag, annotation};
use modelpack_transfer::{CopyOptions, Error as StoreError, MemoryStore, Source};
use std::collections::BTreeMap;

fn latest() -> Selector {
    Selector::Tag(Tag::latest())
}

async fn converted(artifact: &Artifact, sink: &MemoryStore) -> Result<Converted, Error> {
    let read = modelpack_spec::Artifact::read(artifact.manifest().image().unwrap()).unwrap();
    let options = CopyOptions { concurrency: 2, ..CopyOptions::default() };
    convert(artifact, &read, &Config::default(), &BTreeMap::new(), sink, &latest(), &options).await
}

/// Expects a refusal, and that no tag was set.
async fn refused(artifact: &Artifact) -> String {
    let sink = MemoryStore::new();
    let error = converted(artifact, &sink).await.unwrap_err();
    assert!(sink.manifest(&latest()).await.unwrap_err().is_not_found());
    match error {
        Error::Store(error @ (StoreError::Invalid { .. } | StoreError::WrongDigest { .. })) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_encoding_keeps_its_bytes_and_gets_the_digest_of_its_uncompressed_content() {
    let tar = tar_of(&[("model.bin", b"weights")]);
    let mut artifact = Artifact::new();
    let mut digests = Vec::new();
    for (encoding, name) in [(Encoding::Tar, "tar"), (Encoding::TarGzip, "tar+gzip"), (Encoding::TarZstd, "tar+zstd")] {
        let media_type = format!("application/vnd.kitops.modelkit.model.v1.{name}");
        digests.push(artifact.layer(&media_type, &[(annotation::FILEPATH, name)], compressed(encoding, &tar)).await);
    }
    digests.push(artifact.layer("application/vnd.kitops.modelkit.docs.v1.raw", &[(annotation::FILEPATH, "README.md")], "read me").await);
    let sink = MemoryStore::new();
    let first = converted(&artifact, &sink).await.unwrap();
    let image = first.manifest.image().unwrap();
    assert_eq!(image.layers.iter().map(|layer| layer.digest.clone()).collect::<Vec<_>>(), digests);
    let types: Vec<_> = image.layers.iter().map(|layer| layer.media_type.trim_start_matches("application/vnd.cncf.model.")).collect();
    assert_eq!(types, ["weight.v1.tar", "weight.v1.tar+gzip", "weight.v1.tar+zstd", "doc.v1.raw"]);
    let config = sink.blob(&image.config, 0..image.config.size).await.unwrap().collect(1 << 20, "config").await.unwrap();
    let expected = [Digest::of(&tar), Digest::of(&tar), Digest::of(&tar), Digest::of(b"read me")];
    assert_eq!(Config::parse(&config).unwrap().modelfs.diff_ids, expected);
    assert_eq!(converted(&artifact, &sink).await.unwrap(), first, "again, with every layer present");
}

#[tokio::test]
async fn clashing_layers_are_refused_before_anything_is_transferred() {
    let mut artifact = Artifact::new();
    let mut digests = Vec::new();
    for bytes in [b"one", b"two"] {
        digests.push(artifact.layer("application/vnd.kitops.modelkit.code.v1.tar", &[(annotation::FILEPATH, "src")], *bytes).await);
    }
    let sink = MemoryStore::new();
    assert!(converted(&artifact, &sink).await.is_err());
    let moved = modelpack_spec::Descriptor::new("", digests[0].clone(), 3);
    assert!(sink.blob(&moved, 0..3).await.is_err_and(|error| error.is_not_found()));
    assert!(refused(&artifact).await.contains("another layer has the same path, \"src\""));
}

#[tokio::test]
async fn a_layer_that_contradicts_its_type_is_refused() {
    for (name, bytes) in [("tar+gzip", &b"no gzip"[..]), ("tar+zstd", b"no zstd")] {
        let mut artifact = Artifact::new();
        let media_type = format!("application/vnd.kitops.modelkit.model.v1.{name}");
        let digest = artifact.layer(&media_type, &[(annotation::FILEPATH, "m")], bytes).await;
        assert!(refused(&artifact).await.contains(&digest.to_string()));
    }
}

#[tokio::test]
async fn a_single_compressed_file_is_refused_with_a_reason() {
    let mut artifact = Artifact::new();
    let bytes = compressed(Encoding::TarGzip, b"weights");
    artifact.layer("application/vnd.kitops.modelkit.model.v1.raw+gzip", &[(annotation::FILEPATH, "m")], bytes).await;
    assert!(refused(&artifact).await.contains("single compressed file"));
}
