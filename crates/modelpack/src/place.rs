//! The names of places, with the prefixes of skopeo.

use modelpack_spec::{Digest, InvalidReference, Reference, Tag};
use modelpack_store::{EntrySelector, Layout};
use serde::{Serialize, Serializer};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

/// The place of an artifact, as source or destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// `docker://HOST/NAME[:TAG][@DIGEST]`: a registry.
    Registry(Reference),
    /// `store:[HOST/]NAME[:TAG][@DIGEST]`: the local store.
    Store(Reference),
    /// `oci:PATH[:NAME][@DIGEST]`: an OCI image layout directory.
    Layout(PathBuf, Option<EntrySelector>),
    /// `oci-archive:FILE[:NAME][@DIGEST]`: a tar archive of an image layout.
    Archive(PathBuf, Option<EntrySelector>),
    /// `[HOST/]NAME[:TAG][@DIGEST]`: read from the store if it is there, else from its registry.
    /// Each operation defines where it writes.
    Reference(Reference),
}

impl Place {
    /// The same place; a bare reference means its registry.
    pub fn or_registry(self) -> Self {
        match self {
            Self::Reference(reference) => Self::Registry(reference),
            place => place,
        }
    }

    /// The same place; a bare reference means the store.
    pub fn or_store(self) -> Self {
        match self {
            Self::Reference(reference) => Self::Store(reference),
            place => place,
        }
    }

    /// Whether both are in one repository, layout or archive.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Registry(a), Self::Registry(b)) | (Self::Store(a), Self::Store(b)) => a.repository == b.repository,
            (Self::Layout(a, _), Self::Layout(b, _)) | (Self::Archive(a, _), Self::Archive(b, _)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = |s: &Option<EntrySelector>| s.as_ref().map(ToString::to_string).unwrap_or_default();
        match self {
            Self::Registry(reference) => write!(f, "docker://{reference}"),
            Self::Store(reference) => write!(f, "store:{reference}"),
            Self::Layout(path, at) => write!(f, "oci:{}{}", path.display(), selector(at)),
            Self::Archive(path, at) => write!(f, "oci-archive:{}{}", path.display(), selector(at)),
            Self::Reference(reference) => write!(f, "{reference}"),
        }
    }
}

/// Prints the text from which it is parsed.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The path of a layout or archive may contain `:`, and so may the name after it. The file system
/// decides where the path ends: at the longest path with an existing layout (or archive). If none
/// exists, the path ends at the first `:` after the existing directories. A `:` without a valid tag
/// after it, as in `/a:b/dir`, is a part of the path.
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
            let (path, at) = split_path(text, rest, Path::is_file)?;
            return Ok(Self::Archive(path, at));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, at) = split_path(text, rest, |path| Layout::at(path).exists())?;
            return Ok(Self::Layout(path, at));
        }
        Ok(Self::Reference(reference(text)?))
    }
}

/// Splits `PATH[:NAME][@DIGEST]`. `is_there` checks whether a path is an existing layout or
/// archive.
fn split_path(text: &str, rest: &str, is_there: impl Fn(&Path) -> bool) -> Result<(PathBuf, Option<EntrySelector>), InvalidPlace> {
    let digest = rest.rsplit_once('@').and_then(|(before, digest)| Some((before, digest.parse::<Digest>().ok()?)));
    let (before, digest) = digest.map_or((rest, None), |(before, digest)| (before, Some(digest)));
    let (path, name) = split_name(before, is_there);
    if path.is_empty() {
        return Err(InvalidPlace::NoPath(text.to_owned()));
    }
    let at = match (name.map(str::to_owned), digest) {
        (Some(name), Some(digest)) => Some(EntrySelector::Both(name, digest)),
        (Some(name), None) => Some(EntrySelector::Name(name)),
        (None, digest) => digest.map(EntrySelector::Digest),
    };
    Ok((PathBuf::from(path), at))
}

/// Splits `PATH` or `PATH:NAME`: see [`Place::from_str`].
fn split_name(text: &str, is_there: impl Fn(&Path) -> bool) -> (&str, Option<&str>) {
    let split_at = |at: usize| (&text[..at], Some(&text[at + 1..]));
    let mut colons = text.rmatch_indices(':').map(|(at, _)| at).filter(|at| at + 1 < text.len());
    if is_there(Path::new(text)) {
        return (text, None);
    }
    if let Some(at) = colons.find(|at| is_there(Path::new(&text[..*at]))) {
        return split_at(at);
    }
    let ends_in_tag = text.rsplit_once(':').is_some_and(|(_, tag)| tag.parse::<Tag>().is_ok());
    let directories = text.rmatch_indices('/').map(|(at, _)| at + 1).find(|end| Path::new(&text[..*end]).is_dir()).unwrap_or(0);
    match text[directories..].find(':') {
        Some(first) if ends_in_tag => split_at(directories + first),
        _ => (text, None),
    }
}

