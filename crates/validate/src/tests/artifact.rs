//! Tests of a manifest and a config together.

use super::{broken, config, config_of, manifest_of, with};
use crate::{Report, unread, validate_artifact};
use modelpack_spec::{Algorithm, ArtifactBuilder, ConfigBuilder, Digest, Encoding, LayerInput, LayerKind, media_type};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn check(config: &Value, contents: &[(usize, Digest)]) -> Report {
    let config = config.to_string();
    let manifest = manifest_of(config.as_bytes()).to_string();
    validate_artifact(
        manifest.as_bytes(),
        Some(config.as_bytes()),
        &contents.iter().map(|(index, digest)| (*index, Ok(digest.clone()))).collect(),
    )
}

#[test]
fn diff_ids_match_the_layers_in_number_and_digest() {
    let [a, b, gz] = [b"a".as_slice(), b"b", b"gz"].map(Digest::of);
    let report = check(&config(), &[]);
    assert!(report.is_valid(), "{report:#?}");
    assert_eq!(report.unread, [1], "the compressed layer was not read");
    let report = check(&config(), &[(1, b.clone())]);
    assert!(report.is_valid() && report.unread.is_empty());
    for (diff_ids, contents, expected) in [
        (&[a.clone()][..], &[][..], ("/modelfs/diffIds", "diff-id-count")),
        (&[a.clone(), b.clone(), b.clone()], &[], ("/modelfs/diffIds", "diff-id-count")),
        (&[b.clone(), b.clone()], &[], ("/modelfs/diffIds/0", "diff-id")),
        (&[a.clone(), gz.clone()], &[], ("/modelfs/diffIds/1", "diff-id")),
        (&[a.clone(), b.clone()], &[(1, a.clone())], ("/modelfs/diffIds/1", "diff-id")),
    ] {
        assert_eq!(broken(&check(&config_of(diff_ids), contents)), [expected], "{diff_ids:?}");
    }
    let sha512 = Algorithm::Sha512.digest(b"a");
    let other = config_of(&[sha512.clone(), b.clone()]);
    let report = check(&other, &[]);
    assert!(report.is_valid() && report.unread == [0, 1], "digests of different algorithms cannot be compared before the layer is read");
    assert!(check(&other, &[(0, sha512)]).is_valid());
    assert_eq!(broken(&check(&other, &[(0, Algorithm::Sha512.digest(b"x"))])), [("/modelfs/diffIds/0", "diff-id")]);
}

#[test]
fn only_layers_that_have_to_be_read_are_listed() {
    let config = config_of(&[Digest::of(b"a"), Algorithm::Sha512.digest(b"b")]).to_string();
    let manifest = manifest_of(config.as_bytes()).to_string();
    let listed = unread(manifest.as_bytes(), config.as_bytes());
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].index, listed[0].encoding, listed[0].algorithm), (1, Encoding::TarGzip, Algorithm::Sha512));
    assert_eq!(listed[0].layer.digest, Digest::of(b"gz"));
    assert!(unread(b"{", b"{}").is_empty());
}

#[test]
fn the_config_matches_its_descriptor_in_the_manifest() {
    let config = config().to_string();
    let manifest = manifest_of(config.as_bytes());
    let check =
        |manifest: Value, config: &str| validate_artifact(manifest.to_string().as_bytes(), Some(config.as_bytes()), &BTreeMap::new());
    assert!(check(manifest.clone(), &config).is_valid());
    assert_eq!(
        broken(&check(manifest.clone(), &format!("{config} "))),
        [("/config/digest", "config-digest"), ("/config/size", "config-digest")]
    );
    assert_eq!(broken(&check(with(manifest, "/config/size", Some(json!(1))), &config)), [("/config/size", "config-digest")]);
}

#[test]
fn a_problem_names_its_document() {
    let report = check(&with(config(), "/config/precision", Some(json!(16))), &[]);
    assert_eq!(report.problems[0].to_string(), "config /config/precision: found a number, 16; allowed: a string (type)");
    let report = validate_artifact(b"{}", Some(b"{}"), &BTreeMap::new());
    let of = |document: &str| report.problems.iter().filter(|problem| problem.document.to_string() == document).count();
    assert_eq!((of("manifest"), of("config")), (5, 3));
}

#[test]
fn built_artifacts_are_valid() {
    let layer = |index: usize, encoding: Encoding, kind: LayerKind| LayerInput {
        kind,
        encoding,
        digest: Digest::of(&[index as u8]),
        diff_id: matches!(encoding, Encoding::TarGzip | Encoding::TarZstd).then(|| Digest::of(b"tar")),
        size: 1,
        path: Some(format!("file-{index}").parse().unwrap()),
        metadata: None,
        untested: Some(index.is_multiple_of(2)),
        hash_states: None,
    };
    let all = LayerKind::ALL.into_iter().flat_map(|kind| Encoding::ALL.map(|encoding| (kind, encoding)));
    let config = ConfigBuilder::new().name("tiny").param_size("7B").language("en").license("MIT");
    let builder = all
        .enumerate()
        .fold(ArtifactBuilder::new(config), |builder, (index, (kind, encoding))| builder.layer(layer(index, encoding, kind)));
    let built = builder.build().unwrap();
    let report = validate_artifact(built.manifest.bytes(), Some(&built.config_bytes), &BTreeMap::new());
    assert!(report.is_valid(), "{report:#?}");
    assert_eq!((built.manifest.image().unwrap().layers.len(), report.unread.len()), (20, 10), "all twenty media types");
    assert_eq!(built.manifest.media_type(), media_type::IMAGE_MANIFEST);
}

#[test]
fn an_artifact_that_cannot_be_read_is_not_valid() {
    // JSON Schema accepts this number as an integer, but typed readers do not.
    let config = config().to_string();
    let manifest = manifest_of(config.as_bytes()).to_string().replace("\"size\":2}", "\"size\":2.0}");
    let report = validate_artifact(manifest.as_bytes(), None, &BTreeMap::new());
    assert_eq!(broken(&report), [("", "readable")]);
    // The schema and the rules accept this title of an archive, but a reader rejects it as a path.
    let titled = with(manifest_of(config.as_bytes()), "/layers/1/annotations", Some(json!({ "org.opencontainers.image.title": "../x" })));
    assert_eq!(broken(&validate_artifact(titled.to_string().as_bytes(), None, &BTreeMap::new())), [("", "readable")]);
    let manifest = manifest_of(config.as_bytes()).to_string();
    let contents = BTreeMap::from([(1, Err("not gzip".to_owned()))]);
    let report = validate_artifact(manifest.as_bytes(), Some(config.as_bytes()), &contents);
    assert_eq!((broken(&report), report.problems[0].found.as_str()), (vec![("/layers/1", "readable")], "not gzip"));
}
