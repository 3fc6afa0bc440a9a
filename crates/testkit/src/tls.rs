//! TLS for the tests: certificates, valid from 2020 to 2100 unless their name says otherwise, and servers that use them.

use rustls::{
    ALL_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The certificate of the authority, in PEM.
pub const AUTHORITY: &str = include_str!("tls/authority.pem");
/// The certificate of a client, which the authority has signed, in PEM.
pub const CLIENT: &str = include_str!("tls/client.pem");
/// The key of the client, in PEM.
pub const CLIENT_KEY: &str = include_str!("tls/client.key");
/// What the authority has signed for `localhost`, `registry.example.com` and `127.0.0.1`.
pub const SERVER: Pair = Pair { certificate: include_str!("tls/server.pem"), key: include_str!("tls/server.key") };
/// An authority for `localhost` that has signed only itself, as `openssl req -x509` makes it.
pub const SELF_SIGNED: Pair = Pair { certificate: include_str!("tls/self_signed.pem"), key: include_str!("tls/self_signed.key") };
/// The same with other keys.
pub const SELF_SIGNED_TWIN: Pair =
    Pair { certificate: include_str!("tls/self_signed_twin.pem"), key: include_str!("tls/self_signed_twin.key") };
/// The same with other keys, valid until 2021.
pub const SELF_SIGNED_EXPIRED: Pair =
    Pair { certificate: include_str!("tls/self_signed_expired.pem"), key: include_str!("tls/self_signed_expired.key") };
/// The same with other keys, for `elsewhere.example.com`.
pub const SELF_SIGNED_ELSEWHERE: Pair =
    Pair { certificate: include_str!("tls/self_signed_elsewhere.pem"), key: include_str!("tls/self_signed_elsewhere.key") };

/// A certificate and a key, both in PEM. They need not belong together.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: &'static str,
    /// The key.
    pub key: &'static str,
}

/// What a server wants to know of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Nothing.
    Any,
    /// A certificate of the authority.
    WithCertificate,
}

/// What a server that speaks TLS does with a request in plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// It sends an alert of TLS.
    Alert,
    /// It closes the connection.
    Close,
    /// It answers 400 with a line of text, as servers in Go do, to every method.
    RefusedByGo,
    /// It answers 400 with a page, and to `HEAD` without it, as nginx does.
    RefusedByNginx,
}

impl PlainHttp {
    fn answer(self, is_head: bool) -> String {
        let page = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n</html>\r\n";
        match self {
            Self::Alert | Self::Close => String::new(),
            Self::RefusedByGo => "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n".to_owned(),
            Self::RefusedByNginx => {
                let head = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", page.len());
                if is_head { head } else { head + page }
            }
        }
    }
}

/// How a server speaks TLS.
#[derive(Clone, Copy, Debug)]
pub struct Tls {
    pair: Pair,
    clients: Clients,
    plain_http: PlainHttp,
    version: Option<&'static SupportedProtocolVersion>,
}

impl From<Clients> for Tls {
    /// With [`SERVER`].
    fn from(clients: Clients) -> Self {
        Self { clients, ..Self::with(SERVER) }
    }
}

impl Tls {
    /// With this certificate, for all clients.
    pub fn with(pair: Pair) -> Self {
        Self { pair, clients: Clients::Any, plain_http: PlainHttp::Alert, version: None }
    }

    /// Does this with a request in plain HTTP.
    pub fn plain_http(self, plain_http: PlainHttp) -> Self {
        Self { plain_http, ..self }
    }

    /// Speaks only this version of TLS.
    pub fn version(self, version: &'static SupportedProtocolVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    /// What accepts connections for a server.
    pub(crate) fn acceptor(self) -> Acceptor {
        let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let provider = Arc::new(default_provider());
        let mut authorities = RootCertStore::empty();
        authorities.add(certificate(AUTHORITY)).unwrap();
        let verifier: Arc<dyn ClientCertVerifier> = match self.clients {
            Clients::Any => Arc::new(NoClientAuth),
            Clients::WithCertificate => WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone()).build().unwrap(),
        };
        let key = PrivateKeyDer::from_pem_slice(self.pair.key.as_bytes()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let versions = self.version.map_or_else(|| ALL_VERSIONS.to_vec(), |version| vec![version]);
        let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&versions).unwrap();
        let config = config.with_client_cert_verifier(verifier);
        // `with_single_cert` would refuse a key that does not belong to the certificate.
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate(self.pair.certificate)], key));
        let tls = Arc::new(config.with_cert_resolver(Arc::new(shown))).into();
        Acceptor { tls, plain_http: self.plain_http, plain_requests: Arc::default() }
    }
}

/// Accepts connections for a server that speaks TLS.
#[derive(Clone)]
pub(crate) struct Acceptor {
    tls: TlsAcceptor,
    plain_http: PlainHttp,
    plain_requests: Arc<Mutex<Vec<String>>>,
}

impl Acceptor {
    /// The connection with TLS; `None` if the client does not speak it, or ends the handshake.
    pub(crate) async fn accept(&self, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        const HANDSHAKE: u8 = 22;
        let mut first = [0];
        let is_plain = stream.peek(&mut first).await.ok()? == 1 && first[0] != HANDSHAKE;
        if !is_plain || self.plain_http == PlainHttp::Alert {
            return self.tls.accept(stream).await.ok();
        }
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.ok()?);
        }
        let request = String::from_utf8(request).unwrap();
        let answer = self.plain_http.answer(request.starts_with("HEAD "));
        self.plain_requests.lock().unwrap().push(request);
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()?;
        None
    }

    /// The heads of the requests that came in plain HTTP. Those that were answered with an alert are not among them.
    pub(crate) fn plain_requests(&self) -> Vec<String> {
        self.plain_requests.lock().unwrap().clone()
    }
}

/// Speaks TLS in front of a server that speaks plain HTTP, until it is dropped.
pub struct TlsTerminator {
    /// Where it listens, on the loopback.
    pub address: SocketAddr,
    acceptor: Acceptor,
    task: JoinHandle<()>,
}

impl TlsTerminator {
    /// Starts it in front of the server at `upstream`.
    pub async fn start(tls: impl Into<Tls>, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tls.into().acceptor();
        let accepting = acceptor.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let acceptor = accepting.clone();
                tokio::spawn(async move {
                    let Some(mut client) = acceptor.accept(stream).await else { return };
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                    // A connection that breaks ends, and its client sees that.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, acceptor, task }
    }

    /// The heads of the requests that came in plain HTTP.
    pub fn plain_requests(&self) -> Vec<String> {
        self.acceptor.plain_requests()
    }
}

impl Drop for TlsTerminator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
