//! SOCKS proxies.

use http::Method;
use modelpack_http::{ClientOptions, HttpClient, Proxies, ProxyUrl, Request, Url};
use modelpack_testkit::server::{Server, answer};
use modelpack_transfer::{Error, Result};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// A SOCKS 5 proxy (RFC 1928, 1929) that leads every connection to `server`. Returns its address, and the places that it was asked to
/// connect to, with the logins that it was shown.
async fn socks(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let all = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(relay(client, server, all.clone()));
        }
    });
    (address, asked)
}

async fn relay(mut client: TcpStream, server: SocketAddr, asked: Arc<Mutex<Vec<String>>>) -> io::Result<()> {
    assert_eq!(client.read_u8().await?, 5);
    let methods = text(&mut client).await?;
    let mut login = String::new();
    if methods.contains('\x02') {
        client.write_all(&[5, 2]).await?;
        assert_eq!(client.read_u8().await?, 1);
        login = format!("{}:{}@", text(&mut client).await?, text(&mut client).await?);
        client.write_all(&[1, 0]).await?;
    } else {
        client.write_all(&[5, 0]).await?;
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    assert_eq!(head[..3], [5, 1, 0]);
    let host = match head[3] {
        1 => Ipv4Addr::from(client.read_u32().await?).to_string(),
        3 => text(&mut client).await?,
        kind => panic!("an address of the kind {kind}"),
    };
    let port = client.read_u16().await?;
    asked.lock().unwrap().push(format!("{login}{host}:{port}"));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await.map(drop)
}

/// Bytes after a byte with their number.
async fn text(client: &mut TcpStream) -> io::Result<String> {
    let mut bytes = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

async fn get(proxy: &str, url: &str) -> Result<u16> {
    let proxy = Some(ProxyUrl { url: proxy.to_owned(), setting: "ALL_PROXY".to_owned() });
    let options = ClientOptions::default().proxies(Proxies { https: proxy.clone(), http: proxy, no_proxy: None });
    let url = Url::parse(url).unwrap();
    let response = HttpClient::new(&options)?.exchange(&url, &mut Request::new(Method::GET, url.clone(), &(), "the letter"), None).await;
    response.map(|response| response.status().as_u16()).map_err(|failure| failure.error)
}

#[tokio::test]
async fn a_socks_proxy_is_used_and_with_an_h_it_resolves_the_names() {
    let server = Server::start(|_, _| answer(200, &[], "dear")).await;
    let (proxy, asked) = socks(server.address).await;
    // A name of this kind (RFC 6761) is never found.
    let named = "http://registry.invalid/letter";
    assert_eq!(get(&format!("socks5h://{proxy}"), named).await.unwrap(), 200);
    assert_eq!(get(&format!("socks5h://user:secret@{proxy}"), named).await.unwrap(), 200);
    assert_eq!(get(&format!("socks5://{proxy}"), "http://192.0.2.1:8080/letter").await.unwrap(), 200);
    assert!(get(&format!("socks5://{proxy}"), named).await.is_err(), "the client resolves the name itself");
    assert_eq!(*asked.lock().unwrap(), ["registry.invalid:80", "user:secret@registry.invalid:80", "192.0.2.1:8080"]);
    assert_eq!(server.asked()[0].header("host"), Some("registry.invalid"));
}

#[tokio::test]
async fn a_socks_proxy_that_cannot_be_reached_is_named_with_its_setting() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = get(&format!("socks5h://user:hidden@{closed}"), "https://registry.invalid/letter").await.unwrap_err();
    let told = error.to_string();
    assert!(
        matches!(error, Error::Network { .. }) && told.ends_with(&format!("through the proxy socks5h://{closed} (ALL_PROXY)")),
        "{told}"
    );
    assert!(!told.contains("hidden"), "{told}");
}
