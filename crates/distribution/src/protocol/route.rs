//! The paths of the API: the only code that parses and prints them.

use super::{error::ErrorCode, query};
use modelpack_spec::{Digest, InvalidDigest, InvalidReference, RepositoryName, Selector};
use std::fmt;

/// A path of the API (OCI distribution specification, "Endpoints").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Version,
    /// `/v2/_catalog`, which the specification does not have but tools expect.
    Catalog,
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, String),
    /// `/v2/<name>/manifests/<tag-or-digest>`
    Manifest(RepositoryName, Selector),
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
}

impl Route {
    /// Parses the path of a request, without its query. A repository name contains slashes, so the
    /// path is parsed from its end.
    pub(crate) fn parse(path: &str) -> Result<Self, InvalidRoute> {
        let path = query::decode(path).ok_or(InvalidRoute::Unknown)?;
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Version),
            Some("/_catalog") => return Ok(Self::Catalog),
            Some(rest) => rest.strip_prefix('/').ok_or(InvalidRoute::Unknown)?,
            None => return Err(InvalidRoute::Unknown),
        };
        let name = |name: &str| RepositoryName::without_host(name).map_err(InvalidRoute::Name);
        if let Some(of) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name(of)?));
        }
        let (before, last) = rest.rsplit_once('/').ok_or(InvalidRoute::Unknown)?;
        if let Some(of) = before.strip_suffix("/manifests") {
            Ok(Self::Manifest(name(of)?, selector(last)?))
        } else if let Some(of) = before.strip_suffix("/referrers") {
            Ok(Self::Referrers(name(of)?, last.parse().map_err(InvalidRoute::Digest)?))
        } else if let Some(of) = before.strip_suffix("/blobs/uploads") {
            Ok(if last.is_empty() { Self::Uploads(name(of)?) } else { Self::Upload(name(of)?, last.to_owned()) })
        } else if let Some(of) = before.strip_suffix("/blobs") {
            Ok(if last == "uploads" {
                Self::Uploads(name(of)?)
            } else {
                Self::Blob(name(of)?, last.parse().map_err(InvalidRoute::Digest)?)
            })
        } else {
            Err(InvalidRoute::Unknown)
        }
    }
}

fn selector(text: &str) -> Result<Selector, InvalidRoute> {
    if text.contains(':') {
        text.parse().map(Selector::Digest).map_err(InvalidRoute::Digest)
    } else {
        text.parse().map(Selector::Tag).map_err(InvalidRoute::Tag)
    }
}

impl fmt::Display for Route {
    /// The path. A selector with tag and digest is printed as its digest, because a request can
    /// contain only one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => write!(f, "/v2/"),
            Self::Catalog => write!(f, "/v2/_catalog"),
            Self::Blob(name, digest) => write!(f, "/v2/{}/blobs/{digest}", name.path()),
            Self::Uploads(name) => write!(f, "/v2/{}/blobs/uploads/", name.path()),
            Self::Upload(name, id) => write!(f, "/v2/{}/blobs/uploads/{id}", name.path()),
            Self::Manifest(name, Selector::Digest(digest) | Selector::Both(_, digest)) => {
                write!(f, "/v2/{}/manifests/{digest}", name.path())
            }
            Self::Manifest(name, Selector::Tag(tag)) => write!(f, "/v2/{}/manifests/{tag}", name.path()),
            Self::Tags(name) => write!(f, "/v2/{}/tags/list", name.path()),
            Self::Referrers(name, digest) => write!(f, "/v2/{}/referrers/{digest}", name.path()),
        }
    }
}

/// The path is not a path of the API.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRoute {
    #[error("the registry has no such path")]
    Unknown,
    #[error(transparent)]
    Name(InvalidReference),
    #[error(transparent)]
    Tag(InvalidReference),
    #[error(transparent)]
    Digest(InvalidDigest),
}

impl InvalidRoute {
    /// The error code for the response.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::Unsupported,
            Self::Name(_) => ErrorCode::NameInvalid,
            Self::Tag(_) => ErrorCode::ManifestInvalid,
            Self::Digest(_) => ErrorCode::DigestInvalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::without_host(text).unwrap()
    }

    #[test]
    fn printed_paths_are_parsed_unchanged() {
        let digest = Digest::of(b"");
        for route in [
            Route::Version,
            Route::Catalog,
            Route::Blob(name("a"), digest.clone()),
            Route::Uploads(name("a/b/c")),
            Route::Upload(name("a/b"), "0e7c".into()),
            Route::Manifest(name("a/b"), Selector::Tag("v1".parse().unwrap())),
            Route::Manifest(name("a/b"), Selector::Digest(digest.clone())),
            Route::Tags(name("a/b")),
            Route::Referrers(name("a/b"), digest.clone()),
        ] {
            assert_eq!(Route::parse(&route.to_string()).unwrap(), route);
        }
        assert_eq!(Route::parse("/v2").unwrap(), Route::Version);
        assert_eq!(Route::parse("/v2/a/blobs/uploads").unwrap(), Route::Uploads(name("a")));
        let escaped = format!("/v2/a%2Fb/blobs/{}", digest.to_string().replace(':', "%3A"));
        assert_eq!(Route::parse(&escaped).unwrap(), Route::Blob(name("a/b"), digest));
    }

    #[test]
    fn names_may_contain_path_segments_of_the_api() {
        let digest = Digest::of(b"");
        let odd = name("blobs/uploads/manifests/tags/list/v2");
        assert_eq!(Route::parse(&format!("/v2/{odd}/blobs/{digest}")).unwrap(), Route::Blob(odd.clone(), digest));
        assert_eq!(Route::parse(&format!("/v2/{odd}/tags/list")).unwrap(), Route::Tags(odd.clone()));
        assert_eq!(
            Route::parse(&format!("/v2/{odd}/manifests/list")).unwrap(),
            Route::Manifest(odd, Selector::Tag("list".parse().unwrap()))
        );
    }

    #[test]
    fn errors_in_paths_are_distinguished() {
        for (path, code) in [
            ("/", ErrorCode::Unsupported),
            ("/v1/", ErrorCode::Unsupported),
            ("/v2x", ErrorCode::Unsupported),
            ("/v2/a", ErrorCode::Unsupported),
            ("/v2/a/b/c", ErrorCode::Unsupported),
            ("/v2/%zz/tags/list", ErrorCode::Unsupported),
            ("/v2/UPPER/tags/list", ErrorCode::NameInvalid),
            ("/v2/a/../b/tags/list", ErrorCode::NameInvalid),
            ("/v2//tags/list", ErrorCode::NameInvalid),
            ("/v2/a/blobs/sha256:../../x", ErrorCode::Unsupported),
            ("/v2/a/blobs/sha256:12", ErrorCode::DigestInvalid),
            ("/v2/a/referrers/x", ErrorCode::DigestInvalid),
            ("/v2/a/manifests/sha256:baddigeststring", ErrorCode::DigestInvalid),
            ("/v2/a/manifests/.hidden", ErrorCode::ManifestInvalid),
            ("/v2/a/manifests/", ErrorCode::ManifestInvalid),
        ] {
            assert_eq!(Route::parse(path).unwrap_err().code(), code, "{path}");
        }
    }
}
