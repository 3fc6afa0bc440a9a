//! The names of places, in skopeo's words.

use modelpack_spec::{Digest, InvalidReference, Reference, Selector, Tag};
use std::{fmt, path::PathBuf, str::FromStr};

/// Where an artifact is, or should go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `docker://HOST/NAME[:TAG][@DIGEST]`: a registry.
    Registry(Reference),
    /// `store:[HOST/]NAME[:TAG][@DIGEST]`: the local store.
    Store(Reference),
    /// `oci:PATH[:TAG|@DIGEST]`: an OCI image layout directory.
    Layout(PathBuf, Option<Selector>),
    /// `oci-archive:FILE[:TAG|@DIGEST]`: a tar archive of one.
    Archive(PathBuf, Option<Selector>),
    /// `[HOST/]NAME[:TAG][@DIGEST]`: read from the store if it is there, else from its registry; written where the verb says.
    Reference(Reference),
}

impl Place {
    /// The same place, a bare reference meaning its registry.
    pub fn or_registry(self) -> Self {
        match self {
            Self::Reference(reference) => Self::Registry(reference),
            place => place,
        }
    }

    /// The same place, a bare reference meaning the store.
    pub fn or_store(self) -> Self {
        match self {
            Self::Reference(reference) => Self::Store(reference),
            place => place,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = |s: &Option<Selector>| s.as_ref().map(ToString::to_string).unwrap_or_default();
        match self {
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Store(reference) => write!(f, "store:{reference}"),
            Self::Layout(path, at) => write!(f, "oci:{}{}", path.display(), selector(at)),
            Self::Archive(path, at) => write!(f, "oci-archive:{}{}", path.display(), selector(at)),
            Self::Reference(reference) => write!(f, "{reference}"),
        }
    }
}

impl FromStr for Place {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let reference = |rest: &str| rest.parse().map_err(InvalidPlace::Reference);
        if let Some(rest) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(reference(rest)?));
        }
        if let Some(rest) = text.strip_prefix("store:") {
            return Ok(Self::Store(reference(rest)?));
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            let (path, at) = split_path(text, rest)?;
            return Ok(Self::Archive(path, at));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, at) = split_path(text, rest)?;
            return Ok(Self::Layout(path, at));
        }
        Ok(Self::Reference(reference(text)?))
    }
}

/// `PATH`, `PATH:TAG` or `PATH@DIGEST`. A `:` or `@` that no tag or digest follows is part of the path.
fn split_path(text: &str, rest: &str) -> Result<(PathBuf, Option<Selector>), InvalidPlace> {
    let digest = rest.rsplit_once('@').and_then(|(path, digest)| Some((path, Selector::Digest(digest.parse::<Digest>().ok()?))));
    let tag = || rest.rsplit_once(':').and_then(|(path, tag)| Some((path, Selector::Tag(tag.parse::<Tag>().ok()?))));
    let (path, at) = match digest.or_else(tag) {
        Some((path, at)) => (path, Some(at)),
        None => (rest, None),
    };
    if path.is_empty() {
        return Err(InvalidPlace::NoPath(text.to_owned()));
    }
    Ok((PathBuf::from(path), at))
}

/// The text names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPlace {
    /// The reference does not parse.
    #[error(transparent)]
    Reference(InvalidReference),
    /// `oci:` or `oci-archive:` without a path.
    #[error("{0:?} names no path")]
    NoPath(String),
    /// A registry is meant, and the reference names none.
    #[error("{0} names no registry: put its host before the name, as in registry.example.com/{0}")]
    NoRegistry(Reference),
    /// A tag is wanted.
    #[error("{0} names no tag")]
    NoTag(Reference),
    /// `pull` reads a registry.
    #[error("{0} is not in a registry: `pull` takes a reference; `cp` copies from any place to any other")]
    NotARegistry(String),
    /// `push`, `tag` and `remove` read the store.
    #[error("{0} is not in the store: expected a reference; `cp` copies from any place to any other")]
    NotStored(String),
    /// Neither the store nor, for want of a host, a registry has it.
    #[error("{0} is not in the store, and names no registry to ask")]
    Unknown(Reference),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_and_print_as_they_were() {
        let digest = Digest::of(b"");
        for text in [
            "docker://localhost:5000/a:v1",
            "store:a:v1",
            "oci:some/dir",
            "oci:some/dir:v1",
            "oci:/tmp/a:b/dir:v1",
            &format!("oci:dir@{digest}"),
            "oci-archive:model.tar:v1",
            "oci-archive:model.tar",
            "localhost:5000/a:v1",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        assert_eq!("oci:/a:b/dir".parse(), Ok(Place::Layout("/a:b/dir".into(), None)), "what holds a slash is no tag");
        assert!(matches!("a/b:v1".parse(), Ok(Place::Reference(_))));
        for bad in ["oci:", "oci-archive::v1", "docker://", "store:", "UPPER"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
