//! A server's certificate, checked as far as `sslmode` says and in libpq's way.

use std::net::IpAddr;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// What is checked, besides that the server has the key of the certificate that it shows.
#[derive(Debug)]
pub enum Check {
    /// Nothing: whoever answers is believed.
    Nothing,
    /// That the certificate leads to one of these.
    Chain {
        /// The roots, as rustls wants them.
        roots: RootCertStore,
        /// The same, as they were given.
        trusted: Vec<CertificateDer<'static>>,
    },
    /// The same, and that it names the host.
    ChainAndName {
        /// The roots, as rustls wants them.
        roots: RootCertStore,
        /// The same, as they were given.
        trusted: Vec<CertificateDer<'static>>,
    },
}

/// rustls asks this about every server.
#[derive(Debug)]
pub struct Verifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// A verifier that checks so much. Signatures are verified by these algorithms in any case.
    #[must_use]
    pub fn new(check: Check, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { check, algorithms }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (roots, trusted) = match &self.check {
            Check::Nothing => return Ok(ServerCertVerified::assertion()),
            Check::Chain { roots, trusted } | Check::ChainAndName { roots, trusted } => (roots, trusted),
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let chain = verify_server_cert_signed_by_trust_anchor(&parsed, roots, between, now, self.algorithms.all);
        match chain {
            // A self-signed certificate that is its own root, as PostgreSQL's manual makes it with
            // openssl req -x509. Its dates have been checked by now.
            Err(error) if is_authority_itself(&error) && trusted.contains(certificate) => {}
            chain => chain?,
        }
        if matches!(self.check, Check::ChainAndName { .. }) {
            verify_server_name(&parsed, name).or_else(|error| common_name_matches(certificate, name).ok_or(error))?;
        }
        Ok(ServerCertVerified::assertion())
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

/// webpki's "CA used as end entity"; rustls hands it on without a variant of its own.
fn is_authority_itself(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other)) if format!("{other:?}").contains("CaUsedAsEndEntity"))
}

/// libpq's last resort, which webpki does not have: a certificate without an alternative name of
/// the host's kind is known by its common name.
fn common_name_matches(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Option<()> {
    let certificate = Certificate::from_der(certificate).ok()?.tbs_certificate;
    let is_ip = matches!(name, ServerName::IpAddress(_));
    let same_kind = |other: &GeneralName| match other {
        GeneralName::DnsName(_) => !is_ip,
        GeneralName::IpAddress(_) => is_ip,
        _ => false,
    };
    if certificate.get::<SubjectAltName>().ok()?.is_some_and(|(_, names)| names.0.iter().any(same_kind)) {
        return None;
    }
    let mut attributes = certificate.subject.0.iter().flat_map(|names| names.0.iter());
    let common = attributes.find(|attribute| attribute.oid == COMMON_NAME)?;
    let common = std::str::from_utf8(common.value.value()).ok()?;
    let host = name.to_str();
    let matched = match common.strip_prefix('*') {
        _ if is_ip => common.parse::<IpAddr>().ok()? == host.parse::<IpAddr>().ok()?,
        Some(suffix) if suffix.starts_with('.') => host
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(&suffix[1..])),
        _ => common.eq_ignore_ascii_case(&host),
    };
    matched.then_some(())
}
