//! Certificates against servers that speak TLS: who is trusted, and to whom the client shows a certificate.

mod open;

use http::Method;
use modelpack_http::{Authorities, Certificates, ClientOptions, HttpClient, Origin, Request, Url, origin_url};
use modelpack_testkit::{
    server::{Server, answer},
    tls::{
        AUTHORITY, CLIENT, CLIENT_KEY, Clients, Pair, PlainHttp, SELF_SIGNED, SELF_SIGNED_ELSEWHERE, SELF_SIGNED_EXPIRED, SELF_SIGNED_TWIN,
        SERVER, Tls,
    },
};
use modelpack_transfer::{Error, Result};
use open::Open;
use rustls::version::{TLS12, TLS13};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;

async fn get(options: &ClientOptions, url: &str) -> Result<u16> {
    let url = Url::parse(url).unwrap();
    let client = HttpClient::new(options)?;
    let response = client.exchange(&url, &mut Request::new(Method::GET, url.clone(), &(), "the letter"), None).await;
    response.map(|response| response.status().as_u16()).map_err(|failure| failure.error)
}

async fn server(tls: impl Into<Tls>) -> (Server, String) {
    let server = Server::start_tls(tls, |_, _| answer(200, &[], "dear")).await;
    let url = format!("https://localhost:{}/letter", server.address.port());
    (server, url)
}

fn in_file(path: &Path) -> Vec<Authorities> {
    vec![Authorities { paths: vec![path.to_owned()], setting: "a test".to_owned() }]
}

fn written(directory: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn an_authority_is_trusted_if_a_file_names_it() {
    let (_server, url) = server(Clients::Any).await;
    let directory = TempDir::new().unwrap();
    // A bundle may hold what is no certificate.
    let bundle = format!("authority\n{AUTHORITY}\n-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n{CLIENT_KEY}");
    let file = written(&directory, "authority.pem", &bundle);
    written(&directory, "README", "no certificate");

    let error = get(&ClientOptions::default(), &url).await.unwrap_err();
    assert!(matches!(&error, Error::Network { why, .. } if why.starts_with("TLS failed: ")), "{error}");
    for certificates in [
        Certificates::default().additional(in_file(&file)),
        Certificates::default().authorities(in_file(&file)),
        Certificates::default().authorities(in_file(directory.path())),
    ] {
        assert_eq!(get(&ClientOptions::default().certificates(certificates), &url).await.unwrap(), 200);
    }
    assert_eq!(get(&ClientOptions::default().insecure(true), &url).await.unwrap(), 200);
}

#[tokio::test]
async fn a_directory_named_like_a_server_has_what_only_that_server_sees() {
    let (wary, url) = server(Clients::WithCertificate).await;
    let (_other, other_url) = server(Clients::Any).await;
    let directories = TempDir::new().unwrap();
    let name = format!("localhost:{}", wary.address.port());
    written(&directories, &format!("second/{name}/authority.crt"), AUTHORITY);
    let with = |names: &[&str]| {
        let paths = names.iter().map(|name| directories.path().join(name)).collect();
        ClientOptions::default().certificates(Certificates::default().directories(paths))
    };
    assert!(get(&with(&["second"]), &url).await.is_err(), "the server wants a certificate of the client");
    written(&directories, &format!("second/{name}/client.cert"), CLIENT);
    let error = get(&with(&["second"]), &url).await.unwrap_err();
    let told = format!("second/{name}/client.cert: its key ");
    assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains(&told), "{error}");
    written(&directories, &format!("second/{name}/client.key"), CLIENT_KEY);
    assert_eq!(get(&with(&["first", "second"]), &url).await.unwrap(), 200);
    assert!(get(&with(&["second"]), &other_url).await.is_err(), "another server on the same host has nothing of it");

    // The first directory for the server is the only one that counts.
    written(&directories, &format!("first/{name}/authority.crt"), AUTHORITY);
    assert!(get(&with(&["first", "second"]), &url).await.is_err());
}

#[tokio::test]
async fn a_directory_of_certificates_that_is_wrong_is_told_with_the_file() {
    let (server, url) = server(Clients::Any).await;
    let name = format!("localhost:{}", server.address.port());
    for (file, content, told) in [
        ("authority.crt", "no certificate", "no certificate in PEM format is in "),
        ("client.cert", CLIENT, "client.key cannot be read: No such file"),
        ("client.key", CLIENT_KEY, "it is the key of a certificate that is not there, "),
    ] {
        let directories = TempDir::new().unwrap();
        written(&directories, &format!("{name}/{file}"), content);
        let options = ClientOptions::default().certificates(Certificates::default().directories(vec![directories.path().to_owned()]));
        let error = get(&options, &url).await.unwrap_err();
        assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains(told), "{error}");
        assert!(error.to_string().contains(directories.path().to_str().unwrap()), "{error}");
        // It is read only for this server.
        assert_eq!(get(&options, &url.replace("https:", "http:")).await.err().map(|e| e.to_string().contains(told)), Some(false));
    }
    let pair = TempDir::new().unwrap();
    written(&pair, &format!("{name}/client.cert"), CLIENT);
    written(&pair, &format!("{name}/client.key"), "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n");
    let options = ClientOptions::default().certificates(Certificates::default().directories(vec![pair.path().to_owned()]));
    let error = get(&options, &url).await.unwrap_err().to_string();
    assert!(error.contains(&format!("{}/{name}", pair.path().display())) && !error.contains("hidden"), "{error}");
    written(&pair, &format!("{name}/client.key"), SERVER.key);
    let error = get(&options, &url).await.unwrap_err().to_string();
    assert!(error.contains("client.cert: it and its key ") && error.contains("client.key are not a pair"), "{error}");
}

