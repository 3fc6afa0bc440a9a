//! Lists that come in pages, from registries of all kinds.

use crate::server::{Server, answer};
use modelpack_distribution::client::{Client, ClientOptions};
use modelpack_spec::{Digest, Tag};
use modelpack_store::Error;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

async fn repositories(server: &Server) -> Result<Vec<String>, Error> {
    Client::new(ClientOptions::default()).unwrap().repositories(&server.address.to_string()).await
}

#[tokio::test]
async fn tags_are_collected_from_all_pages() {
    let server = Server::start(|asked, _| match asked.target.as_str() {
        "/v2/a/b/tags/list?n=500" => {
            answer(200, &[("link", r#"</v2/a/b/tags/list?n=500&last=b>; rel="next""#)], r#"{"name":"a/b","tags":["a","b"]}"#)
        }
        "/v2/a/b/tags/list?n=500&last=b" => answer(200, &[("link", r#"<?last=c>; rel="next""#)], r#"{"name":"a/b","tags":["c"]}"#),
        _ => answer(200, &[], r#"{"name":"a/b","tags":null}"#),
    })
    .await;
    let tags: Vec<_> = server.repository().tags().await.unwrap().iter().map(Tag::to_string).collect();
    assert_eq!(tags, ["a", "b", "c"]);
}

#[tokio::test]
async fn repositories_are_collected_from_all_pages() {
    let server = Server::start(|asked, _| match asked.target.as_str() {
        "/v2/_catalog?n=500" => answer(200, &[("link", r#"</v2/_catalog?n=500&last=a>; rel="next""#)], r#"{"repositories":["A/odd"]}"#),
        // A page of what one may not see.
        "/v2/_catalog?n=500&last=a" => answer(200, &[("link", r#"</v2/_catalog?n=500&last=b>; rel="next""#)], r#"{"repositories":[]}"#),
        _ => answer(200, &[], r#"{"repositories":["c/d"]}"#),
    })
    .await;
    assert_eq!(repositories(&server).await.unwrap(), ["A/odd", "c/d"]);
}

#[tokio::test]
async fn a_registry_without_a_catalogue_is_told_from_one_that_is_broken() {
    for status in [404, 405, 501] {
        let server = Server::start(move |_, _| answer(status, &[], "")).await;
        assert!(repositories(&server).await.unwrap_err().is_not_found(), "{status}");
    }
    let server = Server::start(|_, _| answer(200, &[], "<html>")).await;
    assert!(matches!(repositories(&server).await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn a_list_that_goes_on_at_another_host_is_not_followed() {
    let canary = Server::start(|_, _| answer(200, &[], r#"{"tags":[]}"#)).await;
    let link = format!(r#"<http://{}/v2/a/b/tags/list?last=x>; rel="next""#, canary.address);
    let server = Server::start(move |_, _| answer(200, &[("link", &link)], r#"{"tags":["x"]}"#)).await;
    let error = server.repository().tags().await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    assert_eq!(canary.asked().len(), 0);
}

#[tokio::test]
async fn a_list_without_end_is_ended() {
    // The same page for ever, each time under another address; and pages that always bring something new, of four megabytes.
    let asked = AtomicUsize::new(0);
    let circle = Server::start(move |_, _| {
        let link = format!(r#"</v2/a/b/tags/list?last={}>; rel="next""#, asked.fetch_add(1, Relaxed));
        answer(200, &[("link", &link)], r#"{"tags":["a"],"repositories":["a"]}"#)
    })
    .await;
    assert!(matches!(circle.repository().tags().await, Err(Error::Invalid { .. })));
    assert!(circle.asked().len() < 50);
    assert!(matches!(repositories(&circle).await, Err(Error::Invalid { .. })));
    let asked = AtomicUsize::new(0);
    let flood = Server::start(move |_, _| {
        let n = asked.fetch_add(1, Relaxed);
        let link = format!(r#"</v2/a/b/tags/list?last={n}>; rel="next""#);
        answer(200, &[("link", &link)], format!(r#"{{"tags":["t{n}"],"padding":"{}"}}"#, "x".repeat(3_500_000)))
    })
    .await;
    assert!(matches!(flood.repository().tags().await, Err(Error::Invalid { .. })));
    assert!(flood.asked().len() < 50);
    let large = Server::start(|_, _| answer(200, &[], format!(r#"{{"tags":[],"padding":"{}"}}"#, "x".repeat(5 << 20)))).await;
    assert!(matches!(large.repository().tags().await, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn referrers_are_counted_by_the_api_or_by_the_tag_that_stands_in() {
    let digest = Digest::of(b"subject");
    let listed = format!(r#"{{"schemaVersion":2,"manifests":[{0},{0}]}}"#, r#"{"any":"thing"}"#);
    let api = Server::start(move |_, _| answer(200, &[], listed.clone())).await;
    assert_eq!(api.repository().count_referrers(&digest).await.unwrap(), 2);
    assert_eq!(api.asked().len(), 1);

    let entry = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae","size":3}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    let tag = format!("/v2/a/b/manifests/sha256-{}", digest.hex());
    let older = Server::start(move |asked, _| {
        if asked.target == tag {
            answer(200, &[("content-type", "application/vnd.oci.image.index.v1+json")], index.clone())
        } else {
            answer(404, &[], "404 page not found")
        }
    })
    .await;
    assert_eq!(older.repository().count_referrers(&digest).await.unwrap(), 1);
    let none = Server::start(|_, _| answer(404, &[], "")).await;
    assert_eq!(none.repository().count_referrers(&digest).await.unwrap(), 0);
    // A broken registry is not asked again and again for what nobody needs.
    let broken = Server::start(|_, _| answer(503, &[], "")).await;
    assert!(broken.repository().count_referrers(&digest).await.is_err());
    assert_eq!(broken.asked().len(), 1);
}
