//! Registries on this machine that expect TLS: they are spoken to in plain HTTP at first, and then as any registry over HTTPS.

use crate::server::{Answer, Asked, Server, answer};
use modelpack_distribution::client::{Authorities, Certificates, Client, ClientOptions, Credentials, Login, Registries, RemoteRepository};
use modelpack_spec::{Descriptor, Selector, Tag};
use modelpack_testkit::tls::{AUTHORITY, PlainHttp, SELF_SIGNED, SERVER, Tls};
use modelpack_transfer::{Begin, Body, Error, Sink, Source};
use std::net::SocketAddr;
use tempfile::TempDir;

const MANIFEST: &str =
    r#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}}"#;
/// `user:secret`
const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// A registry that answers requests with this authorization, and the others with this challenge, in which `ADDRESS` is its address.
async fn guarded(expected: &'static str, challenge: &'static str) -> Server {
    Server::start_tls(Tls::with(SERVER).plain_http(PlainHttp::RefusedByGo), move |asked, address| match asked.header("authorization") {
        Some(BASIC) if asked.target.starts_with("/token") => answer(200, &[], r#"{"token":"t"}"#),
        Some(shown) if shown == expected => answered(asked),
        _ => answer(401, &[("www-authenticate", &challenge.replace("ADDRESS", &address.to_string()))], ""),
    })
    .await
}

/// The answer of a registry that has a manifest and no blob.
fn answered(asked: &Asked) -> Answer {
    match asked.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" => answer(202, &[("location", "/session")], ""),
        "PUT" => answer(201, &[], ""),
        _ => answer(200, &[], MANIFEST),
    }
}

/// The repository `a/b` of the registry at `address`, for a user who trusts the authority.
fn repository(address: SocketAddr, registries: Registries) -> (TempDir, RemoteRepository) {
    let directory = TempDir::new().unwrap();
    let (logins, authority) = (directory.path().join("config.json"), directory.path().join("authority.pem"));
    std::fs::write(&logins, format!(r#"{{"auths": {{"{address}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#)).unwrap();
    std::fs::write(&authority, AUTHORITY).unwrap();
    let authority = Authorities { paths: vec![authority], setting: "a test".to_owned() };
    let options = ClientOptions::default()
        .credentials(Credentials::in_file(logins))
        .certificates(Certificates::default().additional(vec![authority]));
    let client = Client::with_registries(options, registries).unwrap();
    (directory, client.repository(&format!("{address}/a/b").parse().unwrap()).unwrap())
}

async fn latest(repository: &RemoteRepository) -> Result<(), Error> {
    repository.manifest(&Selector::Tag(Tag::latest())).await.map(drop)
}

/// The registry was asked in plain HTTP before it was known to expect TLS, for nothing but this, and without credentials.
fn expect_no_secret_in_plain_http(server: &Server) {
    let plain = server.plain_requests();
    assert!(!plain.is_empty() && plain.iter().all(|head| !head.to_lowercase().contains("authorization")), "{plain:?}");
    assert!(plain.iter().all(|head| head.starts_with("GET /") || head.starts_with("HEAD /")), "{plain:?}");
}

#[tokio::test]
async fn credentials_are_shown_over_tls_only() {
    for (expected, challenge) in [(BASIC, "Basic"), ("Bearer t", r#"Bearer realm="/token""#)] {
        let server = guarded(expected, challenge).await;
        let (_directory, repository) = repository(server.address, Registries::default());
        // Requests that begin at the same time learn at different times that the registry expects TLS.
        let answers = futures_util::future::join_all((0..8).map(|_| latest(&repository))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        expect_no_secret_in_plain_http(&server);
        let plain = server.plain_requests().len();
        latest(&repository).await.unwrap();
        assert_eq!(server.plain_requests().len(), plain, "it is asked in plain HTTP only at first");
    }
}

#[tokio::test]
async fn bytes_are_sent_over_tls_only() {
    let server = guarded(BASIC, "Basic").await;
    let (_directory, repository) = repository(server.address, Registries::default());
    let blob = Descriptor::of("x/x", b"blob");
    let Begin::Upload(mut upload) = repository.begin(Some(&blob)).await.unwrap() else { panic!("the registry has no blob") };
    upload.write(Body::from_bytes(&b"blob"[..])).await.unwrap();
    upload.commit(Some(&blob)).await.unwrap();
    expect_no_secret_in_plain_http(&server);
    assert!(server.asked().iter().any(|asked| asked.method == "PUT" && &asked.body[..] == b"blob"));
}

#[tokio::test]
async fn a_token_service_in_plain_http_is_refused() {
    let thief = Server::start(|_, _| answer(200, &[], r#"{"token":"t"}"#)).await;
    for realm in [format!("http://{}/token", thief.address), "http://ADDRESS/token".to_owned()] {
        let server = guarded("Bearer t", format!(r#"Bearer realm="{realm}""#).leak()).await;
        let (_directory, repository) = repository(server.address, Registries::default());
        let error = latest(&repository).await.unwrap_err().to_string();
        assert!(error.contains("may not be shown credentials"), "{error}");
        expect_no_secret_in_plain_http(&server);
    }
    assert_eq!(thief.asked().len(), 0);
}

#[tokio::test]
async fn the_certificate_must_be_trusted_unless_the_registry_is_insecure() {
    let tls = Tls::with(SELF_SIGNED).plain_http(PlainHttp::RefusedByNginx);
    let server = Server::start_tls(tls, |asked, _| answered(asked)).await;
    let (_directory, wary) = repository(server.address, Registries::default());
    let error = latest(&wary).await.unwrap_err();
    let of_tls = format!("https://{}/v2/a/b/manifests/latest: TLS failed: ", server.address);
    assert!(error.to_string().starts_with(&of_tls), "{error}");
    assert_eq!(server.asked().len(), 0);

    let mut registries = Registries::default();
    registries.add(&format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", server.address), "a test").unwrap();
    let (_directory, careless) = repository(server.address, registries);
    latest(&careless).await.unwrap();
}

#[tokio::test]
async fn a_login_is_tried_over_tls() {
    let server = guarded(BASIC, "Basic").await;
    let client = Client::new(ClientOptions::default().insecure(true)).unwrap();
    let login = |password: &str| Some(Login::Basic { username: "user".into(), password: password.into() });
    client.ping(&server.address.to_string(), login("secret")).await.unwrap();
    assert!(matches!(client.ping(&server.address.to_string(), login("wrong")).await, Err(Error::Unauthorized { .. })));
    expect_no_secret_in_plain_http(&server);
}
