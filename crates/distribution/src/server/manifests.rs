//! Manifests (OCI distribution specification, "Pulling manifests", "Pushing Manifests", "Deleting tags").

use super::{
    registry::{Call, Registry},
    response::{Answer, Failure, Response, Result},
};
use crate::protocol::{
    error::ErrorCode,
    header::{SUBJECT, TAG},
    route::Route,
};
use http::{HeaderValue, StatusCode, header};
use modelpack_spec::{MAX_MANIFEST_BYTES, Manifest, RepositoryName, Selector, Tag};
use modelpack_store::{Error, Sink, Source, verify_bytes};

impl Registry {
    /// `GET` and `HEAD`.
    pub(super) async fn get_manifest(&self, name: &RepositoryName, at: &Selector) -> Result<Response> {
        let manifest = match self.repository(name).manifest(at).await {
            Ok(manifest) => manifest,
            // A digest may be that of a blob, which is no manifest.
            Err(Error::NotFound { .. } | Error::InvalidManifest { .. }) => return Err(self.unknown_manifest(name, at)),
            Err(e) => return Err(Failure::of_read(e)),
        };
        let media_type = HeaderValue::try_from(manifest.media_type()).map_err(|_| self.unknown_manifest(name, at))?;
        Ok(Answer::new(StatusCode::OK).digest(manifest.digest()).bytes(media_type, manifest.bytes().to_vec()))
    }

    pub(super) async fn put_manifest(&self, name: &RepositoryName, at: &Selector, call: Call) -> Result<Response> {
        let invalid_tag = |e: modelpack_spec::InvalidReference| Failure::bad_request(ErrorCode::ManifestInvalid, e.to_string());
        let tags: Vec<Tag> = call.query.all("tag").map(str::parse).collect::<Result<_, _>>().map_err(invalid_tag)?;
        let media_type = call.header(header::CONTENT_TYPE).map(|t| t.split(';').next().unwrap_or(t).trim().to_owned());
        let bytes = call.body.collect(MAX_MANIFEST_BYTES).await?;
        if let Some(digest) = at.digest() {
            verify_bytes("the manifest", &bytes, digest)?;
        }
        let manifest = Manifest::parse(bytes, media_type.as_deref().filter(|t| !t.is_empty()))?;
        let manifest = match at.digest() {
            Some(digest) => manifest.with_digest(digest.clone()),
            None => manifest,
        };
        let _lease = self.leases.hold(name).await?;
        let repository = self.repository(name);
        // Tags of a push by tag would be ambiguous; the specification has them for a push by digest only.
        let tags = if at.tag().is_some() { Vec::new() } else { tags };
        if tags.is_empty() {
            repository.put_manifest(at, &manifest).await?;
        }
        for tag in &tags {
            repository.put_manifest(&Selector::Both(tag.clone(), manifest.digest().clone()), &manifest).await?;
        }
        let location = Route::Manifest(name.clone(), Selector::Digest(manifest.digest().clone()));
        let mut answer = Answer::new(StatusCode::CREATED).header(header::LOCATION, location).digest(manifest.digest());
        if let Some(subject) = manifest.subject() {
            answer = answer.header(SUBJECT, &subject.digest);
        }
        Ok(tags.iter().fold(answer, |answer, tag| answer.header(TAG, tag)).done())
    }

    /// Of a tag, the tag alone; of a digest, the manifest with all its tags.
    pub(super) async fn delete_manifest(&self, name: &RepositoryName, at: &Selector) -> Result<Response> {
        let repository = self.repository(name);
        let was_there = match at {
            Selector::Tag(tag) => repository.delete_tag(tag).await?,
            Selector::Digest(digest) | Selector::Both(_, digest) => repository.delete_manifest(digest).await?,
        };
        if was_there { Ok(Answer::new(StatusCode::ACCEPTED).done()) } else { Err(self.unknown_manifest(name, at)) }
    }

    fn unknown_manifest(&self, name: &RepositoryName, at: &Selector) -> Failure {
        if self.repository(name).exists() {
            Failure::not_found(ErrorCode::ManifestUnknown, format!("there is no manifest {name}{at}"))
        } else {
            unknown_name(name)
        }
    }
}

pub(super) fn unknown_name(name: &RepositoryName) -> Failure {
    Failure::not_found(ErrorCode::NameUnknown, format!("there is no repository {name}"))
}
