//! What a registry lists: tags, repositories, referrers (OCI distribution specification, "Content Discovery"). Lists come in pages.

use super::{Client, RemoteRepository, refusal::is_unsupported, registry::Registry, scope::Scope};
use crate::protocol::{query::Query, route::Route};
use futures_util::future::join_all;
use http::{
    HeaderValue, Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use modelpack_http::{Failure, Request, Url, printable_beginning};
use modelpack_spec::{Descriptor, Digest, RepositoryName, Tag, media_type};
use modelpack_transfer::{Error, MAX_REFERRERS, Notice, Notices, Result, for_each_concurrent, referrers_by_tag};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    collections::HashSet,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// How many entries are requested per page.
const PER_PAGE: usize = 500;
const MAX_PAGE_BYTES: usize = 4 << 20;
/// The maximum size of a whole list in bytes.
const MAX_LIST_BYTES: usize = 64 << 20;
/// The maximum number of successive pages without a new entry. Some registries leave out what the client may not see, and send empty pages.
/// If there are more such pages, the list is a circle.
const MAX_BARREN_PAGES: usize = 16;
/// How many lists of referrers are read at the same time.
const LISTS_AT_ONCE: usize = 4;
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
#[serde(rename_all = "camelCase")]
struct ListedReferrer {
    media_type: Option<String>,
    digest: Option<Digest>,
    size: Option<u64>,
    artifact_type: Option<String>,
}

impl RemoteRepository {
    /// The tags, in the order of the registry. Names that are not valid tags are left out with a notice.
    ///
    /// Fails with [`Error::NotFound`] if there is no such repository.
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        let (what, called) = (self.to_string(), format!("the list of tags of {self}"));
        let list = List { registry: self.registry(), scope: self.scope(&["pull"]), accept: None, what: &what, called: &called };
        list.names(&Route::Tags(self.path.clone()), |TagList { tags }| tags, |name| name.parse().ok()).await
    }

    /// The manifests that are listed as referrers of one of `subjects`: see [`Source::referrers`](modelpack_transfer::Source::referrers).
    ///
    /// Read are the list of the registry with all its pages, if there is such a list, and the tag of the fallback, because some registries
    /// keep both apart. Fails with [`Error::Invalid`] if there are more than [`MAX_REFERRERS`] referrers, or one without a digest.
    pub(super) async fn list_referrers(&self, subjects: &[Digest]) -> Result<Vec<Descriptor>> {
        let count = AtomicUsize::new(0);
        let lists = for_each_concurrent(LISTS_AT_ONCE, subjects, async |subject| {
            let mut listed = self.referrers_by_api(subject).await?.unwrap_or_default();
            listed.extend(referrers_by_tag(self, subject).await?);
            if count.fetch_add(listed.len(), Relaxed) + listed.len() > MAX_REFERRERS {
                return Err(too_many(format!("the referrers of {self}@{subject}")));
            }
            Ok(listed)
        });
        let mut seen = HashSet::new();
        Ok(lists.await?.into_iter().flatten().filter(|listed| seen.insert(listed.digest.clone())).collect())
    }

    /// The referrers in the list of the registry. `None` if the registry has no referrers API.
    pub(super) async fn referrers_by_api(&self, subject: &Digest) -> Result<Option<Vec<Descriptor>>> {
        let what = format!("the referrers of {self}@{subject}");
        let list = List {
            registry: self.registry(),
            scope: self.scope(&["pull"]),
            accept: Some(HeaderValue::from_static(media_type::IMAGE_INDEX)),
            what: &what,
            called: &what,
        };
        let (mut referrers, mut seen, mut pages) = (Vec::new(), HashSet::new(), 0);
        let take = |page: ReferrersList| {
            pages += 1;
            let before = seen.len();
            for listed in page.manifests.into_iter().flatten() {
                let ListedReferrer { media_type, digest, size, artifact_type } = listed;
                let digest = digest.ok_or_else(|| list.invalid("one of them has no digest".to_owned()))?;
                if seen.insert(digest.clone()) {
                    let listed = Descriptor::new(media_type.unwrap_or_default(), digest, size.unwrap_or_default());
                    referrers.push(Descriptor { artifact_type, ..listed });
                }
            }
            if seen.len() > MAX_REFERRERS {
                return Err(too_many(what.clone()));
            }
            Ok(seen.len() > before)
        };
        let read = list.pages(self.registry().url(&Route::Referrers(self.path.clone(), subject.clone())), take).await;
        match read {
            Err(error) if pages == 0 && lacks_referrers(&error) => Ok(None),
            read => read.map(|()| Some(referrers)),
        }
    }

    /// Counts the manifests that belong to the one with `digest`: its referrers in the list of the registry (of a long list, those on the
    /// first page, and without lists of hash states), and the manifests under the tags that cosign uses. If the registry has no referrers
    /// API, the tag of the fallback is read.
    ///
    /// No request is repeated after a failure, because the count is not essential. Fails if the referrers cannot be read. Tags of cosign that
    /// cannot be read are not counted.
    pub async fn count_referrers(&self, digest: &Digest) -> Result<usize> {
        let listed = self.first_referrers(digest).await?;
        let tagged = join_all(Tag::of_cosign(digest).map(|tag| self.resolve(tag))).await;
        // A signature may be listed and have a tag.
        let is_listed = |digest: &Option<Digest>| digest.is_some() && listed.contains(digest);
        Ok(listed.len() + tagged.into_iter().flatten().filter(|tagged| !is_listed(tagged)).count())
    }

    /// The digests of the referrers on the first page of the list of the registry; `None` for entries without a digest.
    async fn first_referrers(&self, digest: &Digest) -> Result<Vec<Option<Digest>>> {
        let what = format!("the referrers of {self}@{digest}");
        let (scope, url) = (self.scope(&["pull"]), self.registry().url(&Route::Referrers(self.path.clone(), digest.clone())));
        match self.registry().origin.attempt(&mut Request::new(Method::GET, url, &scope, &what)).await.map_err(|failure| failure.error) {
            Ok(response) => {
                let bytes =
                    self.registry().origin.client().read_limited(response, MAX_PAGE_BYTES, &what).await.map_err(|failure| failure.error)?;
                let list: ReferrersList = serde_json::from_slice(&bytes).map_err(|e| Error::Invalid { what, why: not_valid(&e) })?;
                let counts = |listed: &ListedReferrer| listed.artifact_type.as_deref() != Some(media_type::HASH_STATES);
                Ok(list.manifests.into_iter().flatten().filter(counts).map(|listed| listed.digest).collect())
            }
            Err(error) if lacks_referrers(&error) => {
                Ok(referrers_by_tag(self, digest).await?.into_iter().map(|listed| Some(listed.digest)).collect())
            }
            Err(error) => Err(error),
        }
    }
}

