//! Manifests, tags and referrers.

use crate::server::{AsRegistry, Asked, Server, answer, pieces};
use bytes::Bytes;
use modelpack_spec::{Algorithm, Descriptor, Digest, Hasher, ImageManifest, Manifest, Selector, Tag, media_type};
use modelpack_transfer::{Error, Sink, Source};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

fn manifest(subject: Option<Descriptor>) -> Manifest {
    let image = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some("application/x".to_owned()),
        config: Descriptor::of("application/vnd.oci.empty.v1+json", b"{}"),
        layers: Vec::new(),
        subject,
        annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        other: Default::default(),
    };
    Manifest::from_image(image).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

async fn serving(digest: Option<String>) -> Server {
    Server::start(move |_, _| {
        let bytes = manifest(None).bytes().to_vec();
        let content_type = format!("{}; charset=utf-8", media_type::IMAGE_MANIFEST);
        match &digest {
            Some(digest) => answer(200, &[("content-type", &content_type), ("docker-content-digest", digest)], bytes),
            None => answer(200, &[("content-type", "text/plain")], bytes),
        }
    })
    .await
}

#[tokio::test]
async fn manifests_of_every_type_are_accepted_and_verified() {
    let server = serving(None).await;
    let repository = server.repository();
    let expected = manifest(None);
    assert_eq!(repository.manifest(&Selector::Tag(tag("v1"))).await.unwrap(), expected);
    assert_eq!(repository.manifest(&Selector::Digest(expected.digest().clone())).await.unwrap(), expected);
    assert_eq!(repository.manifest(&Selector::Both(tag("v1"), expected.digest().clone())).await.unwrap(), expected);
    let asked = server.asked();
    let targets: Vec<_> = asked.iter().map(|a| a.target.as_str()).collect();
    let by_digest = format!("/v2/a/b/manifests/{}", expected.digest());
    assert_eq!(targets, ["/v2/a/b/manifests/v1", &by_digest, &by_digest], "of a tag and a digest the digest decides");
    assert_eq!(asked[0].headers.get_all("accept").iter().count(), 4);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(expected.bytes());
    let sha512 = hasher.finish();
    assert_eq!(repository.manifest(&Selector::Digest(sha512.clone())).await.unwrap().digest(), &sha512);
}

#[tokio::test]
async fn a_manifest_that_is_not_the_one_asked_for_is_refused() {
    let server = serving(None).await;
    let repository = server.repository();
    let error = repository.manifest(&Selector::Digest(Digest::of(b"other"))).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let error = repository.manifest(&Selector::Both(tag("v1"), Digest::of(b"other"))).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    let lying = serving(Some(Digest::of(b"other").to_string())).await;
    let error = lying.repository().manifest(&Selector::Tag(tag("v1"))).await.unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_over_4_mib_is_not_read_to_its_end() {
    let endless = |_: &Asked, _| pieces(200, &[], (0..80).map(|_| Ok(Bytes::from(vec![b' '; 64 << 10]))).collect());
    let server = Server::start(endless).await;
    let error = server.repository().manifest(&Selector::Tag(tag("v1"))).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { why, .. } if why.contains("4194304")), "{error}");
}

#[tokio::test]
async fn a_manifest_is_put_by_tag_if_there_is_one() {
    let server = Server::start(|_, _| answer(201, &[], "")).await;
    let repository = server.repository();
    let manifest = manifest(None);
    let digest = manifest.digest().clone();
    for at in [Selector::Tag(tag("v1")), Selector::Digest(digest.clone()), Selector::Both(tag("v1"), digest.clone())] {
        repository.put_manifest(&at, &manifest).await.unwrap();
    }
    let other = Selector::Both(tag("v1"), Digest::of(b"other"));
    assert!(matches!(repository.put_manifest(&other, &manifest).await, Err(Error::WrongDigest { .. })));
    let targets: Vec<_> = server.asked().into_iter().map(|a| a.target).collect();
    assert_eq!(targets, ["/v2/a/b/manifests/v1", &format!("/v2/a/b/manifests/{digest}"), "/v2/a/b/manifests/v1"]);
    let asked = &server.asked()[0];
    assert_eq!((&asked.body[..], asked.header("content-type")), (manifest.bytes(), Some(media_type::IMAGE_MANIFEST)));
}

