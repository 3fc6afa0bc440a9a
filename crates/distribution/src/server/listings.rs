//! What a registry, a repository and a manifest have: repositories, tags, referrers (OCI distribution specification, "Content Discovery").

use super::{
    manifests::unknown_name,
    registry::{Call, Registry},
    response::{Answer, Failure, Response, Result},
};
use crate::protocol::{
    error::ErrorCode,
    header::FILTERS_APPLIED,
    page::{self, Page},
    query::Query,
    route::Route,
};
use http::{HeaderValue, StatusCode, header};
use modelpack_spec::{Descriptor, Digest, ImageIndex, MAX_MANIFEST_BYTES, RepositoryName, Selector, media_type};
use modelpack_store::{Error, Repository, Source, blocking};
use serde_json::json;

impl Registry {
    pub(super) async fn list_repositories(&self, call: &Call) -> Result<Response> {
        let page = page(call)?;
        let store = self.store().clone();
        let mut names: Vec<String> = blocking(move || store.repositories()).await?.iter().map(ToString::to_string).collect();
        names.sort();
        let (names, next) = page.cut(names, String::clone);
        Ok(with_next(Answer::new(StatusCode::OK), &Route::Catalog, page.n, next).json(&json!({ "repositories": names })))
    }

    pub(super) async fn list_tags(&self, name: &RepositoryName, call: &Call) -> Result<Response> {
        let page = page(call)?;
        let repository = self.repository(name);
        if !repository.exists() {
            return Err(unknown_name(name));
        }
        let tags = repository.tags().await?.into_iter().map(|(tag, _)| tag.to_string()).collect();
        let (tags, next) = page.cut(tags, String::clone);
        let answer = with_next(Answer::new(StatusCode::OK), &Route::Tags(name.clone()), page.n, next);
        Ok(answer.json(&json!({ "name": name.as_str(), "tags": tags })))
    }

    /// Never "not found": a repository or subject that is not there has no referrers.
    pub(super) async fn list_referrers(&self, name: &RepositoryName, subject: &Digest, call: &Call) -> Result<Response> {
        let page = page(call)?;
        let mut answer = Answer::new(StatusCode::OK);
        let mut referrers = {
            // Of all manifests of the repository, one after the other is read.
            let _memory = self.manifest_memory(MAX_MANIFEST_BYTES as u64).await;
            referrers(&self.repository(name), subject).await?
        };
        let filter = call.query.get("artifactType").filter(|filter| !filter.is_empty());
        if let Some(filter) = filter {
            referrers.retain(|d| d.artifact_type.as_deref() == Some(filter));
            answer = answer.header(FILTERS_APPLIED, "artifactType");
        }
        let (mut referrers, mut next) = page.cut(referrers, |d| d.digest.to_string());
        let fitting = fitting(&referrers);
        if fitting < referrers.len() {
            referrers.truncate(fitting);
            next = referrers.last().map(|d| d.digest.to_string());
        }
        if let Some(next) = next {
            let query = page.n.map_or(Query::default(), |n| Query::default().with("n", n)).with("last", next);
            let query = filter.map_or(query.clone(), |filter| query.with("artifactType", filter));
            let path = Route::Referrers(name.clone(), subject.clone()).to_string();
            answer = answer.header(header::LINK, page::print_next(&path, &query));
        }
        let index = serde_json::to_vec(&ImageIndex::new(referrers)).expect("an index has string keys only, so it always serialises");
        Ok(answer.bytes(HeaderValue::from_static(media_type::IMAGE_INDEX), index))
    }
}

/// The referrers of `subject`, sorted by digest: the manifests that name it, and what a client that found no referrers API listed under
/// the fallback tag (OCI distribution specification, "Enabling the Referrers API").
async fn referrers(repository: &Repository, subject: &Digest) -> Result<Vec<Descriptor>> {
    let mut referrers = repository.referrers(subject).await.map_err(Failure::of_read)?;
    let tag = format!("{}-{}", subject.algorithm().name(), &subject.hex()[..64]);
    let tag = Selector::Tag(tag.parse().expect("an algorithm, a dash and 64 digits are a tag"));
    let listed = match repository.manifest(&tag).await {
        Ok(index) => index.manifests().to_vec(),
        Err(e) if e.is_not_found() => Vec::new(),
        Err(e) => return Err(Failure::of_read(e)),
    };
    for descriptor in listed {
        if referrers.iter().any(|known| known.digest == descriptor.digest) {
            continue;
        }
        match repository.manifest(&Selector::Digest(descriptor.digest)).await {
            Ok(manifest) => referrers.push(manifest.descriptor()),
            // Deleted since it was listed, or a blob that never was a manifest.
            Err(Error::NotFound { .. } | Error::InvalidManifest { .. }) => {}
            Err(e) => return Err(Failure::of_read(e)),
        }
    }
    referrers.sort_by(|a, b| a.digest.cmp(&b.digest));
    Ok(referrers)
}

/// How many of the first descriptors make an index that clients still read; at least one, so that pages come to an end.
fn fitting(descriptors: &[Descriptor]) -> usize {
    let room_for_the_rest_of_the_index = 1 << 10;
    let mut room = MAX_MANIFEST_BYTES - room_for_the_rest_of_the_index;
    let fits = |descriptor: &&Descriptor| {
        let len = serde_json::to_vec(descriptor).map_or(0, |json| json.len() + 1);
        let fits = len <= room;
        room = room.saturating_sub(len);
        fits
    };
    descriptors.iter().take_while(fits).count().max(1)
}

fn page(call: &Call) -> Result<Page> {
    Page::parse(&call.query).ok_or_else(|| Failure::bad_request(ErrorCode::Unsupported, "the parameter `n` is not a number"))
}

fn with_next(answer: Answer, route: &Route, n: Option<usize>, next: Option<String>) -> Answer {
    match (n, next) {
        (Some(n), Some(next)) => {
            let query = Query::default().with("n", n).with("last", next);
            answer.header(header::LINK, page::print_next(&route.to_string(), &query))
        }
        _ => answer,
    }
}