#[tokio::test]
async fn of_several_certificates_of_the_client_a_server_sees_one_that_its_authority_has_signed() {
    let (server, url) = server(Clients::WithCertificate).await;
    let directories = TempDir::new().unwrap();
    let name = format!("localhost:{}", server.address.port());
    let strange = [("a", SELF_SIGNED), ("c", SELF_SIGNED_TWIN)].map(|(name, pair)| (name, pair.certificate, pair.key));
    for (pair, certificate, key) in [("b", CLIENT, CLIENT_KEY)].into_iter().chain(strange) {
        written(&directories, &format!("{name}/{pair}.cert"), certificate);
        written(&directories, &format!("{name}/{pair}.key"), key);
    }
    written(&directories, &format!("{name}/authority.crt"), AUTHORITY);
    let options = ClientOptions::default().certificates(Certificates::default().directories(vec![directories.path().to_owned()]));
    assert_eq!(get(&options, &url).await.unwrap(), 200);
    assert_eq!(get(&options.clone().insecure(true), &url).await.unwrap(), 200);
    for file in ["b.cert", "b.key"] {
        fs::remove_file(directories.path().join(&name).join(file)).unwrap();
    }
    assert!(get(&options, &url).await.is_err(), "the others are of no authority of the server");
}

#[tokio::test]
async fn the_certificate_of_a_server_is_trusted_if_it_is_named_itself() {
    for (shown, named, expected) in [
        (SELF_SIGNED, SELF_SIGNED.certificate, Ok(200)),
        // Its issuer is not known.
        (SERVER, SERVER.certificate, Ok(200)),
        (SELF_SIGNED, AUTHORITY, Err("TLS failed: the server shows the certificate of an authority")),
        (SELF_SIGNED, SELF_SIGNED_TWIN.certificate, Err("TLS failed: the server shows the certificate of an authority")),
        (SERVER, SELF_SIGNED.certificate, Err("UnknownIssuer")),
        (SELF_SIGNED_ELSEWHERE, SELF_SIGNED_ELSEWHERE.certificate, Err("not valid for name \"localhost\"")),
        (SELF_SIGNED_EXPIRED, SELF_SIGNED_EXPIRED.certificate, Err("certificate expired")),
        // Everybody has the certificate, but only the server has its key.
        (Pair { key: SELF_SIGNED_TWIN.key, ..SELF_SIGNED }, SELF_SIGNED.certificate, Err("BadSignature")),
        (Pair { key: SELF_SIGNED.key, ..SERVER }, SERVER.certificate, Err("BadSignature")),
    ] {
        for version in [&TLS12, &TLS13] {
            let (server, url) = server(Tls::with(shown).version(version)).await;
            let directory = TempDir::new().unwrap();
            let file = written(&directory, &format!("localhost:{}/ca.crt", server.address.port()), named);
            for certificates in [
                Certificates::default().additional(in_file(&file)),
                Certificates::default().authorities(in_file(&file)),
                Certificates::default().directories(vec![directory.path().to_owned()]),
            ] {
                let found = get(&ClientOptions::default().certificates(certificates), &url).await.map_err(|error| error.to_string());
                match expected {
                    Ok(status) => assert_eq!(found, Ok(status)),
                    Err(why) => assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{found:?} is not {why}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn the_certificate_of_one_server_is_trusted_for_that_server_only() {
    let (server_of_directory, url) = server(Tls::with(SELF_SIGNED)).await;
    let (_other, other_url) = server(Tls::with(SELF_SIGNED)).await;
    let directory = TempDir::new().unwrap();
    written(&directory, &format!("localhost:{}/ca.crt", server_of_directory.address.port()), SELF_SIGNED.certificate);
    let options = ClientOptions::default().certificates(Certificates::default().directories(vec![directory.path().to_owned()]));
    assert_eq!(get(&options, &url).await.unwrap(), 200);
    assert!(get(&options, &other_url).await.is_err());
}

/// An origin on this machine that may speak TLS, for a client that trusts the authority, and its answers to requests.
async fn may_speak_tls(server: &Server, plain_http: bool) -> (Arc<Origin<Open>>, Vec<Result<u16>>) {
    let directory = TempDir::new().unwrap();
    let authority = in_file(&written(&directory, "authority.pem", AUTHORITY));
    let options = ClientOptions::default().plain_http(plain_http).certificates(Certificates::default().additional(authority));
    let url = origin_url(&format!("localhost:{}", server.address.port()), &options).unwrap();
    let origin = Origin::new(url, HttpClient::new(&options).unwrap(), Open);
    let origin = Arc::new(if plain_http { origin } else { origin.or_other_scheme() });
    let early = origin.url("/letter");
    let ask = async |method: Method| {
        let answer = origin.send(Request::new(method, early.clone(), &(), "the letter")).await;
        answer.map(|answer| answer.status().as_u16())
    };
    let at_once = tokio::join!(ask(Method::HEAD), ask(Method::HEAD));
    let answers = vec![at_once.0, at_once.1, ask(Method::GET).await];
    (origin, answers)
}

#[tokio::test]
async fn a_server_on_this_machine_that_says_that_it_expects_tls_is_spoken_to_over_tls() {
    for plain_http in [PlainHttp::RefusedByGo, PlainHttp::RefusedByNginx] {
        let server = Server::start_tls(Tls::with(SERVER).plain_http(plain_http), |_, _| answer(200, &[], "dear")).await;
        let (origin, answers) = may_speak_tls(&server, false).await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(200))), "{answers:?}");
        assert_eq!((server.asked().len(), origin.url("/").scheme()), (3, "https"));
        assert!(server.plain_requests().len() <= 4, "{:?}", server.plain_requests());
        let plain = Url::parse(&format!("http://localhost:{}/letter", server.address.port())).unwrap();
        assert!(origin.owns(&plain), "a URL that was made before");

        let (origin, answers) = may_speak_tls(&server, true).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Protocol { status: 400, .. }))), "{answers:?}");
        assert_eq!((server.asked().len(), origin.url("/").scheme()), (3, "http"));
    }
}