/// Why the answer to a request for a list cannot be used.
fn not_valid(error: &serde_json::Error) -> String {
    format!("the answer of the registry is not valid: {error}")
}

fn too_many(what: String) -> Error {
    Error::Invalid { what, why: format!("there are more than {MAX_REFERRERS} of them") }
}

/// Whether a registry has no referrers API.
fn lacks_referrers(error: &Error) -> bool {
    const NOT_ACCEPTABLE: u16 = 406;
    matches!(error, Error::NotFound { .. })
        || matches!(error, Error::Protocol { status, .. } if is_unsupported(*status) || *status == NOT_ACCEPTABLE)
}

impl Client {
    /// The repositories of a registry, which is named by its host and port: without the host, in the order of the registry. Names that are
    /// not valid are left out with a notice.
    ///
    /// Fails with [`Error::NotFound`] if the registry has no such list. Many have none.
    pub async fn repositories(&self, host: &str) -> Result<Vec<RepositoryName>> {
        let (registry, what) = (self.registry(host)?, format!("a list of repositories (_catalog) at {host}"));
        let called = format!("the list of repositories of {host}");
        let list = List { registry: &registry, scope: Scope::parse("registry:catalog:*"), accept: None, what: &what, called: &called };
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
    /// The media type that is asked for, if the registry may have several.
    accept: Option<HeaderValue>,
    /// Its name in the error that it was not found.
    what: &'a str,
    /// Its name in other messages.
    called: &'a str,
}

impl List<'_> {
    /// The names on all pages, each once and parsed.
    async fn names<P: for<'de> Deserialize<'de>, N>(
        &self,
        route: &Route,
        names_of: impl Fn(P) -> Option<Vec<Box<RawValue>>>,
        parse: impl Fn(&str) -> Option<N>,
    ) -> Result<Vec<N>> {
        let mut url = self.registry.url(route);
        url.set_query(Some(&Query::default().with("n", PER_PAGE).to_string()));
        let (mut names, mut seen, mut misnamed) = (Vec::new(), HashSet::new(), Misnamed::default());
        let take = |page| {
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
            Ok(seen.len() > before)
        };
        self.pages(url, take).await?;
        misnamed.tell(self.called, &self.registry.notices);
        Ok(names)
    }

