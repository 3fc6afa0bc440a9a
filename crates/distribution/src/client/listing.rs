//! What a registry lists: tags, repositories, referrers (OCI distribution specification, "Content Discovery"). Lists come in pages.

use super::{
    Client, RemoteRepository,
    failure::{printable, unexpected},
    read_limited,
    registry::{Registry, Request},
    scope::Scope,
};
use crate::protocol::{page, query::Query, route::Route};
use http::{Method, StatusCode, header::LINK};
use modelpack_spec::{Digest, InvalidReference, Selector, Tag};
use modelpack_store::{Error, Result, Source};
use reqwest::{Response, Url};
use serde::{Deserialize, de::IgnoredAny};
use std::collections::HashSet;

/// How many entries are asked for at once.
const PER_PAGE: usize = 500;
const MAX_PAGE_BYTES: usize = 4 << 20;
/// How much a whole list may have, in bytes.
const MAX_LIST_BYTES: usize = 64 << 20;
/// How many pages in a row may bring nothing new. Some registries leave out what one may not see, and send the page all the same; more than
/// these are a list that leads in a circle.
const MAX_BARREN_PAGES: usize = 16;

#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

/// An index, of which only the length is of interest.
#[derive(Deserialize)]
struct ReferrersList {
    manifests: Option<Vec<IgnoredAny>>,
}

impl RemoteRepository {
    /// The tags, in the order of the registry. Fails with [`Error::NotFound`] if there is no such repository.
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        let what = self.to_string();
        let list = List { registry: self.registry(), scope: self.scope(&["pull"]), what: &what };
        let tags = list.names(&Route::Tags(self.path.clone()), |TagList { tags }| tags).await?;
        let invalid = |e: InvalidReference| Error::Invalid { what: format!("the list of tags of {what}"), why: e.to_string() };
        tags.into_iter().map(|tag| tag.parse().map_err(invalid)).collect()
    }

    /// How many manifests the registry lists that refer to the one with `digest`; of a long list, those on its first page. A registry
    /// without the referrers API is asked for the tag that stands in for it.
    pub async fn count_referrers(&self, digest: &Digest) -> Result<usize> {
        let what = format!("the referrers of {self}@{digest}");
        let (scope, url) = (self.scope(&["pull"]), self.registry().url(&Route::Referrers(self.path.clone(), digest.clone())));
        // Asked once: nobody needs the answer.
        match self.registry().attempt(&mut Request::new(Method::GET, url, &scope, &what)).await.map_err(|failure| failure.error) {
            Ok(response) => {
                let bytes = read_limited(response, MAX_PAGE_BYTES, &what).await.map_err(|failure| failure.error)?;
                let list: ReferrersList = serde_json::from_slice(&bytes).map_err(|e| Error::Invalid { what, why: e.to_string() })?;
                Ok(list.manifests.map_or(0, |manifests| manifests.len()))
            }
            Err(error) if error.is_not_found() => match self.manifest(&Selector::Tag(Tag::of_referrers(digest))).await {
                Ok(index) => Ok(index.manifests().len()),
                Err(error) if error.is_not_found() => Ok(0),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }
}

impl Client {
    /// The repositories of a registry, which is named by host and port, in its order and as it names them.
    ///
    /// Fails with [`Error::NotFound`] if the registry keeps no such list, as many do not.
    pub async fn repositories(&self, host: &str) -> Result<Vec<String>> {
        let (registry, what) = (self.registry(host)?, format!("a list of repositories (_catalog) at {host}"));
        let list = List { registry: &registry, scope: Scope::parse("registry:catalog:*"), what: &what };
        match list.names(&Route::Catalog, |Catalog { repositories }| repositories).await {
            Err(Error::Protocol { status, .. }) if is_unsupported(status) => Err(Error::not_found(what)),
            listed => listed,
        }
    }
}

/// Whether this is how registries say that they do not know a request.
fn is_unsupported(status: u16) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED].iter().any(|known| known.as_u16() == status)
}

/// A list that is read.
struct List<'a> {
    registry: &'a Registry,
    scope: Scope,
    /// What an error says was not found.
    what: &'a str,
}

impl List<'_> {
    /// The names on all pages, each once. Ends whatever the registry answers.
    async fn names<P: for<'de> Deserialize<'de>>(&self, route: &Route, names_of: impl Fn(P) -> Option<Vec<String>>) -> Result<Vec<String>> {
        let invalid = |why: String| Error::Invalid { what: self.what.to_owned(), why };
        let mut url = self.registry.url(route);
        url.set_query(Some(&Query::default().with("n", PER_PAGE).to_string()));
        let (mut names, mut seen) = (Vec::new(), HashSet::new());
        let (mut left, mut barren) = (MAX_LIST_BYTES, 0);
        loop {
            let response = self.registry.send(Request::new(Method::GET, url, &self.scope, self.what)).await?;
            let next = self.next_page(&response)?;
            let bytes = read_limited(response, MAX_PAGE_BYTES.min(left), self.what).await.map_err(|failure| failure.error)?;
            left -= bytes.len();
            let page = names_of(serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?).unwrap_or_default();
            let before = names.len();
            names.extend(page.into_iter().filter(|name| seen.insert(name.clone())));
            barren = if names.len() > before { 0 } else { barren + 1 };
            match next {
                None => return Ok(names),
                Some(_) if barren == MAX_BARREN_PAGES => return Err(invalid(format!("{MAX_BARREN_PAGES} of its pages bring nothing new"))),
                Some(next) => url = next,
            }
        }
    }

    /// Where the next page is: never at another host, whatever a registry says.
    fn next_page(&self, response: &Response) -> Result<Option<Url>> {
        let links = response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let Some(next) = links.filter_map(page::parse_next).next() else { return Ok(None) };
        match response.url().join(next) {
            Ok(url) if self.registry.owns(&url) => Ok(Some(url)),
            _ => Err(unexpected(response, format!("its next page is not its own: {}", printable(next)))),
        }
    }
}
