//! Reading and deleting blobs (OCI distribution specification, "Pulling blobs", "Deleting Blobs").

use super::{
    failure::{Failure, Result},
    registry::{Call, Registry},
};
use crate::protocol::{error::ErrorCode, header::CONTENT_DIGEST};
use http::{HeaderValue, StatusCode, header};
use modelpack_http::range::{self, Requested};
use modelpack_server::{Answer, Delete, Permitted, Pull, Response};
use modelpack_spec::{Descriptor, Digest, RepositoryName};
use modelpack_transfer::Source;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Registry {
    pub(super) async fn head_blob(&self, repository: &Permitted<Pull>, digest: &Digest) -> Result<Response> {
        // A request for a blob that does not exist must not create the repository.
        blob_size(repository, digest).await?;
        // The client may be in the middle of a push, and will not push a blob that exists. So the
        // blob is protected until the manifest arrives. An error is ignored: a store that cannot be
        // written accepts no manifest either.
        let _ = self.hold(repository).await;
        let size = blob_size(repository, digest).await?;
        Ok(blob(StatusCode::OK, digest).header(header::CONTENT_LENGTH, size).done())
    }

    pub(super) async fn get_blob(&self, repository: &Permitted<Pull>, digest: &Digest, call: &Call) -> Result<Response> {
        let size = blob_size(repository, digest).await?;
        // With `If-Range`, the whole blob is requested unless a validator matches, and this
        // registry sends no validators.
        let asked = call.header(header::RANGE).filter(|_| !call.headers.contains_key(header::IF_RANGE));
        let (answer, wanted) = match asked.map_or(Requested::Whole, |asked| range::parse_request(asked, size)) {
            Requested::Whole => (blob(StatusCode::OK, digest), 0..size),
            Requested::Part(part) => {
                let answer = blob(StatusCode::PARTIAL_CONTENT, digest);
                (answer.header(header::CONTENT_RANGE, range::print_response(&part, size)), part)
            }
            Requested::Unsatisfiable => {
                let message = format!("the blob has {size} bytes, none of which is in the requested range");
                let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message);
                return Err(failure.header(header::CONTENT_RANGE, range::print_unsatisfiable(size)));
            }
        };
        let len = wanted.end - wanted.start;
        let read = repository.blob(&Descriptor::new("", digest.clone(), size), wanted).await;
        // The blob may have been deleted since its size was read.
        let body = read.map_err(|e| if e.is_not_found() { unknown(repository.name(), digest) } else { Failure::of_read(e) })?;
        Ok(answer.stored(body, len))
    }

    pub(super) async fn delete_blob(&self, repository: &Permitted<Delete>, digest: &Digest) -> Result<Response> {
        if repository.delete_blob(digest).await? {
            Ok(Answer::new(StatusCode::ACCEPTED).done())
        } else {
            Err(unknown(repository.name(), digest))
        }
    }
}

async fn blob_size(repository: &Permitted<Pull>, digest: &Digest) -> Result<u64> {
    repository.blob_size(digest).await?.ok_or_else(|| unknown(repository.name(), digest))
}

fn blob(status: StatusCode, digest: &Digest) -> Answer {
    Answer::new(status).header(CONTENT_DIGEST, digest).media_type(MEDIA_TYPE).header(header::ACCEPT_RANGES, "bytes")
}

fn unknown(name: &RepositoryName, digest: &Digest) -> Failure {
    Failure::not_found(ErrorCode::BlobUnknown, format!("{name} has no blob {digest}"))
}