#[tokio::test]
async fn a_blob_that_the_registry_misses_is_named() {
    let missing = Digest::of(b"{}");
    let body = format!(r#"{{"errors":[{{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown","detail":{{"digest":"{missing}"}}}}]}}"#);
    let server = Server::start(move |_, _| answer(404, &[], body.clone())).await;
    let error = server.repository().put_manifest(&Selector::Tag(tag("v1")), &manifest(None)).await.unwrap_err();
    let expected = format!("{}/a/b", server.address);
    assert!(matches!(&error, Error::MissingReference { digest, repository } if *digest == missing && *repository == expected), "{error}");
}

/// A registry without the referrers API, which keeps what is put under a tag.
async fn without_referrers() -> (Server, Arc<Mutex<BTreeMap<String, Bytes>>>) {
    let kept: Arc<Mutex<BTreeMap<String, Bytes>>> = Arc::default();
    let manifests = kept.clone();
    let server = Server::start(move |asked, _| {
        let mut manifests = manifests.lock().unwrap();
        if asked.method == "PUT" {
            manifests.insert(asked.target.clone(), asked.body.clone());
            return answer(201, &[], "");
        }
        manifests.get(&asked.target).map_or_else(|| answer(404, &[], ""), |bytes| answer(200, &[], bytes.clone()))
    })
    .await;
    (server, kept)
}

#[tokio::test]
async fn a_registry_without_referrers_gets_them_under_a_tag() {
    let (server, kept) = without_referrers().await;
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, b"subject");
    let referrer = manifest(Some(subject.clone()));
    let repository = server.repository();
    for _ in 0..2 {
        repository.put_manifest(&Selector::Digest(referrer.digest().clone()), &referrer).await.unwrap();
    }
    let fallback = format!("/v2/a/b/manifests/sha256-{}", subject.digest.hex());
    let index = Manifest::parse(kept.lock().unwrap()[&fallback].to_vec(), None).unwrap();
    assert_eq!(index.media_type(), media_type::IMAGE_INDEX);
    assert_eq!(index.manifests(), [referrer.descriptor()], "it is listed once, with its type and annotations");
}

#[tokio::test]
async fn a_registry_with_referrers_needs_no_tag_for_them() {
    let subject = Descriptor::of(media_type::IMAGE_MANIFEST, b"subject");
    let digest = subject.digest.to_string();
    let server = Server::start(move |_, _| answer(201, &[("oci-subject", &digest)], "")).await;
    server.repository().put_manifest(&Selector::Tag(tag("v1")), &manifest(Some(subject))).await.unwrap();
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_tag_is_deleted_as_a_tag_and_only_if_it_points_where_it_should() {
    let server = Server::start(|asked, _| match asked.method.as_str() {
        "DELETE" => answer(202, &[], ""),
        _ => answer(200, &[], manifest(None).bytes().to_vec()),
    })
    .await;
    let repository = server.repository();
    let digest = manifest(None).digest().clone();
    repository.delete(&Selector::Tag(tag("v1"))).await.unwrap();
    repository.delete(&Selector::Digest(digest.clone())).await.unwrap();
    repository.delete(&Selector::Both(tag("v1"), digest.clone())).await.unwrap();
    let error = repository.delete(&Selector::Both(tag("v1"), Digest::of(b"other"))).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("points to"), "{error}");
    let deleted: Vec<_> = server.asked().into_iter().filter(|a| a.method == "DELETE").map(|a| a.target).collect();
    assert_eq!(deleted, ["/v2/a/b/manifests/v1", &format!("/v2/a/b/manifests/{digest}"), "/v2/a/b/manifests/v1"]);
}
