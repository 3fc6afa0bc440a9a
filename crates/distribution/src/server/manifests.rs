//! Manifests (OCI distribution specification, "Pulling manifests", "Pushing Manifests", "Deleting tags").

use super::{
    failure::{Failure, Result},
    registry::{Call, Registry},
};
use crate::protocol::{
    error::ErrorCode,
    header::{CONTENT_DIGEST, SUBJECT, TAG},
    route::Route,
};
use http::{HeaderValue, StatusCode, header};
use modelpack_server::{Answer, Delete, Permission, Permitted, Pull, Push, Response};
use modelpack_spec::{Algorithm, Digest, MAX_MANIFEST_BYTES, Manifest, RepositoryName, Selector, Tag, needed_by};
use modelpack_store::{BlobWriter, StoredManifest};
use modelpack_transfer::{Error, Upload, verify_bytes};
use std::future::pending;

impl Registry {
    /// Clients ask before a push, and send no part of a manifest that exists. So a manifest with a
    /// missing blob is reported as not existing, and the client pushes all of it again.
    pub(super) async fn head_manifest(&self, repository: &Permitted<Pull>, at: &Selector) -> Result<Response> {
        let manifest = stored(repository, at).await?;
        let answer = found(repository, at, &manifest)?.header(header::CONTENT_LENGTH, manifest.size).done();
        let needed = {
            let _memory = self.manifest_memory(manifest.size).await;
            let bytes = manifest.body.collect(MAX_MANIFEST_BYTES, "the manifest").await.map_err(Failure::of_read)?;
            // A manifest that cannot be parsed was not written by this registry, and names no
            // blobs.
            needed_by(&bytes).unwrap_or_default()
        };
        match repository.check_held(needed).await {
            Ok(()) => Ok(answer),
            Err(Error::MissingReference { digest, .. }) => {
                let message = format!(
                    "the manifest {}{at} is incomplete: {digest} is missing or damaged; push it again to repair it",
                    repository.name()
                );
                Err(Failure::not_found(ErrorCode::ManifestUnknown, message))
            }
            Err(e) => Err(Failure::of_read(e)),
        }
    }

    /// A stored manifest was parsed when it arrived. It is sent unchanged, so a reader needs only
    /// one buffer of memory.
    pub(super) async fn get_manifest(&self, repository: &Permitted<Pull>, at: &Selector) -> Result<Response> {
        let manifest = stored(repository, at).await?;
        let answer = found(repository, at, &manifest)?;
        Ok(answer.stored(manifest.body, manifest.size))
    }

    /// The bytes are first written to a file and parsed afterwards, few manifests at a time,
    /// because there may be many slow senders.
    pub(super) async fn put_manifest(&self, repository: &Permitted<Push>, at: &Selector, call: Call) -> Result<Response> {
        let invalid_tag = |e: modelpack_spec::InvalidReference| Failure::bad_request(ErrorCode::ManifestInvalid, e.to_string());
        let tags: Vec<Tag> = call.query.all("tag").map(str::parse).collect::<Result<_, _>>().map_err(invalid_tag)?;
        let media_type = call.header(header::CONTENT_TYPE).map(|t| t.split(';').next().unwrap_or(t).trim().to_owned());
        let algorithm = at.digest().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut spooled = self.repositories().storing(repository.spool(algorithm)).await?;
        receive(call, &mut spooled).await?;

        let _memory = self.manifest_memory(spooled.len()).await;
        // The bytes were just written, so they are in the page cache. Reading them on another
        // thread would leave that much memory with the thread's allocator.
        let bytes = spooled.read_back()?;
        if let Some(digest) = at.digest() {
            verify_bytes("the manifest", &bytes, digest)?;
        }
        let manifest = Manifest::parse(bytes, media_type.as_deref().filter(|t| !t.is_empty()))?;
        let manifest = match at.digest() {
            Some(digest) => manifest.with_digest(digest.clone()),
            None => manifest,
        };
        let _lease = self.hold(repository).await?;
        // Tags in the query of a push by tag would be ambiguous. The specification has them for a
        // push by digest only.
        let tags = if at.tag().is_some() { Vec::new() } else { tags };
        let tagged = tags.iter().map(|tag| Selector::Both(tag.clone(), manifest.digest().clone()));
        let all_at: Vec<Selector> = if tags.is_empty() { vec![at.clone()] } else { tagged.collect() };
        self.repositories().storing(repository.put_spooled(&all_at, &manifest, spooled)).await?;
        let location = Route::Manifest(repository.name().clone(), Selector::Digest(manifest.digest().clone()));
        let mut answer = Answer::new(StatusCode::CREATED).header(header::LOCATION, location).header(CONTENT_DIGEST, manifest.digest());
        if let Some(subject) = manifest.subject() {
            answer = answer.header(SUBJECT, &subject.digest);
        }
        Ok(tags.iter().fold(answer, |answer, tag| answer.header(TAG, tag)).done())
    }

