//! The JSON body of an error response (OCI distribution specification, "Error Codes").

use serde::{Deserialize, Serialize};

/// The error codes of this registry. The specification's other codes (`UNAUTHORIZED`,
/// `TOOMANYREQUESTS`) are for registries with users and quotas. The client handles codes of other
/// registries as text, including codes outside the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    Denied,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unsupported,
    /// A failure of the registry itself. The specification has no code for it; other registries use
    /// this one.
    Unknown,
}

impl ErrorCode {
    /// The code's name in an error body.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::Denied => "DENIED",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The body of an error response.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) errors: Vec<ErrorEntry>,
}

/// One error in a body.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorEntry {
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

impl ErrorBody {
    /// A body with one error.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { errors: vec![ErrorEntry { code: code.name().to_owned(), message: message.into() }] }
    }

    /// The body as JSON.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings always serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_has_the_format_of_the_specification() {
        let body = ErrorBody::new(ErrorCode::BlobUnknown, "it is \"gone\"");
        assert_eq!(body.to_bytes(), br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"it is \"gone\""}]}"#);
        assert_eq!(serde_json::from_slice::<ErrorBody>(&body.to_bytes()).unwrap(), body);
    }

    #[test]
    fn bodies_of_other_registries_are_read() {
        let body: ErrorBody = serde_json::from_str(r#"{"errors":[{"code":"TAG_INVALID","detail":{"a":1}}]}"#).unwrap();
        assert_eq!(body.errors[0].code, "TAG_INVALID");
        assert_eq!(body.errors[0].message, "");
    }
}
