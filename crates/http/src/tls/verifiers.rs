//! Which certificates of servers are accepted.

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage};

/// Accepts a server whose certificate is one of those that the user has named, whoever has signed it, and what is accepted anyway.
///
/// A registry often has a certificate that is an authority, has signed only itself, and is named as an authority: `openssl req -x509` makes
/// it, and the documents of Docker say so. Nobody else accepts an authority as the certificate of a server.
#[derive(Debug)]
pub(crate) struct NamedServers {
    named: Vec<CertificateDer<'static>>,
    /// What decides about all other certificates.
    chains: Arc<dyn ServerCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl NamedServers {
    /// Accepts the `named` certificates, and what `chains` accepts.
    pub(crate) fn or_chains(named: Vec<CertificateDer<'static>>, chains: Arc<dyn ServerCertVerifier>, provider: &CryptoProvider) -> Self {
        Self { named, chains, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for NamedServers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.named.contains(certificate) && is_in_force(certificate, now) {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, server)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.chains.verify_server_cert(certificate, intermediates, server, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether the certificate of a server is valid at this time, apart from its name and its issuer.
fn is_in_force(certificate: &CertificateDer<'_>, now: UnixTime) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
    // Without any authority, no certificate passes. The dates are checked first, then whether it is an authority, then its purpose, then
    // its issuer. For an authority, the purpose stays unchecked: its user has said that it is for servers.
    let verified = certificate.verify_for_usage(&[], &[], &[], now, KeyUsage::server_auth(), None, None);
    matches!(verified, Err(webpki::Error::CaUsedAsEndEntity | webpki::Error::UnknownIssuer))
}

/// Accepts any server, also one with a certificate and a signature of kinds that are not supported.
#[derive(Debug)]
pub(crate) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::*;
        vec![
            ECDSA_NISTP256_SHA256,
            ECDSA_NISTP384_SHA384,
            ECDSA_NISTP521_SHA512,
            ED25519,
            ED448,
            RSA_PSS_SHA256,
            RSA_PSS_SHA384,
            RSA_PSS_SHA512,
            RSA_PKCS1_SHA256,
            RSA_PKCS1_SHA384,
            RSA_PKCS1_SHA512,
            ECDSA_SHA1_Legacy,
            RSA_PKCS1_SHA1,
        ]
    }
}
