//! Which certificate the client shows.

use rustls::{DistinguishedName, SignatureScheme, client::ResolvesClientCert, pki_types::CertificateDer, sign::CertifiedKey};
use std::sync::Arc;
use webpki::EndEntityCert;

/// The certificates of the client for one server, of which it sees one: the first that comes from an authority that the server names, or
/// else the first. One with a key of a kind that the server does not accept is passed over.
#[derive(Debug)]
pub(crate) struct ClientCertificates(pub(crate) Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientCertificates {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut usable = self.0.iter().filter(|pair| pair.key.choose_scheme(schemes).is_some());
        usable.clone().find(|pair| comes_from(pair, authorities)).or_else(|| usable.next()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Whether one of these authorities has signed the certificate, or one that it comes with.
fn comes_from(pair: &CertifiedKey, authorities: &[&[u8]]) -> bool {
    pair.cert.iter().filter_map(issuer).any(|issuer| authorities.contains(&issuer.as_ref()))
}

/// Who has signed a certificate, in the form in which a server names authorities.
fn issuer(certificate: &CertificateDer<'static>) -> Option<DistinguishedName> {
    Some(DistinguishedName::in_sequence(EndEntityCert::try_from(certificate).ok()?.issuer()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;
    use modelpack_testkit::tls::{AUTHORITY, CLIENT, CLIENT_KEY, Pair, SELF_SIGNED, SELF_SIGNED_TWIN};
    use rustls::{
        RootCertStore, SignatureScheme,
        pki_types::{PrivateKeyDer, pem::PemObject},
    };

    const EVERY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

    fn certificate(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    fn pair(Pair { certificate: pem, key }: Pair) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Arc::new(CertifiedKey::from_der(vec![certificate(pem)], key, &provider()).unwrap())
    }

    #[test]
    fn the_certificate_that_comes_from_an_authority_of_the_server_is_shown() {
        let all = ClientCertificates([SELF_SIGNED_TWIN, Pair { certificate: CLIENT, key: CLIENT_KEY }, SELF_SIGNED].map(pair).into());
        let shown = |authorities: &[&str], schemes: &[SignatureScheme]| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(authorities.iter().map(|pem| certificate(pem)));
            let names = roots.subjects();
            let names: Vec<&[u8]> = names.iter().map(AsRef::as_ref).collect();
            let shown = all.resolve(&names, schemes)?;
            all.0.iter().position(|pair| Arc::ptr_eq(pair, &shown))
        };
        assert_eq!(shown(&[AUTHORITY], EVERY), Some(1));
        assert_eq!(shown(&[AUTHORITY, SELF_SIGNED.certificate], EVERY), Some(0), "the first of several");
        assert_eq!(shown(&[CLIENT], EVERY), Some(0), "none comes from there, but the server may know more than it says");
        assert_eq!(shown(&[], EVERY), Some(0));
        assert_eq!(shown(&[AUTHORITY], &[SignatureScheme::ED25519]), None);
    }
}
