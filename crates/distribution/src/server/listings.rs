//! Lists of repositories, tags and referrers (OCI distribution specification, "Content Discovery").

use super::{
    failure::{Failure, Result},
    manifests::unknown_name,
    registry::{Call, Registry},
};
use crate::protocol::{error::ErrorCode, header::FILTERS_APPLIED, page::Page, query::Query, route::Route};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, StatusCode, header};
use modelpack_http::link;
use modelpack_server::{Answer, Identity, Permitted, Pull, Response};
use modelpack_spec::{Digest, MAX_MANIFEST_BYTES, Referrer, media_type};
use modelpack_store::{Referrers, ReferrersPage};
use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

impl Registry {
    pub(super) async fn list_repositories(&self, who: &Identity, call: &Call) -> Result<Response> {
        let page = page(call)?;
        let mut names: Vec<String> = self.repositories().names(who).await?.iter().map(ToString::to_string).collect();
        names.sort();
        let (names, next) = page.cut(names, String::clone);
        Ok(with_next(Answer::new(StatusCode::OK), &Route::Catalog, page.n, next).json(&json!({ "repositories": names })))
    }

    pub(super) async fn list_tags(&self, repository: &Permitted<Pull>, call: &Call) -> Result<Response> {
        let (page, name) = (page(call)?, repository.name());
        if !repository.exists() {
            return Err(unknown_name(name));
        }
        let tags = repository.tags().await?.into_iter().map(|(tag, _)| tag.to_string()).collect();
        let (tags, next) = page.cut(tags, String::clone);
        let answer = with_next(Answer::new(StatusCode::OK), &Route::Tags(name.clone()), page.n, next);
        Ok(answer.json(&json!({ "name": name.as_str(), "tags": tags })))
    }

    /// Never "not found": a repository or subject that does not exist has an empty list of
    /// referrers.
    pub(super) async fn list_referrers(&self, repository: &Permitted<Pull>, subject: &Digest, call: &Call) -> Result<Response> {
        let page = page(call)?;
        let filter = call.query.get("artifactType").filter(|filter| !filter.is_empty());
        let room_for_the_rest_of_the_index = 1 << 10;
        let asked_for = ReferrersPage {
            artifact_type: filter.map(str::to_owned),
            after: page.last,
            count: page.n.unwrap_or(usize::MAX),
            bytes: MAX_MANIFEST_BYTES - room_for_the_rest_of_the_index,
        };
        let memory = self.list_memory().await;
        let while_it_is_made = self.list_making().await;
        let Referrers { referrers, more } = repository.referrers(subject, asked_for).await.map_err(Failure::of_read)?;
        let mut answer = Answer::new(StatusCode::OK).media_type(HeaderValue::from_static(media_type::IMAGE_INDEX));
        if filter.is_some() {
            answer = answer.header(FILTERS_APPLIED, "artifactType");
        }
        if let Some(last) = referrers.last().filter(|_| more) {
            let query = page.n.map_or(Query::default(), |n| Query::default().with("n", n)).with("last", &last.digest);
            let query = filter.map_or(query.clone(), |filter| query.with("artifactType", filter));
            let path = Route::Referrers(repository.name().clone(), subject.clone()).to_string();
            answer = answer.header(header::LINK, link::print_next(&format!("{path}?{query}")));
        }
        let index = json_of(&referrers);
        drop(referrers);
        drop(while_it_is_made);
        Ok(list(answer, index, memory, call.piece))
    }
}

/// Responds with a list. The list holds its memory permit until it is sent. Small lists need no
/// permit.
fn list(answer: Answer, list: Vec<u8>, memory: OwnedSemaphorePermit, piece: usize) -> Response {
    let len = list.len();
    let memory = (len > piece).then_some(memory);
    let list = Bytes::from(list);
    let pieces = (0..len).step_by(piece).map(move |at| Ok(list.slice(at..len.min(at + piece))));
    answer.stream(stream::iter(pieces).inspect(move |_| _ = &memory), len as u64)
}

/// An image index of referrers.
fn json_of(referrers: &[Referrer]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u32,
        media_type: &'a str,
        manifests: &'a [Referrer],
    }
    let index = Index { schema_version: 2, media_type: media_type::IMAGE_INDEX, manifests: referrers };
    // A growing buffer needs twice its memory while it is copied.
    let about = referrers.iter().map(Referrer::listed_len).sum::<usize>() + 256;
    let mut json = Vec::with_capacity(about);
    serde_json::to_writer(&mut json, &index).expect("an index has string keys only, so it always serialises");
    json
}

fn page(call: &Call) -> Result<Page> {
    Page::parse(&call.query).ok_or_else(|| Failure::bad_request(ErrorCode::Unsupported, "the parameter `n` is not a number"))
}

fn with_next(answer: Answer, route: &Route, n: Option<usize>, next: Option<String>) -> Answer {
    match (n, next) {
        (Some(n), Some(next)) => {
            let query = Query::default().with("n", n).with("last", next);
            answer.header(header::LINK, link::print_next(&format!("{route}?{query}")))
        }
        _ => answer,
    }
}