/// The text is not a valid place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPlace {
    /// The reference does not parse.
    #[error(transparent)]
    Reference(InvalidReference),
    /// `oci:` or `oci-archive:` without a path.
    #[error("{0:?} has no path")]
    NoPath(String),
    /// A registry is needed, but the reference has no host.
    #[error("{0} has no registry; put its host before the name, as in registry.example.com/{0}")]
    NoRegistry(Reference),
    /// A tag is needed.
    #[error("{0} has no tag")]
    NoTag(Reference),
    /// `pull` reads a registry.
    #[error("{0} is not in a registry: `pull` takes a reference; `cp` copies from any place to any other")]
    NotARegistry(String),
    /// `push`, `tag` and `remove` read the store.
    #[error("{0} is not in the store: expected a reference; `cp` copies from any place to any other")]
    NotStored(String),
    /// `ls` needs a store, a repository, a registry, a layout or an archive.
    #[error("{0} cannot be listed: expected NAME, HOST/NAME, HOST/, oci:PATH or oci-archive:FILE, without a tag or digest")]
    NotListed(String),
    /// The store does not have it, and without a host there is no registry for it.
    #[error("{0} is not in the store, and has no registry")]
    Unknown(Reference),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_parsed_and_printed_unchanged() {
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
        assert_eq!("oci:/a:b/dir".parse(), Ok(Place::Layout("/a:b/dir".into(), None)), "a text with a slash is not a tag");
        assert!(matches!("a/b:v1".parse(), Ok(Place::Reference(_))));
        let both = format!("oci:dir:v1@{digest}");
        let at = EntrySelector::Both("v1".into(), digest);
        assert_eq!(both.parse(), Ok(Place::Layout("dir".into(), Some(at))), "a name and a digest");
        for bad in ["oci:", "oci-archive::v1", "docker://", "store:", "UPPER"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn existing_files_determine_where_the_path_ends() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path).to_str().unwrap().to_owned();
        let layout = |path: &str| {
            std::fs::create_dir_all(at(path)).unwrap();
            std::fs::write(at(path) + "/oci-layout", "{}").unwrap();
        };
        let expect = |text: &str, path: &str, name: &str| {
            let name = Some(EntrySelector::Name(name.to_owned())).filter(|_| !name.is_empty());
            assert_eq!(format!("oci:{}", at(text)).parse(), Ok(Place::Layout(at(path).into(), name)), "{text}");
        };
        // No file exists yet.
        expect("dir:v1", "dir", "v1");
        expect("dir:team/x:v1", "dir", "team/x:v1");
        expect("dir:localhost:5000/x:v1", "dir", "localhost:5000/x:v1");
        expect("a:b/dir", "a:b/dir", "");
        expect("new/sub/dir:v1", "new/sub/dir", "v1");
        layout("dir");
        expect("dir:team/x:v1", "dir", "team/x:v1");
        expect("dir:any text/without/tag", "dir", "any text/without/tag");
        expect("dir", "dir", "");
        std::fs::create_dir(at("a:b")).unwrap();
        expect("a:b/dir:v1", "a:b/dir", "v1");
        expect("a:b/dir:team/x:v1", "a:b/dir", "team/x:v1");
        layout("a:b/dir");
        expect("a:b/dir", "a:b/dir", "");
        expect("a:b/dir:v1", "a:b/dir", "v1");
        // This directory is not a layout, and the longest path with a layout wins.
        std::fs::create_dir(at("a")).unwrap();
        expect("a:b/dir:v1", "a:b/dir", "v1");
        layout("a");
        expect("a:b/dir:v1", "a:b/dir", "v1");
        expect("a:b/other:v1", "a", "b/other:v1");
        std::fs::write(at("m:1.tar"), "").unwrap();
        let archive = format!("oci-archive:{}", at("m:1.tar:team/x:v1"));
        assert_eq!(archive.parse(), Ok(Place::Archive(at("m:1.tar").into(), Some(EntrySelector::Name("team/x:v1".into())))));
    }
}
