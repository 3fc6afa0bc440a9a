//! What a registry lists: tags, repositories, referrers (OCI distribution specification, "Content Discovery"). Lists come in pages.

use super::{Client, RemoteRepository, refusal::is_unsupported, registry::Registry, scope::Scope};
use crate::protocol::{query::Query, route::Route};
use futures_util::future::join_all;
use http::Method;
use modelpack_http::{Request, printable_beginning};
use modelpack_spec::{Digest, RepositoryName, Selector, Tag};
use modelpack_transfer::{Error, Notice, Notices, Result, Source};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// How many entries are requested per page.
const PER_PAGE: usize = 500;
const MAX_PAGE_BYTES: usize = 4 << 20;
/// The maximum size of a whole list in bytes.
const MAX_LIST_BYTES: usize = 64 << 20;
/// The maximum number of successive pages without a new entry. Some registries leave out what the client may not see, and send empty pages.
/// If there are more such pages, the list is a circle.
const MAX_BARREN_PAGES: usize = 16;
/// The maximum number of pages of a list.
const MAX_PAGES: usize = 10_000;
/// How many malformed names a notice shows.
const MAX_EXAMPLES: usize = 5;
const MAX_EXAMPLE_CHARACTERS: usize = 128;

/// The names are parsed one by one, so that one which is not a string or not Unicode does not affect the others.
#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<Box<RawValue>>>,
}

/// An index, of which only the entries are read.
#[derive(Deserialize)]
struct ReferrersList {
    manifests: Option<Vec<ListedReferrer>>,
}

#[derive(Deserialize)]
struct ListedReferrer {
    digest: Option<Digest>,
}

