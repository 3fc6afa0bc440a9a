//! Lists the store, a layout or an archive, the tags of a repository, or the repositories of a
//! registry.

use crate::{InvalidPlace, Modelpack, Place, Result};
use modelpack_spec::{Digest, Reference, RepositoryName, Tag};
use modelpack_store::{Archive, Entry, Layout};
use modelpack_transfer::blocking;
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

/// The target of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListTarget {
    /// `NAME`, or `store:[HOST/]NAME`: the artifacts of the local store with this name or a name
    /// below it.
    Store(RepositoryName),
    /// `oci:PATH`: the entries of an OCI image layout directory.
    Layout(PathBuf),
    /// `oci-archive:FILE`: the entries of a tar archive of an image layout.
    Archive(PathBuf),
    /// `HOST/NAME` or `docker://HOST/NAME`: the tags of a repository in its registry.
    Tags(RepositoryName),
    /// `HOST/` or `docker://HOST/`: the repositories of a registry, by its host and port.
    Repositories(String),
}

impl FromStr for ListTarget {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let not_listed = || InvalidPlace::NotListed(text.to_owned());
        let whole = |reference: &str| match reference.parse::<RepositoryName>() {
            Ok(name) => Ok(name),
            // A reference with a tag or digest is valid, but has nothing to list.
            Err(_) if reference.parse::<Reference>().is_ok() => Err(not_listed()),
            Err(e) => Err(InvalidPlace::Reference(e)),
        };
        if let Some(rest) = text.strip_prefix("store:") {
            return Ok(Self::Store(whole(rest)?));
        }
        if text.starts_with("oci:") || text.starts_with("oci-archive:") {
            return match text.parse()? {
                Place::Layout(path, None) => Ok(Self::Layout(path)),
                Place::Archive(path, None) => Ok(Self::Archive(path)),
                _ => Err(not_listed()),
            };
        }
        let rest = text.strip_prefix("docker://");
        if let Some(host) = rest.unwrap_or(text).strip_suffix('/') {
            let any = format!("{host}/any").parse::<RepositoryName>().map_err(InvalidPlace::Reference)?;
            return any
                .host()
                .filter(|found| found.eq_ignore_ascii_case(host))
                .map(|host| Self::Repositories(host.to_owned()))
                .ok_or_else(not_listed);
        }
        let name = whole(rest.unwrap_or(text))?;
        match (name.host(), rest) {
            (Some(_), _) => Ok(Self::Tags(name)),
            (None, None) => Ok(Self::Store(name)),
            (None, Some(_)) => Err(not_listed()),
        }
    }
}

/// A manifest of a layout or archive, as listed in its index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListedEntry {
    /// Its name, which may be any text; `None` if it has none.
    pub name: Option<String>,
    /// The digest of the manifest.
    pub digest: Digest,
    /// Whether it refers to another manifest, like a signature or an SBOM.
    #[serde(rename = "referrer")]
    pub is_referrer: bool,
    /// The type of the artifact, or of its config; `None` if it cannot be read, or is an index
    /// without a type.
    pub artifact_type: Option<String>,
    /// The size of config and layers in bytes; `None` if the manifest cannot be read.
    pub size: Option<u64>,
}

/// A tag of a repository in its registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListedTag {
    /// The repository with the host of its registry.
    pub repository: RepositoryName,
    /// The tag.
    pub tag: Tag,
}

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListedRepository {
    /// The repository with the host of its registry: `HOST/NAME`.
    pub repository: String,
}

impl Modelpack {
    /// The entries of the index of a layout directory, in its order.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let layout = scratch.path().join("layout");
    /// modelpack.pack(&PackRequest::new(scratch.path()), &format!("oci:{}:v1", layout.display()).parse()?).await?;
    /// let entries = modelpack.list_layout(&layout).await?;
    /// assert_eq!(entries[0].name.as_deref(), Some("v1"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_layout(&self, path: &Path) -> Result<Vec<ListedEntry>> {
        Ok(Layout::at(path).entries().await?.into_iter().map(ListedEntry::from).collect())
    }

    /// The entries of the index of an archive, in its order.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let archive = scratch.path().join("tiny.tar");
    /// modelpack.pack(&PackRequest::new(scratch.path()), &format!("oci-archive:{}", archive.display()).parse()?).await?;
    /// let entries = modelpack.list_archive(&archive).await?;
    /// assert_eq!(entries[0].name.as_deref(), Some("latest"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_archive(&self, path: &Path) -> Result<Vec<ListedEntry>> {
        let path = path.to_owned();
        let entries = blocking(move || Archive::open(&path).map(|archive| archive.entries())).await?;
        Ok(entries.into_iter().map(ListedEntry::from).collect())
    }

    /// The tags of a repository in its registry, in the registry's order. Entries that are not
    /// valid tags are left out, with a notice.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// for listed in modelpack.list_tags(&"registry.example.com/team/tiny".parse()?).await? {
    ///     println!("{}:{}", listed.repository, listed.tag);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_tags(&self, repository: &RepositoryName) -> Result<Vec<ListedTag>> {
        let tags = self.client()?.repository(repository)?.tags().await?;
        Ok(tags.into_iter().map(|tag| ListedTag { repository: repository.clone(), tag }).collect())
    }

    /// The repositories of a registry, by its host and port, in the registry's order. Entries that
    /// are not valid repository names are left out, with a notice.
    ///
    /// Fails with [`NotFound`](crate::ErrorKind::NotFound) if the registry does not support this
    /// listing, which is common.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// for listed in modelpack.list_repositories("registry.example.com").await? {
    ///     println!("{}", listed.repository);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_repositories(&self, host: &str) -> Result<Vec<ListedRepository>> {
        let names = self.client()?.repositories(host).await?;
        Ok(names.into_iter().map(|name| ListedRepository { repository: format!("{host}/{name}") }).collect())
    }
}

impl From<Entry> for ListedEntry {
    fn from(Entry { name, descriptor, is_referrer, artifact_type, size }: Entry) -> Self {
        Self { name, digest: descriptor.digest, is_referrer, artifact_type, size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_determines_the_target() {
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        for (text, target) in [
            ("tiny", ListTarget::Store(name("tiny"))),
            ("team/tiny", ListTarget::Store(name("team/tiny"))),
            ("store:localhost:5000/team/tiny", ListTarget::Store(name("localhost:5000/team/tiny"))),
            ("localhost:5000/team/tiny", ListTarget::Tags(name("localhost:5000/team/tiny"))),
            ("docker://registry.example.com/tiny", ListTarget::Tags(name("registry.example.com/tiny"))),
            ("registry.example.com/", ListTarget::Repositories("registry.example.com".into())),
            ("docker://localhost:5000/", ListTarget::Repositories("localhost:5000".into())),
            ("[::1]:5000/", ListTarget::Repositories("[::1]:5000".into())),
            ("oci:/a:b/dir", ListTarget::Layout("/a:b/dir".into())),
            ("oci-archive:model.tar", ListTarget::Archive("model.tar".into())),
        ] {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        for bad in ["tiny:v1", "localhost:5000", "localhost:5000/tiny:v1", "team/", "/", "oci:dir:v1", "docker://tiny", "UPPER", ""] {
            assert!(bad.parse::<ListTarget>().is_err(), "{bad}");
        }
    }
}