    /// A tag: deletes the tag alone. A digest: deletes the manifest with all its tags.
    pub(super) async fn delete_manifest(&self, repository: &Permitted<Delete>, at: &Selector) -> Result<Response> {
        let was_there = match at {
            Selector::Tag(tag) => repository.delete_tag(tag).await?,
            Selector::Digest(digest) | Selector::Both(_, digest) => repository.delete_manifest(digest).await?,
        };
        if was_there { Ok(Answer::new(StatusCode::ACCEPTED).done()) } else { Err(unknown_manifest(repository, at)) }
    }
}

async fn stored(repository: &Permitted<Pull>, at: &Selector) -> Result<StoredManifest> {
    match repository.stored_manifest(at).await {
        Ok(manifest) => Ok(manifest),
        // The digest may be that of a blob that is not a manifest.
        Err(Error::NotFound { .. } | Error::InvalidManifest { .. }) => Err(unknown_manifest(repository, at)),
        // As with a damaged blob, the manifest is reported as not existing, so that the client
        // pushes it again and repairs it. After another error the client would give up.
        Err(Error::WrongDigest { .. } | Error::WrongSize { .. }) => {
            let message = format!("the registry's copy of the manifest {}{at} is damaged; push it again to repair it", repository.name());
            Err(Failure::not_found(ErrorCode::ManifestUnknown, message))
        }
        Err(e) => Err(Failure::of_read(e)),
    }
}

/// The headers of the response with a manifest.
fn found(repository: &Permitted<Pull>, at: &Selector, manifest: &StoredManifest) -> Result<Answer> {
    let media_type = HeaderValue::try_from(&manifest.media_type).map_err(|_| unknown_manifest(repository, at))?;
    Ok(Answer::new(StatusCode::OK).header(CONTENT_DIGEST, &manifest.digest).media_type(media_type))
}

fn unknown_manifest(repository: &Permitted<impl Permission>, at: &Selector) -> Failure {
    let name = repository.name();
    if repository.exists() {
        Failure::not_found(ErrorCode::ManifestUnknown, format!("the manifest {name}{at} does not exist"))
    } else {
        unknown_name(name)
    }
}

/// Writes the body of a manifest to a file. The status is `413` if the body is too large, whatever
/// length the client declared.
async fn receive(call: Call, spooled: &mut BlobWriter) -> Result<()> {
    const LIMIT: u64 = MAX_MANIFEST_BYTES as u64;
    let too_large = || {
        let message = format!("the manifest is larger than the limit of {LIMIT} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
    };
    if call.body.len().is_some_and(|len| len > LIMIT) {
        return Err(too_large());
    }
    match spooled.write(call.body.into_body(Some(LIMIT), pending())).await {
        Err(Error::WrongSize { .. }) => Err(too_large()),
        written => Ok(written?),
    }
}

pub(super) fn unknown_name(name: &RepositoryName) -> Failure {
    Failure::not_found(ErrorCode::NameUnknown, format!("the repository {name} does not exist"))
}