    /// Gives each page to `take`, which returns whether it brings anything new. The number of requests is limited, whatever the registry
    /// answers.
    ///
    /// Fails with [`Error::NotFound`] if the registry was asked for a media type, and answers with a web page: some do so at each unknown path.
    async fn pages<P: for<'de> Deserialize<'de>>(&self, mut url: Url, mut take: impl FnMut(P) -> Result<bool>) -> Result<()> {
        let (mut left, mut barren) = (MAX_LIST_BYTES, 0);
        for _ in 0..MAX_PAGES {
            let mut backoff = self.registry.origin.client().backoff();
            let (mut bytes, next) = loop {
                match self.page(&url, MAX_PAGE_BYTES.min(left)).await {
                    Ok(page) => break page,
                    Err(failure) => backoff.wait(failure).await.map_err(|failure| failure.error)?,
                }
            };
            left -= bytes.len();
            // JSON allows no control characters except line ends, which mean the same as spaces.
            bytes.iter_mut().filter(|byte| byte.is_ascii_control()).for_each(|byte| *byte = b' ');
            let page = serde_json::from_str(&String::from_utf8_lossy(&bytes)).map_err(|e| self.invalid(not_valid(&e)))?;
            barren = if take(page)? { 0 } else { barren + 1 };
            match next {
                None => return Ok(()),
                Some(_) if barren == MAX_BARREN_PAGES => {
                    return Err(self.invalid(format!("{MAX_BARREN_PAGES} of its pages bring nothing new")));
                }
                Some(next) => url = next,
            }
        }
        Err(self.invalid(format!("it has more than {MAX_PAGES} pages")))
    }

    /// Fetches the page at `url` once. Also returns the URL of the next page, if there is one.
    async fn page(&self, url: &Url, limit: usize) -> Result<(Vec<u8>, Option<Url>), Failure> {
        let origin = &self.registry.origin;
        let mut request = Request::new(Method::GET, url.clone(), &self.scope, self.what);
        if let Some(accept) = &self.accept {
            request = request.header(ACCEPT, accept.clone());
        }
        let response = origin.attempt(&mut request).await?;
        let is_for_people = response.headers().get(CONTENT_TYPE).is_some_and(|sent_as| sent_as.as_bytes().starts_with(b"text/html"));
        if self.accept.is_some() && is_for_people {
            return Err(Error::not_found(self.what).into());
        }
        let next = origin.next_page(&response)?;
        Ok((origin.client().read_limited(response, limit, self.what).await?, next))
    }

    /// [`Error::Invalid`] of this list.
    fn invalid(&self, why: String) -> Error {
        Error::Invalid { what: self.called.to_owned(), why }
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
