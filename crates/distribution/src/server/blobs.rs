//! Blobs that are read and deleted (OCI distribution specification, "Pulling blobs", "Deleting Blobs").

use super::{
    registry::{Call, Registry},
    response::{Answer, Failure, Response, Result},
};
use crate::protocol::{
    error::ErrorCode,
    range::{self, Requested},
};
use http::{HeaderValue, StatusCode, header};
use modelpack_spec::{Descriptor, Digest, RepositoryName};
use modelpack_store::Source;

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

impl Registry {
    async fn blob_size(&self, name: &RepositoryName, digest: &Digest) -> Result<u64> {
        self.repository(name).blob_size(digest).await?.ok_or_else(|| unknown(name, digest))
    }

    pub(super) async fn head_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Response> {
        // A blob that is not there makes no repository.
        self.blob_size(name, digest).await?;
        // Whoever asks may be pushing, and will not push what exists: it stays until the manifest comes. A store that cannot be written
        // takes no manifest either.
        let _ = self.hold(name).await;
        let size = self.blob_size(name, digest).await?;
        Ok(blob(StatusCode::OK, digest).header(header::CONTENT_LENGTH, size).done())
    }

    pub(super) async fn get_blob(&self, name: &RepositoryName, digest: &Digest, call: &Call) -> Result<Response> {
        let size = self.blob_size(name, digest).await?;
        // `If-Range` asks for the whole unless a validator matches, and no response has had one.
        let asked = call.header(header::RANGE).filter(|_| !call.headers.contains_key(header::IF_RANGE));
        let (answer, wanted) = match asked.map_or(Requested::Whole, |asked| range::parse_request(asked, size)) {
            Requested::Whole => (blob(StatusCode::OK, digest), 0..size),
            Requested::Part(part) => {
                let answer = blob(StatusCode::PARTIAL_CONTENT, digest);
                (answer.header(header::CONTENT_RANGE, range::print_response(&part, size)), part)
            }
            Requested::Unsatisfiable => {
                let message = format!("the blob has {size} bytes, and none of them are in this range");
                let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::SizeInvalid, message);
                return Err(failure.header(header::CONTENT_RANGE, range::print_unsatisfiable(size)));
            }
        };
        let len = wanted.end - wanted.start;
        let read = self.repository(name).blob(&Descriptor::new("", digest.clone(), size), wanted).await;
        // Deleted since its size was read.
        let body = read.map_err(|e| if e.is_not_found() { unknown(name, digest) } else { Failure::of_read(e) })?;
        Ok(self.stream(answer, body, len))
    }

    pub(super) async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Response> {
        if self.repository(name).delete_blob(digest).await? {
            Ok(Answer::new(StatusCode::ACCEPTED).done())
        } else {
            Err(unknown(name, digest))
        }
    }
}

fn blob(status: StatusCode, digest: &Digest) -> Answer {
    Answer::new(status).digest(digest).media_type(MEDIA_TYPE).header(header::ACCEPT_RANGES, "bytes")
}

fn unknown(name: &RepositoryName, digest: &Digest) -> Failure {
    Failure::not_found(ErrorCode::BlobUnknown, format!("{name} has no blob {digest}"))
}
