//! The contract of the seam as a test suite. Every implementation of [`Source`] and [`Sink`] runs it in its tests.

use crate::{Begin, Body, Error, Sink, Source, put_bytes};
use modelpack_spec::{Descriptor, Digest, HashStates, ImageIndex, ImageManifest, Manifest, Selector, Tag, annotation, media_type};
use std::collections::BTreeMap;

/// Runs the whole suite on a repository that is empty at first, as read by `source` and written by `sink`.
///
/// # Panics
/// If the implementation breaks the contract; the message says where.
pub async fn check(source: &dyn Source, sink: &dyn Sink) {
    nothing_is_there_at_first(source).await;
    wrong_bytes_are_never_visible(source, sink).await;
    what_was_promised_at_the_beginning_counts_at_the_end(source, sink).await;
    an_abandoned_upload_is_never_visible(source, sink).await;
    blobs_come_back_whole_and_in_ranges(source, sink).await;
    ranges_are_written_in_any_order_and_kept(source, sink).await;
    wrong_ranges_are_never_visible_and_not_kept(source, sink).await;
    a_manifest_needs_its_blobs(sink).await;
    tags_are_set_and_moved(source, sink).await;
    of_a_tag_and_a_digest_the_digest_decides(source, sink).await;
    referrers_are_listed(source, sink).await;
    tags_are_listed(source).await;
    a_list_of_hash_states_is_read_if_it_is_the_one_that_is_named(source, sink).await;
}

async fn a_list_of_hash_states_is_read_if_it_is_the_one_that_is_named(source: &dyn Source, sink: &dyn Sink) {
    let list = HashStates::read(3 << 20, &[7; 64]).expect("its length is right");
    let mut blob = Descriptor::of("x/x", b"a blob that need not be there");
    blob.size = list.size();
    assert_eq!(source.hash_states(&blob).await, None, "none is named");
    blob.annotations.insert(annotation::HASH_STATES.to_owned(), HashStates::annotation(&list.descriptor()));
    assert_eq!(source.hash_states(&blob).await, None, "it is not there, which is no error");
    put_bytes(sink, media_type::HASH_STATES, list.bytes().to_vec()).await.expect("a list is a blob");
    assert_eq!(source.hash_states(&blob).await, Some(list));
    blob.size += 1 << 20;
    assert_eq!(source.hash_states(&blob).await, None, "a list of a blob of another size");
}

fn tag(text: &str) -> Tag {
    text.parse().expect("the suite's tags are valid")
}

async fn nothing_is_there_at_first(source: &dyn Source) {
    let absent = source.manifest(&Selector::Tag(tag("absent"))).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "a tag that was never set: {absent:?}");
    let digest = Digest::of(b"absent");
    let absent = source.manifest(&Selector::Digest(digest)).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "a manifest that was never written: {absent:?}");
    assert_absent(source, &Descriptor::of("x/x", b"absent")).await;
}

/// A source may say that a blob is absent when asked for it or when it is read.
async fn assert_absent(source: &dyn Source, blob: &Descriptor) {
    let error = match source.blob(blob, 0..blob.size).await {
        Ok(body) => body.collect(usize::MAX, "blob").await.err(),
        Err(error) => Some(error),
    };
    assert!(matches!(error, Some(Error::NotFound { .. })), "a blob that must not be visible: {error:?}");
}

async fn upload(sink: &dyn Sink, blob: Option<&Descriptor>) -> Box<dyn crate::Upload> {
    match sink.begin(blob).await.expect("an upload begins") {
        Begin::Upload(upload) => upload,
        Begin::Exists => panic!("a blob is said to exist that was never written: {blob:?}"),
    }
}

