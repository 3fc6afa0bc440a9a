//! Certificates against servers that speak TLS: who is trusted, and to whom the client shows a certificate.

mod open;

use http::Method;
use modelpack_http::{Authorities, Certificates, ClientOptions, HttpClient, Origin, Request, Url};
use modelpack_testkit::{
    server::{Server, answer},
    tls::{AUTHORITY, CLIENT, CLIENT_KEY, Clients},
};
use modelpack_transfer::{Error, Result};
use open::Open;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

async fn get(options: &ClientOptions, url: &str) -> Result<u16> {
    let url = Url::parse(url).unwrap();
    let client = HttpClient::new(options)?;
    let response = client.exchange(&url, &mut Request::new(Method::GET, url.clone(), &(), "the letter"), None).await;
    response.map(|response| response.status().as_u16()).map_err(|failure| failure.error)
}

async fn server(clients: Clients) -> (Server, String) {
    let server = Server::start_tls(clients, |_, _| answer(200, &[], "dear")).await;
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
    let several = TempDir::new().unwrap();
    for name in ["a.cert", "a.key", "b.cert", "b.key"].map(|file| format!("{name}/{file}")) {
        written(&several, &name, if name.ends_with("key") { CLIENT_KEY } else { CLIENT });
    }
    let options = ClientOptions::default().certificates(Certificates::default().directories(vec![several.path().to_owned()]));
    let error = get(&options, &url).await.unwrap_err();
    let told = format!("{}/{name}: it has several certificates of the client: a.cert, b.cert; ", several.path().display());
    assert!(matches!(error, Error::Setting { .. }) && error.to_string().contains(&told), "{error}");
    let pair = TempDir::new().unwrap();
    written(&pair, &format!("{name}/client.cert"), CLIENT);
    written(&pair, &format!("{name}/client.key"), "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n");
    let options = ClientOptions::default().certificates(Certificates::default().directories(vec![pair.path().to_owned()]));
    let error = get(&options, &url).await.unwrap_err().to_string();
    assert!(error.contains(&format!("{}/{name}", pair.path().display())) && !error.contains("hidden"), "{error}");
}

#[tokio::test]
async fn one_server_may_be_insecure_and_the_others_are_not() {
    let (tls, url) = server(Clients::Any).await;
    let (_other, other_url) = server(Clients::Any).await;
    let plain = Server::start(|_, _| answer(200, &[], "dear")).await;
    let insecure = |port: u16| {
        let url = Url::parse(&format!("https://localhost:{port}")).unwrap();
        let client = HttpClient::new(&ClientOptions::default()).unwrap().trusting(&url);
        Origin::new(url, client, Open).or_plain_http()
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
