//! Challenges, tokens, and who never gets to see a secret.

use crate::server::{Answer, AsRegistry, Asked, Server, answer, cut, pieces};
use bytes::Bytes;
use modelpack_distribution::client::{Client, ClientOptions, Credentials, Login};
use modelpack_spec::{Descriptor, Selector, Tag};
use modelpack_transfer::{Begin, Body, Error, Sink, Source};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tempfile::TempDir;

const MANIFEST: &str =
    r#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}}"#;
/// `user:secret`
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

fn latest() -> Selector {
    Selector::Tag(Tag::latest())
}

/// A login for every loopback host, whatever its port: one entry for each server.
fn logins(servers: &[&Server], entry: &str) -> (TempDir, Credentials) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("config.json");
    let entries: Vec<_> = servers.iter().map(|s| format!(r#""{}": {entry}"#, s.address)).collect();
    std::fs::write(&path, format!(r#"{{"auths": {{{}}}}}"#, entries.join(","))).unwrap();
    (directory, Credentials::in_file(path))
}

const USER: &str = r#"{"auth": "dXNlcjpzZWNyZXQ="}"#;

/// A registry that gives a manifest to whoever shows `expected`, and challenges everybody else.
fn guarded(asked: &Asked, expected: &str, challenge: &str) -> Answer {
    if asked.header("authorization") == Some(expected) {
        answer(200, &[], MANIFEST)
    } else {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        answer(401, &[("www-authenticate", challenge)], body)
    }
}

#[tokio::test]
async fn basic_authentication_is_shown_once_it_is_asked_for() {
    let server = Server::start(|asked, _| guarded(asked, BASIC, r#"Basic realm="x""#)).await;
    let (_directory, credentials) = logins(&[&server], USER);
    let repository = server.repository_with(credentials);
    repository.manifest(&latest()).await.unwrap();
    repository.manifest(&latest()).await.unwrap();
    let shown: Vec<_> = server.asked().iter().map(|a| a.header("authorization").is_some()).collect();
    assert_eq!(shown, [false, true, true]);
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again() {
    let server = Server::start(|asked, _| guarded(asked, "nothing", r#"Basic realm="x""#)).await;
    let (_directory, credentials) = logins(&[&server], USER);
    let error = server.repository_with(credentials).manifest(&latest()).await.unwrap_err();
    assert!(matches!(&error, Error::Unauthorized { why, .. } if why.contains("authentication required")), "{error}");
    assert_eq!(server.asked().len(), 2);
    let error = server.repository().manifest(&latest()).await.unwrap_err();
    assert!(matches!(&error, Error::Unauthorized { registry, .. } if *registry == server.address.to_string()), "{error}");
}

/// A registry with a token service: token `t1`, then `t2` and so on; each request must show the newest.
async fn token_registry(answer_token: impl Fn(&Asked, usize) -> String + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>) {
    let newest = Arc::new(AtomicUsize::new(0));
    let counter = newest.clone();
    let server = Server::start(move |asked, address| {
        if asked.target.starts_with("/token") {
            let number = counter.fetch_add(1, SeqCst) + 1;
            return answer(200, &[], answer_token(asked, number));
        }
        let expected = format!("Bearer t{}", counter.load(SeqCst));
        guarded(asked, &expected, &format!(r#"Bearer realm="http://{address}/token",service="reg",scope="repository:a/b:pull""#))
    })
    .await;
    (server, newest)
}

#[tokio::test]
async fn a_token_is_fetched_used_again_and_renewed_when_it_is_refused() {
    let (server, newest) = token_registry(|_, n| format!(r#"{{"token":"t{n}","expires_in":300}}"#)).await;
    let (_directory, credentials) = logins(&[&server], USER);
    let repository = server.repository_with(credentials);
    repository.manifest(&latest()).await.unwrap();
    repository.manifest(&latest()).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 1);
    newest.store(7, SeqCst);
    repository.manifest(&latest()).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 2);
    let token = server.asked().into_iter().find(|a| a.target.starts_with("/token")).unwrap();
    assert_eq!(token.target, "/token?service=reg&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(token.header("authorization"), Some(BASIC));
}

#[tokio::test]
async fn requests_at_once_share_one_token() {
    let (server, _) = token_registry(|_, n| format!(r#"{{"access_token":"t{n}"}}"#)).await;
    let repository = server.repository();
    let at = latest();
    let requests = (0..8).map(|_| repository.manifest(&at));
    for result in futures_util::future::join_all(requests).await {
        result.unwrap();
    }
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_even_shown() {
    let (server, _) = token_registry(|_, n| format!(r#"{{"token":"t{n}","expires_in":0}}"#)).await;
    let repository = server.repository();
    repository.manifest(&latest()).await.unwrap();
    repository.manifest(&latest()).await.unwrap();
    let refused = server.asked().iter().filter(|a| !a.target.starts_with("/token") && a.header("authorization").is_none()).count();
    assert_eq!((server.count("GET", "/token"), refused), (3, 1));
}

#[tokio::test]
async fn a_token_that_is_refused_again_and_again_is_an_error() {
    let (server, _) = token_registry(|_, _| r#"{"token":"never right"}"#.to_owned()).await;
    let error = server.repository().manifest(&latest()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let (server, _) = token_registry(|_, n| format!(r#"{{"access_token":"t{n}"}}"#)).await;
    let (_directory, credentials) = logins(&[&server], r#"{"identitytoken": "id&1"}"#);
    server.repository_with(credentials).manifest(&latest()).await.unwrap();
    let token = server.asked().into_iter().find(|a| a.target.starts_with("/token")).unwrap();
    assert!(token.is("POST", "/token"));
    assert_eq!(token.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = std::str::from_utf8(&token.body).unwrap();
    let expected = "grant_type=refresh_token&client_id=modelpack&refresh_token=id%261&service=reg&scope=repository%3Aa%2Fb%3Apull";
    assert_eq!(form, expected);
    assert_eq!(token.header("authorization"), None);
}

#[tokio::test]
async fn a_new_identity_token_replaces_the_old_one_for_all_repositories() {
    // The second answer has none, and the token of the first stays valid.
    let (server, _) = token_registry(|_, n| match n {
        2 => format!(r#"{{"access_token":"t{n}","refresh_token":""}}"#),
        _ => format!(r#"{{"access_token":"t{n}","refresh_token":"id{n}"}}"#),
    })
    .await;
    let (directory, credentials) = logins(&[&server], r#"{"identitytoken": "id0"}"#);
    let client = Client::new(ClientOptions::default().credentials(credentials)).unwrap();
    for path in ["a/b", "c/d", "e/f", "g/h"] {
        let repository = client.repository(&format!("{}/{path}", server.address).parse().unwrap()).unwrap();
        repository.manifest(&latest()).await.unwrap();
    }
    let forms = server.asked().into_iter().filter(|asked| asked.is("POST", "/token")).map(|asked| asked.body);
    let shown = |form: &[u8]| {
        let form = String::from_utf8(form.to_vec()).unwrap();
        form.split('&').find_map(|pair| pair.strip_prefix("refresh_token=").map(str::to_owned)).unwrap()
    };
    assert_eq!(forms.map(|form| shown(&form)).collect::<Vec<_>>(), ["id0", "id1", "id1", "id3"]);
    let stored = std::fs::read_dir(directory.path()).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    assert!(stored.collect::<String>().contains("id0"), "the file stays as it is");
}

/// A registry whose tokens are valid for `uses` requests each.
async fn with_tokens_for(uses: usize, answer_granted: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
    let (newest, used) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Server::start(move |asked, _| {
        if asked.target.starts_with("/token") {
            used.store(0, SeqCst);
            return answer(200, &[], format!(r#"{{"token":"t{}","expires_in":"3600"}}"#, newest.fetch_add(1, SeqCst) + 1));
        }
        let is_valid = asked.header("authorization") == Some(&format!("Bearer t{}", newest.load(SeqCst)));
        if is_valid && used.fetch_add(1, SeqCst) < uses {
            return answer_granted(asked);
        }
        answer(401, &[("www-authenticate", r#"Bearer realm="/token",scope="repository:a/b:pull,push",error="invalid_token""#)], "")
    })
    .await
}

#[tokio::test]
async fn a_download_goes_on_with_a_new_token_when_its_token_expires_on_the_way() {
    let blob: Vec<u8> = (0..50_000u32).map(|n| n as u8).collect();
    let content = Bytes::from(blob.clone());
    let server = with_tokens_for(1, move |asked| {
        let first = asked.header("range").map_or(0, |range| range[6..].split_once('-').unwrap().0.parse().unwrap());
        let range = format!("bytes {first}-49999/50000");
        let headers = [("content-range", range.as_str()), ("content-length", &(50_000 - first).to_string())];
        let piece = content.slice(first..50_000.min(first + 20_000));
        pieces(if first > 0 { 206 } else { 200 }, &headers, vec![Ok(piece), cut()])
    })
    .await;
    let body = server.repository().blob(&Descriptor::of("x/x", &blob), 0..50_000).await.unwrap();
    assert_eq!(body.collect(50_000, "the blob").await.unwrap(), blob);
    let came: Vec<_> = server.asked().iter().filter_map(|asked| asked.header("range").map(str::to_owned)).collect();
    // Each is asked for with the old token, and then with a new one.
    assert_eq!(came, ["bytes=20000-49999", "bytes=20000-49999", "bytes=40000-49999", "bytes=40000-49999"]);
    assert_eq!(server.count("GET", "/token"), 3);
}

#[tokio::test]
async fn an_upload_goes_on_with_a_new_token_when_its_token_expires_on_the_way() {
    let server = with_tokens_for(1, |asked| match asked.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" => answer(202, &[("location", "/session")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let blob = Descriptor::of("x/x", b"blob");
    let Begin::Upload(mut upload) = server.repository().begin(Some(&blob)).await.unwrap() else { panic!("it is not there") };
    upload.write(Body::from_bytes(&b"blob"[..])).await.unwrap();
    upload.commit(Some(&blob)).await.unwrap();
    let sent: Vec<_> = server.asked().into_iter().filter(|asked| asked.method == "PUT").map(|asked| asked.body).collect();
    assert_eq!(sent, ["blob", "blob"], "with the old token, and with a new one");
    assert_eq!((server.count("POST", "/v2/"), server.count("GET", "/token")), (2, 3));
}

/// A registry with the token service `realm`, which asks for `scope`, and takes whatever token there is.
async fn token_service(
    realm: &'static str,
    scope: &'static str,
    answer_token: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> Server {
    Server::start(move |asked, _| match asked.target.as_str() {
        target if target.starts_with("/token") => answer_token(asked),
        _ if asked.header("authorization") == Some("Bearer t") => answer(200, &[], MANIFEST),
        _ => answer(401, &[("www-authenticate", &format!(r#"Bearer realm="{realm}",scope="{scope}""#))], ""),
    })
    .await
}

fn granted(_: &Asked) -> Answer {
    answer(200, &[], r#"{"token":"t"}"#)
}

#[tokio::test]
async fn a_realm_may_be_relative_and_is_at_the_registry() {
    for realm in ["/token", "token"] {
        let server = token_service(realm, "repository:a/b:pull", granted).await;
        let (_directory, credentials) = logins(&[&server], USER);
        server.repository_with(credentials).manifest(&latest()).await.unwrap();
        let token = server.asked().into_iter().find(|a| a.target.starts_with("/token")).unwrap();
        assert_eq!(token.header("authorization"), Some(BASIC), "{realm}");
    }
    let server = token_service("", "", granted).await;
    let error = server.repository().manifest(&latest()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn a_scope_in_words_of_the_registry_is_passed_on_as_it_is() {
    let server = token_service("/token", "aws", granted).await;
    server.repository().manifest(&latest()).await.unwrap();
    assert!(server.asked()[1].is("GET", "/token?scope=repository%3Aa%2Fb%3Apull&scope=aws"), "{:?}", server.asked()[1]);
    let only = |asked: &Asked| if asked.target.contains("repository") { answer(400, &[], "") } else { granted(asked) };
    let server = token_service("/token", "aws registry:catalog:*", only).await;
    server.repository().manifest(&latest()).await.unwrap();
    assert!(server.asked()[2].is("GET", "/token?scope=aws&scope=registry%3Acatalog%3A*"), "{:?}", server.asked()[2]);
}

#[tokio::test]
async fn what_is_refused_together_and_granted_alone_is_asked_for_alone() {
    for status in [400, 401, 403] {
        let server = Server::start(move |asked, _| {
            if asked.target.starts_with("/token") {
                return if asked.target.contains("c%2Fd") { answer(status, &[], "") } else { granted(asked) };
            }
            match (asked.header("authorization"), asked.method.as_str()) {
                (Some("Bearer t"), "HEAD") => answer(404, &[], ""),
                (Some("Bearer t"), "POST") if !asked.target.contains("mount=") => answer(202, &[("location", "/session")], ""),
                (Some("Bearer t"), "PUT") => answer(201, &[], ""),
                // The token does not cover the repository that is mounted from.
                _ => {
                    let challenge =
                        r#"Bearer realm="/token",scope="repository:a/b:pull,push repository:c/d:pull",error="insufficient_scope""#;
                    answer(401, &[("www-authenticate", challenge)], "")
                }
            }
        })
        .await;
        let (_directory, credentials) = logins(&[&server], USER);
        let from = format!("{}/c/d", server.address).parse().unwrap();
        let repository = server.repository_with(credentials).mounting_from(&from);
        for content in [&b"one"[..], b"two", b"three"] {
            let blob = Descriptor::of("x/x", content);
            let Begin::Upload(mut upload) = repository.begin(Some(&blob)).await.unwrap() else { panic!("{status}: it is not there") };
            upload.write(Body::from_bytes(content)).await.unwrap();
            upload.commit(Some(&blob)).await.unwrap();
        }
        assert_eq!(server.count("PUT", "/session"), 3, "{status}");
        assert!(server.count("GET", "/token") <= 5, "{status}: asked {} times", server.count("GET", "/token"));
    }
}

/// A registry that wants a token for `pull` where it is read and for `push` where it is written, and a token service that grants just one of
/// them at a time: asked for both, it gives `together`.
async fn granting_singly(together: impl Fn() -> Answer + Send + Sync + 'static) -> Server {
    Server::start(move |asked, _| {
        if let Some(query) = asked.target.strip_prefix("/token?") {
            let actions = query.split("a%2Fb%3A").nth(1).unwrap();
            return if actions.contains("%2C") { together() } else { answer(200, &[], format!(r#"{{"token":"{actions}"}}"#)) };
        }
        let needed = if matches!(asked.method.as_str(), "GET" | "HEAD") { "pull" } else { "push" };
        if asked.header("authorization") != Some(&format!("Bearer {needed}")) {
            return answer(401, &[("www-authenticate", r#"Bearer realm="/token",scope="repository:a/b:pull,push""#)], "");
        }
        match asked.method.as_str() {
            "GET" if asked.target.contains("/manifests/") => answer(200, &[], MANIFEST),
            "GET" => answer(200, &[], "{}"),
            "HEAD" => answer(404, &[], ""),
            "POST" => answer(202, &[("location", "/session")], ""),
            _ => answer(201, &[], ""),
        }
    })
    .await
}

#[tokio::test]
async fn what_is_granted_singly_is_pulled_and_pushed_with_a_token_for_each() {
    let refusals = [400, 401, 403].map(|status| (status, ""));
    // Some grant less than was asked for, and do not say so.
    for (status, body) in refusals.into_iter().chain([(200, r#"{"token":"pull"}"#), (200, r#"{"token":"none"}"#)]) {
        let server = granting_singly(move || answer(status, &[], body)).await;
        let repository = server.repository();
        let manifest = repository.manifest(&latest()).await.unwrap_or_else(|e| panic!("{status} {body}: {e}"));
        for content in [&b"{}"[..], b"one", b"two"] {
            let blob = Descriptor::of("x/x", content);
            let Begin::Upload(mut upload) = repository.begin(Some(&blob)).await.unwrap() else { panic!("it is not there") };
            upload.write(Body::from_bytes(content)).await.unwrap_or_else(|e| panic!("{status} {body}: {e}"));
            upload.commit(Some(&blob)).await.unwrap();
        }
        repository.put_manifest(&latest(), &manifest).await.unwrap();
        let read = repository.blob(&Descriptor::of("x/x", b"{}"), 0..2).await.unwrap();
        assert_eq!(read.collect(9, "blob").await.unwrap(), b"{}");
        assert_eq!((server.count("PUT", "/session"), server.count("PUT", "/v2/a/b/manifests/latest")), (3, 1), "{status} {body}");
        let tokens = server.count("GET", "/token");
        assert!(tokens <= 8, "{status} {body}: they are kept, and not asked for {tokens} times");
    }
}

#[tokio::test]
async fn one_token_does_for_a_whole_push_where_it_is_granted() {
    let server = Server::start(|asked, _| {
        if let Some(query) = asked.target.strip_prefix("/token?") {
            return if query.ends_with("a%2Fb%3Apull%2Cpush") { granted(asked) } else { answer(403, &[], "") };
        }
        match (asked.header("authorization"), asked.method.as_str()) {
            (Some("Bearer t"), "HEAD") => answer(404, &[], ""),
            (Some("Bearer t"), "POST") => answer(202, &[("location", "/session")], ""),
            (Some("Bearer t"), _) => answer(201, &[], ""),
            _ => answer(401, &[("www-authenticate", r#"Bearer realm="/token",scope="repository:a/b:pull""#)], ""),
        }
    })
    .await;
    let blob = Descriptor::of("x/x", b"blob");
    let Begin::Upload(mut upload) = server.repository().begin(Some(&blob)).await.unwrap() else { panic!("it is not there") };
    upload.write(Body::from_bytes(&b"blob"[..])).await.unwrap();
    upload.commit(Some(&blob)).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_repository_has_the_login_of_its_namespace() {
    let server = Server::start(|asked, _| {
        let expected = if asked.target.starts_with("/v2/a/b/") { BASIC } else { "Basic b3RoZXI6eA==" };
        guarded(asked, expected, "Basic")
    })
    .await;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("auth.json");
    let host = server.address;
    std::fs::write(&path, format!(r#"{{"auths": {{"{host}/a": {USER}, "{host}": {{"auth": "b3RoZXI6eA=="}}}}}}"#)).unwrap();
    let client = Client::new(ClientOptions::default().credentials(Credentials::in_file(path))).unwrap();
    for name in ["a/b", "c/d", "ab/c"] {
        let repository = client.repository(&format!("{host}/{name}").parse().unwrap()).unwrap();
        repository.manifest(&latest()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[tokio::test]
async fn a_token_service_on_another_host_without_tls_is_refused() {
    let thief = Server::start(|_, _| answer(200, &[], r#"{"token":"x"}"#)).await;
    let realm = format!("http://localhost:{}/token", thief.address.port());
    let server = Server::start(move |asked, _| guarded(asked, "Bearer x", &format!(r#"Bearer realm="{realm}",service="s""#))).await;
    let (_directory, credentials) = logins(&[&server], USER);
    let error = server.repository_with(credentials).manifest(&latest()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(thief.asked().len(), 0);
}

#[tokio::test]
async fn what_a_token_service_refuses_is_told_and_not_tried_again() {
    let server = Server::start(|asked, address| {
        if asked.target.starts_with("/token") {
            return answer(401, &[], r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#);
        }
        guarded(asked, "nothing", &format!(r#"Bearer realm="http://{address}/token""#))
    })
    .await;
    let error = server.repository().manifest(&latest()).await.unwrap_err();
    assert!(matches!(&error, Error::Unauthorized { why, .. } if why.contains("incorrect username or password")), "{error}");
    assert_eq!(server.count("GET", "/token"), 1);
}

#[tokio::test]
async fn a_redirect_to_another_host_takes_no_credentials_along() {
    let storage = Server::start(|_, _| answer(200, &[], "blob")).await;
    let elsewhere = format!("http://localhost:{}/blob", storage.address.port());
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        Some(_) => answer(307, &[("location", &elsewhere)], ""),
        None => guarded(asked, BASIC, "Basic"),
    })
    .await;
    let (_directory, credentials) = logins(&[&server, &storage], USER);
    let body = server.repository_with(credentials).blob(&Descriptor::of("x/x", b"blob"), 0..4).await.unwrap();
    assert_eq!(body.collect(9, "blob").await.unwrap(), b"blob");
    assert_eq!(storage.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_challenge_from_another_host_is_not_answered() {
    let thief = Server::start(|asked, _| guarded(asked, BASIC, "Basic")).await;
    let elsewhere = format!("http://localhost:{}/blob", thief.address.port());
    let server = Server::start(move |asked, _| match asked.header("authorization") {
        Some(_) => answer(307, &[("location", &elsewhere)], ""),
        None => guarded(asked, BASIC, "Basic"),
    })
    .await;
    let (_directory, credentials) = logins(&[&server, &thief], USER);
    let error = server.repository_with(credentials).blob(&Descriptor::of("x/x", b"blob"), 0..4).await.err().unwrap();
    assert!(matches!(&error, Error::Unauthorized { registry, .. } if registry.starts_with("localhost:")), "{error}");
    assert!(thief.asked().iter().all(|asked| asked.header("authorization").is_none()));
}

#[tokio::test]
async fn an_upload_that_goes_on_at_another_host_takes_no_credentials_along() {
    let storage = Server::start(|_, _| answer(201, &[], "")).await;
    let elsewhere = format!("http://localhost:{}/session?state=a%2Fb", storage.address.port());
    let server = Server::start(move |asked, _| match (asked.method.as_str(), asked.header("authorization")) {
        (_, None) => guarded(asked, BASIC, "Basic"),
        ("POST", _) => answer(202, &[("location", &elsewhere)], ""),
        _ => answer(404, &[], ""),
    })
    .await;
    let (_directory, credentials) = logins(&[&server, &storage], USER);
    let blob = Descriptor::of("x/x", b"blob");
    let Begin::Upload(mut upload) = server.repository_with(credentials).begin(Some(&blob)).await.unwrap() else { panic!("it exists") };
    upload.write(Body::from_bytes(&b"blob"[..])).await.unwrap();
    upload.commit(Some(&blob)).await.unwrap();
    let asked = storage.asked();
    assert!(asked[0].is("PUT", &format!("/session?state=a%2Fb&digest={}", blob.digest.to_string().replace(':', "%3A"))), "{asked:?}");
    assert_eq!((asked[0].header("authorization"), &asked[0].body[..]), (None, &b"blob"[..]));
}

#[tokio::test]
async fn a_login_is_tried_before_it_is_kept() {
    let server = Server::start(|asked, _| guarded(asked, BASIC, "Basic")).await;
    let client = Client::new(ClientOptions::default()).unwrap();
    let host = server.address.to_string();
    let login = |password: &str| Some(Login::Basic { username: "user".into(), password: password.into() });
    client.ping(&host, login("secret")).await.unwrap();
    let error = client.ping(&host, login("wrong")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(server.asked().iter().all(|asked| asked.is("GET", "/v2/")));
    assert!(matches!(client.ping("not/a/host", None).await, Err(Error::InvalidName { .. })));
}

#[tokio::test]
async fn the_places_that_a_descriptor_names_are_never_asked() {
    let elsewhere = Server::start(|_, _| answer(200, &[], "blob")).await;
    let server = Server::start(|_, _| answer(404, &[], "")).await;
    let digest = Descriptor::of("x/x", b"blob").digest;
    let json = format!(r#"{{"mediaType":"x/x","digest":"{digest}","size":4,"urls":["http://{}/blob"]}}"#, elsewhere.address);
    let blob: Descriptor = serde_json::from_str(&json).unwrap();
    assert!(server.repository().blob(&blob, 0..4).await.err().unwrap().is_not_found());
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (1, 0));
}