#[tokio::test]
async fn a_server_on_this_machine_that_refuses_a_request_for_another_reason_is_not() {
    for text in ["it is wrong", ""] {
        let server = Server::start(move |_, _| answer(400, &[], text)).await;
        let (origin, answers) = may_speak_tls(&server, false).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(Error::Protocol { status: 400, .. }))), "{answers:?}");
        assert_eq!(origin.url("/").scheme(), "http");
    }
    // What has answered in plain HTTP speaks it.
    let server =
        Server::start(|asked, _| if asked.method == Method::HEAD { answer(200, &[], "") } else { answer(400, &[], "HTTPS") }).await;
    let (origin, answers) = may_speak_tls(&server, false).await;
    assert!(matches!(answers[..], [Ok(200), Ok(200), Err(Error::Protocol { status: 400, .. })]), "{answers:?}");
    assert_eq!((server.asked().len(), origin.url("/").scheme()), (3, "http"));
}

#[tokio::test]
async fn a_server_that_speaks_tls_must_not_lead_to_plain_http() {
    let target = Server::start(|_, _| answer(200, &[], "dear")).await;
    let to = format!("http://{}/letter", target.address);
    let tls = Tls::with(SERVER).plain_http(PlainHttp::RefusedByGo);
    let server = Server::start_tls(tls, move |_, _| answer(307, &[("location", &to)], "")).await;
    let (_, answers) = may_speak_tls(&server, false).await;
    for answer in answers {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("which is less secure"), "{error}");
    }
    assert_eq!(target.asked().len(), 0);
}

#[tokio::test]
async fn one_server_may_be_insecure_and_the_others_are_not() {
    let (tls, url) = server(Clients::Any).await;
    let (_other, other_url) = server(Clients::Any).await;
    let plain = Server::start(|_, _| answer(200, &[], "dear")).await;
    let insecure = |port: u16| {
        let url = Url::parse(&format!("https://localhost:{port}")).unwrap();
        let client = HttpClient::new(&ClientOptions::default()).unwrap().trusting(&url);
        Origin::new(url, client, Open).or_other_scheme()
    };
    let get = async |origin: &Origin<Open>, url: Url| {
        origin.send(Request::new(Method::GET, url, &(), "the letter")).await.map(|response| response.url().scheme().to_owned())
    };
    let origin = insecure(tls.address.port());
    assert_eq!(get(&origin, Url::parse(&url).unwrap()).await.unwrap(), "https");
    let error = get(&origin, Url::parse(&other_url).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("TLS failed"), "{error}");

    let origin = insecure(plain.address.port());
    let early = origin.url("/letter");
    assert_eq!(get(&origin, origin.url("/letter")).await.unwrap(), "http");
    assert_eq!((early.scheme(), origin.url("/letter").scheme()), ("https", "http"));
    assert!(origin.owns(&early) && origin.owns(&origin.url("/letter")));
    assert_eq!(get(&origin, early).await.unwrap(), "http", "a URL that was made before is spoken to in the same way");
    assert_eq!(plain.asked().len(), 2);
}
