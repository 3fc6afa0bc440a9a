//! Lists that come in pages, from registries of all kinds.

use crate::server::{AsRegistry, Server, answer};
use modelpack_distribution::client::{Client, ClientOptions};
use modelpack_spec::{Digest, Tag};
use modelpack_transfer::{Error, MAX_REFERRERS, Notices, Source};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

async fn repositories(server: &Server) -> Result<Vec<String>, Error> {
    let names = Client::new(ClientOptions::default()).unwrap().repositories(&server.address.to_string()).await?;
    Ok(names.iter().map(ToString::to_string).collect())
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
        "/v2/_catalog?n=500" => answer(200, &[("link", r#"</v2/_catalog?n=500&last=a>; rel="next""#)], r#"{"repositories":["a/odd"]}"#),
        // A page of what one may not see.
        "/v2/_catalog?n=500&last=a" => answer(200, &[("link", r#"</v2/_catalog?n=500&last=b>; rel="next""#)], r#"{"repositories":[]}"#),
        _ => answer(200, &[], r#"{"repositories":["c/d"]}"#),
    })
    .await;
    assert_eq!(repositories(&server).await.unwrap(), ["a/odd", "c/d"]);
}

#[tokio::test]
async fn malformed_names_are_left_out_and_told() {
    let long = "x".repeat(1000);
    // Not a tag, not text, not Unicode, not JSON: each in turn, between others.
    for (listed, told) in [
        (br#""not a tag""#.to_vec(), "`not a tag`".to_owned()),
        (br#""""#.to_vec(), "``".to_owned()),
        (br#""a\u001b[31m\u0000""#.to_vec(), "`a [31m `".to_owned()),
        (b"\"a\x1b\nb\"".to_vec(), "`a  b`".to_owned()),
        (b"\"a\xffb\"".to_vec(), "`a\u{fffd}b`".to_owned()),
        (br#""\ud800""#.to_vec(), r#"`"\ud800"`"#.to_owned()),
        (b"null".to_vec(), "`null`".to_owned()),
        (br#"{"name":"v1"}"#.to_vec(), r#"`{"name":"v1"}`"#.to_owned()),
        (format!(r#""{long}""#).into_bytes(), format!("`{}… (872 more characters)`", &long[..128])),
    ] {
        let is_tag_only = told.contains("xxx");
        let list = [br#"["v1","#, &listed[..], br#","v2"]"#].concat();
        let page = [br#"{"tags":"#, &list[..], br#","repositories":"#, &list[..], b"}"].concat();
        let server = Server::start(move |_, _| answer(200, &[], page.clone())).await;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let all = notices.clone();
        let options = ClientOptions::default().notices(Notices::to(move |notice| all.lock().unwrap().push(notice.to_string())));
        let client = Client::new(options).unwrap();
        let repository = client.repository(&format!("{}/a/b", server.address).parse().unwrap()).unwrap();
        let tags: Vec<_> = repository.tags().await.unwrap_or_else(|e| panic!("{told}: {e}")).iter().map(Tag::to_string).collect();
        assert_eq!(tags, ["v1", "v2"], "{told}");
        let expected = format!("the list of tags of {}/a/b has a malformed name, which is left out: {told}", server.address);
        assert_eq!(std::mem::take(&mut *notices.lock().unwrap()), [expected]);
        if !is_tag_only {
            let names = client.repositories(&server.address.to_string()).await.unwrap();
            assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), ["v1", "v2"], "{told}");
            let expected = format!("the list of repositories of {} has a malformed name, which is left out: {told}", server.address);
            assert_eq!(std::mem::take(&mut *notices.lock().unwrap()), [expected]);
        }
    }
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
    let api = Server::start(move |asked, _| match asked.target.contains("/referrers/") {
        true => answer(200, &[], listed.clone()),
        false => answer(404, &[], ""),
    })
    .await;
    assert_eq!(api.repository().count_referrers(&digest).await.unwrap(), 2);
    assert_eq!(api.count("GET", "/"), 1);

    let entry = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae","size":3}"#;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    for status in [400, 404, 405, 501] {
        let (tag, index) = (format!("/v2/a/b/manifests/sha256-{}", digest.hex()), index.clone());
        let older = Server::start(move |asked, _| {
            if asked.target == tag {
                answer(200, &[("content-type", "application/vnd.oci.image.index.v1+json")], index.clone())
            } else {
                answer(status, &[], "404 page not found")
            }
        })
        .await;
        assert_eq!(older.repository().count_referrers(&digest).await.unwrap(), 1, "{status}");
    }
    let none = Server::start(|_, _| answer(404, &[], "")).await;
    assert_eq!(none.repository().count_referrers(&digest).await.unwrap(), 0);
    // A broken registry is not asked again and again for what nobody needs.
    let broken = Server::start(|_, _| answer(503, &[], "")).await;
    assert!(broken.repository().count_referrers(&digest).await.is_err());
    assert_eq!(broken.asked().len(), 1);
}

#[tokio::test]
async fn what_cosign_tags_is_counted_once() {
    let subject = Digest::of(b"subject");
    let [one, two] = [b"one", b"two"].map(|content| Digest::of(content).to_string());
    // By HEAD, and where a registry knows only GET, by that.
    for unsupported in [None, Some(405)] {
        let listed = format!(r#"{{"manifests":[{{"digest":"{one}"}}]}}"#);
        let (tag, one, two) = (format!("/v2/a/b/manifests/sha256-{}", subject.hex()), one.clone(), two.clone());
        let server = Server::start(move |asked, _| match (asked.target.strip_prefix(&tag), asked.method.as_str(), unsupported) {
            (None, ..) => answer(200, &[], listed.clone()),
            (_, "HEAD", Some(status)) => answer(status, &[], ""),
            (Some(".sig"), ..) => answer(200, &[("docker-content-digest", &one)], ""),
            (Some(".att"), ..) => answer(200, &[("docker-content-digest", &two)], ""),
            _ => answer(404, &[], ""),
        })
        .await;
        assert_eq!(server.repository().count_referrers(&subject).await.unwrap(), 2, "one is listed, and tagged as well");
        let asked = server.asked().len();
        assert_eq!(asked, if unsupported.is_some() { 7 } else { 4 }, "nothing is asked twice");
    }
    // What is not told about is not counted, and fails nothing.
    let broken = Server::start(|asked, _| match asked.target.contains("/referrers/") {
        true => answer(200, &[], r#"{"manifests":[{}]}"#),
        false => answer(503, &[], ""),
    })
    .await;
    assert_eq!(broken.repository().count_referrers(&subject).await.unwrap(), 1);
    assert_eq!(broken.asked().len(), 4);
}

/// The digests of the listed referrers.
async fn referrers(server: &Server, subjects: &[Digest]) -> Result<Vec<String>, Error> {
    let listed = Source::referrers(&server.repository(), subjects).await?.expect("a registry has a list");
    Ok(listed.iter().map(|referrer| referrer.digest.to_string()).collect())
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn referrers_are_collected_from_all_pages_and_from_the_fallback_tag() {
    let subjects = [b"one", b"two"].map(|content| Digest::of(content));
    let [a, b, c, d] = [b"a", b"b", b"c", b"d"].map(|content| Digest::of(content).to_string());
    let listed = [format!("/v2/a/b/referrers/{}", subjects[0]), format!("/v2/a/b/referrers/{}", subjects[1])];
    let fallback = format!("/v2/a/b/manifests/sha256-{}", subjects[0].hex());
    let expected = [a.clone(), b.clone(), c.clone(), d.clone()];
    let server = Server::start(move |asked, _| {
        let entry = |digest: &str| {
            let annotations = r#"{"large":"thing"}"#;
            format!(r#"{{"mediaType":"x/y","digest":"{digest}","size":7,"artifactType":"t/t","annotations":{annotations}}}"#)
        };
        let index = |digests: &[&String]| {
            let manifests: Vec<_> = digests.iter().map(|digest| entry(digest)).collect();
            format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","))
        };
        let (kind, link) = (("content-type", INDEX), format!(r#"<{}?page=2>; rel="next""#, listed[0]));
        match asked.target.as_str() {
            target if target == listed[0] => {
                assert_eq!(asked.header("accept"), Some(INDEX));
                answer(200, &[kind, ("link", &link)], index(&[&a, &b]))
            }
            target if target == format!("{}?page=2", listed[0]) => answer(200, &[kind], index(&[&b, &c])),
            target if target == listed[1] => answer(200, &[kind], index(&[])),
            target if target == fallback => answer(200, &[kind], index(&[&c, &d])),
            _ => answer(404, &[], ""),
        }
    })
    .await;
    assert_eq!(referrers(&server, &subjects).await.unwrap(), expected, "each once");
    let first = &Source::referrers(&server.repository(), &subjects).await.unwrap().unwrap()[0];
    assert_eq!((first.media_type.as_str(), first.size, first.artifact_type.as_deref()), ("x/y", 7, Some("t/t")));
    assert!(first.annotations.is_empty());
}

#[tokio::test]
async fn a_registry_without_a_list_of_referrers_is_told_from_one_that_does_not_say() {
    let subject = [Digest::of(b"subject")];
    for status in [400, 404, 405, 406, 501] {
        let none = Server::start(move |asked, _| answer(if asked.target.contains("/referrers/") { status } else { 404 }, &[], "")).await;
        assert_eq!(referrers(&none, &subject).await.unwrap(), [""; 0], "{status}");
    }
    // Some servers have a web page at each path; some have the image itself at the tag.
    let page = Server::start(|asked, _| match asked.target.contains("/referrers/") {
        true => answer(200, &[("content-type", "text/html; charset=utf-8")], "<html>"),
        false => answer(200, &[], r#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#),
    })
    .await;
    assert_eq!(referrers(&page, &subject).await.unwrap(), [""; 0]);
    for status in [401, 403, 422] {
        let refused = Server::start(move |_, _| answer(status, &[], "")).await;
        assert!(referrers(&refused, &subject).await.is_err(), "{status}");
    }
    // The first page was there.
    let cut = Server::start(|asked, _| match asked.target.ends_with("?page=2") {
        true => answer(404, &[], ""),
        false => answer(200, &[("link", r#"<?page=2>; rel="next""#)], format!(r#"{{"manifests":[{{"digest":"{}"}}]}}"#, Digest::of(b"a"))),
    })
    .await;
    assert!(referrers(&cut, &subject).await.unwrap_err().is_not_found());
    assert_eq!(cut.count("GET", "/v2/a/b/manifests/"), 0);
}

#[tokio::test]
async fn the_error_about_a_damaged_list_says_that_the_answer_is_not_valid() {
    let server = Server::start(|_, _| answer(200, &[], r#"z"tags":[]}"#)).await;
    let subject = Digest::of(b"subject");
    for error in [
        server.repository().tags().await.unwrap_err(),
        repositories(&server).await.unwrap_err(),
        referrers(&server, std::slice::from_ref(&subject)).await.unwrap_err(),
        server.repository().count_referrers(&subject).await.unwrap_err(),
    ] {
        let end = ": the answer of the registry is not valid: expected value at line 1 column 1";
        assert!(matches!(error, Error::Invalid { .. }) && error.to_string().ends_with(end), "{error}");
    }
}

#[tokio::test]
async fn a_hostile_list_of_referrers_is_refused() {
    let subject = [Digest::of(b"subject")];
    let canary = Server::start(|_, _| answer(200, &[], r#"{"manifests":[]}"#)).await;
    let link = format!(r#"<http://{}/v2/a/b/referrers/x>; rel="next""#, canary.address);
    let elsewhere = Server::start(move |_, _| answer(200, &[("link", &link)], r#"{"manifests":[]}"#)).await;
    assert!(matches!(referrers(&elsewhere, &subject).await, Err(Error::Protocol { .. })));
    assert_eq!(canary.asked().len(), 0);

    let circle = Server::start(|_, _| answer(200, &[("link", r#"<?again>; rel="next""#)], r#"{"manifests":[]}"#)).await;
    assert!(matches!(referrers(&circle, &subject).await, Err(Error::Invalid { .. })));
    assert!(circle.asked().len() < 50);

    let nameless = Server::start(|_, _| answer(200, &[], r#"{"manifests":[{"mediaType":"x/y"}]}"#)).await;
    assert!(matches!(referrers(&nameless, &subject).await, Err(Error::Invalid { .. })));

    // Too many for one manifest, and too many for all of them together.
    let entries = |count: usize, salt: &str| {
        let entry = |n| format!(r#"{{"digest":"{}"}}"#, Digest::of(format!("{salt} {n}").as_bytes()));
        (0..count).map(entry).collect::<Vec<_>>().join(",")
    };
    let many = entries(MAX_REFERRERS + 1, "one");
    let flood = Server::start(move |_, _| answer(200, &[], format!(r#"{{"manifests":[{many}]}}"#))).await;
    let error = referrers(&flood, &subject).await.unwrap_err();
    assert!(error.to_string().contains("more than 10000"), "{error}");
    let some = Server::start(move |asked, _| match asked.target.contains("/referrers/") {
        true => answer(200, &[], format!(r#"{{"manifests":[{}]}}"#, entries(MAX_REFERRERS / 2, &asked.target))),
        false => answer(404, &[], ""),
    })
    .await;
    let subjects: Vec<_> = (0..20u8).map(|n| Digest::of(&[n])).collect();
    assert_eq!(referrers(&some, &subjects[..2]).await.unwrap().len(), MAX_REFERRERS);
    let error = referrers(&some, &subjects).await.unwrap_err();
    assert!(error.to_string().contains("more than 10000"), "{error}");
    assert!(some.count("GET", "/v2/a/b/referrers/") < 12, "the rest is not asked for");
}