impl RemoteRepository {
    /// The tags, in the order of the registry. Names that are not valid tags are left out with a notice.
    ///
    /// Fails with [`Error::NotFound`] if there is no such repository.
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        let (what, called) = (self.to_string(), format!("the list of tags of {self}"));
        let list = List { registry: self.registry(), scope: self.scope(&["pull"]), what: &what, called: &called };
        list.names(&Route::Tags(self.path.clone()), |TagList { tags }| tags, |name| name.parse().ok()).await
    }

    /// Counts the manifests that belong to the one with `digest`: its referrers in the list of the registry (of a long list, those on the
    /// first page), and the manifests under the tags that cosign uses. If the registry has no referrers API, the tag of the fallback is read.
    ///
    /// No request is repeated after a failure, because the count is not essential. Fails if the referrers cannot be read. Tags of cosign that
    /// cannot be read are not counted.
    pub async fn count_referrers(&self, digest: &Digest) -> Result<usize> {
        let listed = self.referrers(digest).await?;
        let tagged = join_all(Tag::of_cosign(digest).map(|tag| self.resolve(tag))).await;
        // A signature may be listed and have a tag.
        let is_listed = |digest: &Option<Digest>| digest.is_some() && listed.contains(digest);
        Ok(listed.len() + tagged.into_iter().flatten().filter(|tagged| !is_listed(tagged)).count())
    }

    /// The digests of the referrers in the list of the registry; `None` for entries without a digest.
    async fn referrers(&self, digest: &Digest) -> Result<Vec<Option<Digest>>> {
        let what = format!("the referrers of {self}@{digest}");
        let (scope, url) = (self.scope(&["pull"]), self.registry().url(&Route::Referrers(self.path.clone(), digest.clone())));
        match self.registry().origin.attempt(&mut Request::new(Method::GET, url, &scope, &what)).await.map_err(|failure| failure.error) {
            Ok(response) => {
                let bytes =
                    self.registry().origin.client().read_limited(response, MAX_PAGE_BYTES, &what).await.map_err(|failure| failure.error)?;
                let list: ReferrersList = serde_json::from_slice(&bytes).map_err(|e| Error::Invalid { what, why: e.to_string() })?;
                Ok(list.manifests.into_iter().flatten().map(|listed| listed.digest).collect())
            }
            Err(error) if lacks_referrers(&error) => match self.manifest(&Selector::Tag(Tag::of_referrers(digest))).await {
                Ok(index) => Ok(index.manifests().iter().map(|listed| Some(listed.digest.clone())).collect()),
                Err(error) if error.is_not_found() => Ok(Vec::new()),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

/// Whether a registry has no referrers API.
fn lacks_referrers(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) || matches!(error, Error::Protocol { status, .. } if is_unsupported(*status))
}

impl Client {
    /// The repositories of a registry, which is named by its host and port: without the host, in the order of the registry. Names that are
    /// not valid are left out with a notice.
    ///
    /// Fails with [`Error::NotFound`] if the registry has no such list. Many have none.
    pub async fn repositories(&self, host: &str) -> Result<Vec<RepositoryName>> {
        let (registry, what) = (self.registry(host)?, format!("a list of repositories (_catalog) at {host}"));
        let called = format!("the list of repositories of {host}");
        let list = List { registry: &registry, scope: Scope::parse("registry:catalog:*"), what: &what, called: &called };
        let name = |name: &str| RepositoryName::without_host(name).ok();
        match list.names(&Route::Catalog, |Catalog { repositories }| repositories, name).await {
            Err(Error::Protocol { status, .. }) if is_unsupported(status) => Err(Error::not_found(what)),
            listed => listed,
        }
    }
}

/// A list of a registry.
struct List<'a> {
    registry: &'a Registry,
    scope: Scope,
    /// Its name in the error that it was not found.
    what: &'a str,
    /// Its name in other messages.
    called: &'a str,
}

impl List<'_> {
    /// The names on all pages, each once and parsed. The number of requests is limited, whatever the registry answers.
    async fn names<P: for<'de> Deserialize<'de>, N>(
        &self,
        route: &Route,
        names_of: impl Fn(P) -> Option<Vec<Box<RawValue>>>,
        parse: impl Fn(&str) -> Option<N>,
    ) -> Result<Vec<N>> {
        let invalid = |why: String| Error::Invalid { what: self.called.to_owned(), why };
        let mut url = self.registry.url(route);
        url.set_query(Some(&Query::default().with("n", PER_PAGE).to_string()));
        let (mut names, mut seen, mut misnamed) = (Vec::new(), HashSet::new(), Misnamed::default());
        let (mut left, mut barren) = (MAX_LIST_BYTES, 0);
        for _ in 0..MAX_PAGES {
            let response = self.registry.origin.send(Request::new(Method::GET, url, &self.scope, self.what)).await?;
            let next = self.registry.origin.next_page(&response)?;
            let mut bytes = self
                .registry
                .origin
                .client()
                .read_limited(response, MAX_PAGE_BYTES.min(left), self.what)
                .await
                .map_err(|failure| failure.error)?;
            left -= bytes.len();
            // JSON allows no control characters except line ends, which mean the same as spaces.
            bytes.iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b' ');
            let page = serde_json::from_str(&String::from_utf8_lossy(&bytes)).map_err(|e| invalid(e.to_string()))?;
            let before = seen.len();
            for listed in names_of(page).unwrap_or_default() {
                let Ok(name) = serde_json::from_str::<String>(listed.get()) else {
                    misnamed.add(listed.get());
                    continue;
                };
                if !seen.contains(&name) {
                    parse(&name).map_or_else(|| misnamed.add(&name), |name| names.push(name));
                    seen.insert(name);
                }
            }
            barren = if seen.len() > before { 0 } else { barren + 1 };
            match next {
                None => {
                    misnamed.tell(self.called, &self.registry.notices);
                    return Ok(names);
                }
                Some(_) if barren == MAX_BARREN_PAGES => return Err(invalid(format!("{MAX_BARREN_PAGES} of its pages bring nothing new"))),
                Some(next) => url = next,
            }
        }
        Err(invalid(format!("it has more than {MAX_PAGES} pages")))
    }
}

/// Names that are left out.
#[derive(Default)]
struct Misnamed {
    count: usize,
    examples: Vec<String>,
}

impl Misnamed {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(format!("`{}`", printable_beginning(name, MAX_EXAMPLE_CHARACTERS)));
        }
    }

    fn tell(self, list: &str, notices: &Notices) {
        let Self { count, examples } = self;
        if count > 0 {
            notices.give(&Notice::Misnamed { list: list.to_owned(), count, examples });
        }
    }
}
