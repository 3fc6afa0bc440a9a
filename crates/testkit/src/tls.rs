//! Certificates for the tests of TLS, valid from 2020 to 2100: of an authority, and from it of a server (`localhost`,
//! `registry.example.com`, `127.0.0.1`) and of a client.

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The certificate of the authority, in PEM.
pub const AUTHORITY: &str = include_str!("tls/authority.pem");
/// The certificate of a client, in PEM.
pub const CLIENT: &str = include_str!("tls/client.pem");
/// The key of the client, in PEM.
pub const CLIENT_KEY: &str = include_str!("tls/client.key");
const SERVER: &str = include_str!("tls/server.pem");
const SERVER_KEY: &str = include_str!("tls/server.key");

/// What a server wants to know of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Nothing.
    Any,
    /// A certificate of the authority.
    WithCertificate,
}

/// What accepts connections for a server.
pub(crate) fn acceptor(clients: Clients) -> TlsAcceptor {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let provider = Arc::new(default_provider());
    let mut authorities = RootCertStore::empty();
    authorities.add(certificate(AUTHORITY)).unwrap();
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        Clients::Any => Arc::new(NoClientAuth),
        Clients::WithCertificate => WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone()).build().unwrap(),
    };
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier);
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).unwrap();
    Arc::new(config.with_single_cert(vec![certificate(SERVER)], key).unwrap()).into()
}
