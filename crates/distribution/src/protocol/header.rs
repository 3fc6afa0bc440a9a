//! Header names that the specification adds to HTTP's.

use http::HeaderName;

/// The digest of the blob or manifest in a response.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The digest of the subject, in the response to the push of a manifest with a subject.
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// A tag that was set by a push by digest.
pub(crate) const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// The filters that were applied to a list of referrers.
pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// The minimum length of a chunk, in the response that opens an upload session.
pub(crate) const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
