//! TLS: which certificates of servers are accepted, and which certificate the client shows.

mod client_certificates;
mod verifiers;

pub(crate) use client_certificates::ClientCertificates;

use crate::certificates::{ServerCertificates, Trusted};
use rustls::{
    ClientConfig, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::CertificateDer,
};
use rustls_platform_verifier::Verifier;
use std::sync::Arc;
use verifiers::{AnyServer, NamedServers};

/// Several connections are faster than one connection of HTTP/2.
const PROTOCOL: &[u8] = b"http/1.1";

/// The cryptography. If the program that embeds us has chosen one for all its TLS, that one is used.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()))
}

/// How to speak TLS to one server, which has certificates of its `own`, or to all others. If `is_insecure` is set, any certificate is
/// accepted.
pub(crate) fn config(trusted: &Trusted, own: Option<&ServerCertificates>, is_insecure: bool) -> Result<ClientConfig, Error> {
    let provider = provider();
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let config = if is_insecure {
        config.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer))
    } else {
        let named: Vec<_> = trusted.all().chain(own.iter().flat_map(|own| &own.authorities)).cloned().collect();
        match chains(trusted.are_only(), &named, provider.clone()) {
            Ok(chains) => config.dangerous().with_custom_certificate_verifier(Arc::new(NamedServers::or_chains(named, chains, &provider))),
            // A machine without authorities can still use plain HTTP; every handshake fails.
            Err(_) if named.is_empty() => config.with_root_certificates(RootCertStore::empty()),
            Err(error) => return Err(error),
        }
    };
    let mut config = match own.and_then(|own| own.client.clone()) {
        Some(client) => config.with_client_cert_resolver(client),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_owned()];
    Ok(config)
}

/// What accepts a certificate that one of these authorities has signed, or one of those of the operating system, unless `are_only` is set.
fn chains(
    are_only: bool,
    authorities: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let authorities = authorities.iter().cloned();
    if !are_only {
        return Ok(Arc::new(Verifier::new_with_extra_roots(authorities, provider)?));
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authorities);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
    Ok(verifier.map_err(|error| Error::General(error.to_string()))?)
}