async fn wrong_bytes_are_never_visible(source: &dyn Source, sink: &dyn Sink) {
    let expected = Descriptor::of("x/x", b"what was promised");
    for lie in [&b"WHAT WAS PROMISED"[..], b"what was promise", b"what was promised!", b""] {
        let mut upload = upload(sink, Some(&expected)).await;
        let written = upload.write(Body::from_bytes(lie)).await;
        let committed = match written {
            Ok(()) => upload.commit(Some(&expected)).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(committed.is_err(), "{lie:?} was taken for {expected:?}");
        assert_absent(source, &expected).await;
    }
}

async fn what_was_promised_at_the_beginning_counts_at_the_end(source: &dyn Source, sink: &dyn Sink) {
    let (begun, other) = (Descriptor::of("x/x", b"begun"), Descriptor::of("x/x", b"other"));
    let mut upload = upload(sink, Some(&begun)).await;
    let committed = match upload.write(Body::from_bytes(&b"other"[..])).await {
        Ok(()) => upload.commit(Some(&other)).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(committed.is_err(), "a blob that was begun as another one was committed");
    assert_absent(source, &begun).await;
    assert_absent(source, &other).await;
}

async fn an_abandoned_upload_is_never_visible(source: &dyn Source, sink: &dyn Sink) {
    let blob = Descriptor::of("x/x", b"abandoned");
    let mut upload = upload(sink, None).await;
    upload.write(Body::from_bytes(&b"abandoned"[..])).await.expect("bytes are taken");
    drop(upload);
    assert_absent(source, &blob).await;
}

async fn blobs_come_back_whole_and_in_ranges(source: &dyn Source, sink: &dyn Sink) {
    let large: Vec<u8> = (0..3 * crate::CHUNK + 17).map(|i| (i % 251) as u8).collect();
    for (content, known) in [(&b""[..], true), (b"x", false), (&large, true), (b"", false), (b"known", true)] {
        let blob = Descriptor::of("x/x", content);
        if let Begin::Upload(mut upload) = sink.begin(known.then_some(&blob)).await.expect("an upload begins") {
            upload.write(Body::from_bytes(content.to_vec())).await.expect("bytes are taken");
            let committed = upload.commit(known.then_some(&blob)).await.expect("right bytes are committed");
            assert_eq!((&committed.digest, committed.size), (&blob.digest, blob.size));
        }
        assert!(matches!(sink.begin(Some(&blob)).await, Ok(Begin::Exists)), "a committed blob exists");
        let size = blob.size;
        for range in [0..size, 0..size / 2, size / 2..size, size / 3..2 * size / 3] {
            let slice = &content[range.start as usize..range.end as usize];
            let body = source.blob(&blob, range.clone()).await.expect("a committed blob is read");
            let read = body.collect(usize::MAX, "blob").await.expect("a committed blob is read to its end");
            assert!(read == slice, "bytes {range:?} of a blob of {size} came back as {} bytes", read.len());
        }
    }
}

/// A blob that is large enough to be kept in part.
fn large(seed: usize) -> (Vec<u8>, Descriptor) {
    let content: Vec<u8> = (0..3_000_000 + seed).map(|i| ((i + seed) % 249) as u8).collect();
    let blob = Descriptor::of("x/x", &content);
    (content, blob)
}

async fn ranges_are_written_in_any_order_and_kept(source: &dyn Source, sink: &dyn Sink) {
    let (content, blob) = large(1);
    let body = |range: std::ops::Range<usize>| Body::from_bytes(content[range].to_vec());
    let first = upload(sink, Some(&blob)).await;
    let Some(ranged) = first.ranged() else { return };
    assert_eq!(ranged.missing().total(), blob.size, "a new upload lacks everything");
    let (one, other) =
        tokio::join!(ranged.write_at(2_000_000, body(2_000_000..2_500_000)), ranged.write_at(1_000_000, body(1_000_000..1_700_000)));
    one.and(other).expect("ranges are written at the same time");
    assert_absent(source, &blob).await;
    drop((first, ranged));

    let second = upload(sink, Some(&blob)).await;
    let ranged = second.ranged().expect("it takes ranges as before");
    let missing: Vec<_> = ranged.missing().iter().collect();
    assert_eq!(missing, [0..1_000_000, 1_700_000..2_000_000, 2_500_000..blob.size], "what was written is kept");
    ranged.write_at(0, body(0..1_000_000)).await.expect("a range");
    let incomplete = second.commit(Some(&blob)).await;
    assert!(incomplete.is_err(), "a blob with gaps was committed");
    assert_absent(source, &blob).await;
    drop(ranged);

    let mut third = upload(sink, Some(&blob)).await;
    third.write(body(0..content.len())).await.expect("all bytes, though some are there");
    third.commit(Some(&blob)).await.expect("right bytes are committed");
    let read = source.blob(&blob, 0..blob.size).await.expect("a committed blob is read");
    assert!(read.collect(usize::MAX, "blob").await.expect("all of it") == content);
}

async fn wrong_ranges_are_never_visible_and_not_kept(source: &dyn Source, sink: &dyn Sink) {
    let (mut content, blob) = large(2);
    let wrong = upload(sink, Some(&blob)).await;
    let Some(ranged) = wrong.ranged() else { return };
    let beyond = ranged.write_at(blob.size - 1, Body::from_bytes(&b"xx"[..])).await;
    assert!(beyond.is_err(), "bytes beyond the end were taken");
    content[1_234_567] ^= 1;
    ranged.write_at(0, Body::from_bytes(content.clone())).await.expect("nobody knows yet that they are wrong");
    drop(ranged);
    let committed = wrong.commit(Some(&blob)).await;
    assert!(matches!(committed, Err(Error::WrongDigest { .. })), "wrong bytes: {committed:?}");
    assert_absent(source, &blob).await;
    content[1_234_567] ^= 1;
    let right = upload(sink, Some(&blob)).await;
    let ranged = right.ranged().expect("it takes ranges as before");
    assert_eq!(ranged.missing().total(), blob.size, "wrong bytes are not kept");
    ranged.write_at(0, Body::from_bytes(content)).await.expect("right bytes");
    drop(ranged);
    right.commit(Some(&blob)).await.expect("right bytes are committed");
}

/// An image manifest with one layer, both blobs unknown to anybody unless written.
pub fn manifest(layer: &[u8]) -> (Manifest, Vec<u8>) {
    let config = Descriptor::of("application/vnd.oci.empty.v1+json", b"{}");
    let image = ImageManifest {
        schema_version: 2,
        media_type: Some(modelpack_spec::media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some("application/x".to_owned()),
        config,
        layers: vec![Descriptor::of("application/x", layer)],
        subject: None,
        annotations: BTreeMap::new(),
        other: Default::default(),
    };
    (Manifest::from_image(image).expect("a valid manifest"), layer.to_vec())
}

async fn a_manifest_needs_its_blobs(sink: &dyn Sink) {
    let (manifest, _) = manifest(b"a layer that was never written");
    let put = sink.put_manifest(&Selector::Tag(tag("incomplete")), &manifest).await;
    assert!(matches!(put, Err(Error::MissingReference { .. })), "a manifest without its blobs: {put:?}");
}

async fn tags_are_set_and_moved(source: &dyn Source, sink: &dyn Sink) {
    let (first, layer) = manifest(b"first layer");
    put_bytes(sink, "application/vnd.oci.empty.v1+json", b"{}".to_vec()).await.expect("config");
    put_bytes(sink, "application/x", layer).await.expect("layer");
    let v1 = Selector::Tag(tag("v1"));
    sink.put_manifest(&v1, &first).await.expect("a manifest is written");
    assert_eq!(source.manifest(&v1).await.expect("by tag").bytes(), first.bytes());
    let by_digest = Selector::Digest(first.digest().clone());
    assert_eq!(source.manifest(&by_digest).await.expect("by digest").bytes(), first.bytes());

    let (second, layer) = manifest(b"second layer");
    put_bytes(sink, "application/x", layer).await.expect("layer");
    sink.put_manifest(&v1, &second).await.expect("a tag is moved");
    assert_eq!(source.manifest(&v1).await.expect("by tag").digest(), second.digest());
    sink.put_manifest(&v1, &first).await.expect("a tag is moved back to a known manifest");
    assert_eq!(source.manifest(&v1).await.expect("by tag").digest(), first.digest());

    let disagreeing = Selector::Both(tag("v1"), second.digest().clone());
    assert!(sink.put_manifest(&disagreeing, &first).await.is_err(), "a manifest under another's digest");
    assert_eq!(source.manifest(&v1).await.expect("by tag").digest(), first.digest(), "a failed put changes nothing");
}

async fn of_a_tag_and_a_digest_the_digest_decides(source: &dyn Source, sink: &dyn Sink) {
    let (asked_for, layer) = manifest(b"asked for");
    put_bytes(sink, "application/x", layer).await.expect("layer");
    let digest = asked_for.digest().clone();
    sink.put_manifest(&Selector::Both(tag("both"), digest.clone()), &asked_for).await.expect("tag and digest are written together");
    let by_tag = source.manifest(&Selector::Tag(tag("both"))).await.expect("the tag that was written");
    assert_eq!(by_tag.digest(), &digest, "a manifest that is written by tag and digest gets the tag");

    let (other, layer) = manifest(b"elsewhere");
    put_bytes(sink, "application/x", layer).await.expect("layer");
    sink.put_manifest(&Selector::Tag(tag("elsewhere")), &other).await.expect("a manifest is written");
    for name in ["both", "elsewhere", "absent"] {
        let found = source.manifest(&Selector::Both(tag(name), digest.clone())).await;
        let found = found.unwrap_or_else(|e| panic!("the digest, whatever is tagged {name}: {e}"));
        assert_eq!(found.bytes(), asked_for.bytes(), "the tag {name}");
    }
    let absent = source.manifest(&Selector::Both(tag("both"), Digest::of(b"absent"))).await;
    assert!(matches!(absent, Err(Error::NotFound { .. })), "a digest that is not there, and a tag that is: {absent:?}");
}

/// An image manifest that refers to `subject`.
pub fn referrer(subject: &Descriptor, layer: &[u8]) -> Manifest {
    let (manifest, _) = manifest(layer);
    let mut image = manifest.image().expect("it is an image manifest").clone();
    image.subject = Some(subject.clone());
    image.annotations.insert("about".to_owned(), subject.digest.to_string());
    Manifest::from_image(image).expect("a valid manifest")
}

/// Blobs `{}` and those of earlier parts are there.
async fn referrers_are_listed(source: &dyn Source, sink: &dyn Sink) {
    let listed = async |subjects: &[&Descriptor]| {
        let subjects: Vec<_> = subjects.iter().map(|subject| subject.digest.clone()).collect();
        let mut listed = source.referrers(&subjects).await.expect("referrers are listed").expect("there is a list");
        listed.sort_by(|a, b| a.digest.cmp(&b.digest));
        listed
    };
    let by_digest = |manifest: &Manifest| Selector::Digest(manifest.digest().clone());
    let (subject, _) = manifest(b"first layer");
    let (subject, absent) = (subject.descriptor(), Descriptor::of(subject.media_type(), b"a subject that was never written"));
    assert!(listed(&[&subject, &absent]).await.is_empty(), "nothing refers to a manifest yet");
    assert!(listed(&[]).await.is_empty(), "nothing refers to nothing");

    let (signature, of_it, of_absent) =
        (referrer(&subject, b"first layer"), referrer(&subject, b"second layer"), referrer(&absent, b"first layer"));
    for manifest in [&signature, &of_it, &of_absent] {
        sink.put_manifest(&by_digest(manifest), manifest).await.expect("a referrer is written, also before its subject");
    }
    let expected = |manifests: &[&Manifest]| {
        let mut expected: Vec<_> =
            manifests.iter().map(|manifest| Descriptor { annotations: BTreeMap::new(), ..manifest.descriptor() }).collect();
        expected.sort_by(|a, b| a.digest.cmp(&b.digest));
        expected
    };
    assert_eq!(listed(&[&subject]).await, expected(&[&signature, &of_it]), "all referrers of a manifest and no others");
    assert_eq!(listed(&[&absent]).await, expected(&[&of_absent]), "a referrer of what is not there");
    assert_eq!(listed(&[&subject, &absent]).await, expected(&[&signature, &of_it, &of_absent]), "the referrers of two manifests");

    // An index under the fallback tag lists one that is listed anyway, and one that names no subject.
    let (mentioned, _) = manifest(b"second layer");
    sink.put_manifest(&by_digest(&mentioned), &mentioned).await.expect("a manifest is written");
    let index = ImageIndex::new([&of_absent, &mentioned].map(Manifest::descriptor).to_vec());
    let index = Manifest::from_index(index).expect("a valid index");
    sink.put_manifest(&Selector::Tag(Tag::of_referrers(&absent.digest)), &index).await.expect("an index is written");
    assert_eq!(listed(&[&absent]).await, expected(&[&of_absent, &mentioned]), "what the fallback tag lists, each once");
}

async fn tags_are_listed(source: &dyn Source) {
    let tags = source.tags().await.expect("tags are listed").expect("there is a list");
    for name in ["v1", "both", "elsewhere"] {
        assert_eq!(tags.iter().filter(|listed| **listed == tag(name)).count(), 1, "{name} in {tags:?}");
    }
    assert!(!tags.iter().any(|listed| ["absent", "incomplete"].contains(&listed.as_str())), "a tag that was never set: {tags:?}");
}
