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
    /// Whoever pushes asks first, and sends nothing of a manifest that exists. So one of which something is missing does not exist here,
    /// and is pushed again as a whole.
    pub(super) async fn head_manifest(&self, repository: &Permitted<Pull>, at: &Selector) -> Result<Response> {
        let manifest = stored(repository, at).await?;
        let answer = found(repository, at, &manifest)?.header(header::CONTENT_LENGTH, manifest.size).done();
        let needed = {
            let _memory = self.manifest_memory(manifest.size).await;
            let bytes = manifest.body.collect(MAX_MANIFEST_BYTES, "the manifest").await.map_err(Failure::of_read)?;
            // What cannot be read was not written by this registry, and names nothing.
            needed_by(&bytes).unwrap_or_default()
        };
        match repository.check_held(needed).await {
            Ok(()) => Ok(answer),
            Err(Error::MissingReference { digest, .. }) => {
                let message = format!(
                    "the registry has not all of manifest {}{at}: {digest} is missing or damaged; a push mends it",
                    repository.name()
                );
                Err(Failure::not_found(ErrorCode::ManifestUnknown, message))
            }
            Err(e) => Err(Failure::of_read(e)),
        }
    }

    /// What is stored was parsed when it came, and is handed on as it is, so that a reader costs no more than a buffer.
    pub(super) async fn get_manifest(&self, repository: &Permitted<Pull>, at: &Selector, call: &Call) -> Result<Response> {
        let manifest = stored(repository, at).await?;
        let answer = found(repository, at, &manifest)?;
        Ok(answer.stream(manifest.body.into_pieces(call.piece), manifest.size))
    }

    /// The bytes go to a file first. Only then are they parsed, few at a time: senders may be many, and slow.
    pub(super) async fn put_manifest(&self, repository: &Permitted<Push>, at: &Selector, call: Call) -> Result<Response> {
        let invalid_tag = |e: modelpack_spec::InvalidReference| Failure::bad_request(ErrorCode::ManifestInvalid, e.to_string());
        let tags: Vec<Tag> = call.query.all("tag").map(str::parse).collect::<Result<_, _>>().map_err(invalid_tag)?;
        let media_type = call.header(header::CONTENT_TYPE).map(|t| t.split(';').next().unwrap_or(t).trim().to_owned());
        let algorithm = at.digest().map_or(Algorithm::Sha256, Digest::algorithm);
        let mut spooled = self.repositories().storing(repository.spool(algorithm)).await?;
        receive(call, &mut spooled).await?;

        let _memory = self.manifest_memory(spooled.len()).await;
        // What was written just now is in memory. A thread of its own would leave as much with its allocator as it reads.
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
        // Tags of a push by tag would be ambiguous; the specification has them for a push by digest only.
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

    /// Of a tag, the tag alone; of a digest, the manifest with all its tags.
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
        // A digest may be that of a blob, which is no manifest.
        Err(Error::NotFound { .. } | Error::InvalidManifest { .. }) => Err(unknown_manifest(repository, at)),
        // As with a damaged blob: what is not there is pushed again, which mends it. A client that is told of an error gives up.
        Err(Error::WrongDigest { .. } | Error::WrongSize { .. }) => {
            let message = format!("the registry's copy of manifest {}{at} is damaged; a push mends it", repository.name());
            Err(Failure::not_found(ErrorCode::ManifestUnknown, message))
        }
        Err(e) => Err(Failure::of_read(e)),
    }
}

/// The head of the answer that hands a manifest on.
fn found(repository: &Permitted<Pull>, at: &Selector, manifest: &StoredManifest) -> Result<Answer> {
    let media_type = HeaderValue::try_from(&manifest.media_type).map_err(|_| unknown_manifest(repository, at))?;
    Ok(Answer::new(StatusCode::OK).header(CONTENT_DIGEST, &manifest.digest).media_type(media_type))
}

fn unknown_manifest(repository: &Permitted<impl Permission>, at: &Selector) -> Failure {
    let name = repository.name();
    if repository.exists() {
        Failure::not_found(ErrorCode::ManifestUnknown, format!("there is no manifest {name}{at}"))
    } else {
        unknown_name(name)
    }
}

/// Writes the body of a manifest; `413` if it is too large, whatever the client said before.
async fn receive(call: Call, spooled: &mut BlobWriter) -> Result<()> {
    const LIMIT: u64 = MAX_MANIFEST_BYTES as u64;
    let too_large = || {
        let message = format!("a manifest may have {LIMIT} bytes, and this one has more");
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
    Failure::not_found(ErrorCode::NameUnknown, format!("there is no repository {name}"))
}
