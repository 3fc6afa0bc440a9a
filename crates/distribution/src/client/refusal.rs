//! What a registry means when it refuses a request (OCI distribution specification, "Error Codes").

use crate::protocol::{
    error::{ErrorBody, ErrorCode},
    route::Route,
};
use http::StatusCode;
use modelpack_http::{ErrorAnswer, Meaning};
use modelpack_spec::Digest;
use modelpack_transfer::Error;

/// What an error answer of `registry`, or of its token service, says; nothing if its body is not in the format of the specification.
pub(crate) fn meaning(registry: &str, answer: &ErrorAnswer<'_>) -> Meaning {
    let Ok(ErrorBody { errors }) = serde_json::from_str(answer.text) else { return Meaning::default() };
    let why = errors.iter().map(|e| [&*e.code, &*e.message].join(": ")).collect::<Vec<_>>().join("; ");
    let is_missing_blob = errors.iter().any(|e| e.code == ErrorCode::ManifestBlobUnknown.name());
    let missing_blob = || {
        let Ok(Route::Manifest(repository, _)) = Route::parse(answer.url.path()) else { return None };
        let digest = find_digest(answer.text)?;
        Some(Error::MissingReference { digest, repository: format!("{registry}/{repository}") })
    };
    Meaning { why: Some(why), error: is_missing_blob.then(missing_blob).flatten() }
}

/// Whether this is how registries say that they do not know a request.
pub(crate) fn is_unsupported(status: u16) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED].iter().any(|known| known.as_u16() == status)
}

/// Registries put the digest of a missing blob into the message or the detail, each in its own way.
fn find_digest(text: &str) -> Option<Digest> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_wherever_it_stands() {
        let digest = Digest::of(b"x");
        for text in [
            format!(r#"{{"errors":[{{"detail":"{digest}"}}]}}"#),
            format!(r#"{{"errors":[{{"detail":{{"digest":"{digest}"}}}}]}}"#),
            format!("blob {digest}."),
        ] {
            assert_eq!(find_digest(&text).as_ref(), Some(&digest), "{text}");
        }
        assert_eq!(find_digest("sha256:12"), None);
    }
}
