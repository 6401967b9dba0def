//! Which certificates are believed, and for which hosts.

use pgherald::certificate::{Check, Verifier};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

/// A certificate with this common name and these alternative names.
fn named(common: &str, alternatives: &[&str]) -> CertificateParams {
    let alternatives: Vec<String> = alternatives.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(alternatives).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

fn authority() -> CertificateParams {
    let mut params = named("Authority", &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn self_signed(params: &CertificateParams) -> CertificateDer<'static> {
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
}

/// Whether the certificate, signed by our authority, is believed to be this host's.
fn believed(params: &CertificateParams, host: &str) -> bool {
    let key = KeyPair::generate().unwrap();
    let root = authority().self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(authority(), key);
    let certificate = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    verdict(certificate.der(), &root, host).is_ok()
}

fn verdict(certificate: &CertificateDer<'_>, root: &CertificateDer<'static>, host: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let check = Check::ChainAndName { roots, trusted: vec![root.clone()] };
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let host = ServerName::try_from(host).unwrap();
    let verdict = Verifier::new(check, algorithms).verify_server_cert(certificate, &[], &host, &[], UnixTime::now());
    verdict.map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_host_is_known_by_its_alternative_names() {
    let params = named("common.test", &["db.test", "*.pool.test", "10.0.0.1"]);
    for (host, expected) in [
        ("db.test", true),
        ("DB.test", true),
        ("a.pool.test", true),
        ("10.0.0.1", true),
        ("pool.test", false),
        ("a.b.pool.test", false),
        ("common.test", false),
        ("10.0.0.2", false),
    ] {
        assert_eq!(believed(&params, host), expected, "{host}");
    }
}

#[test]
fn without_alternative_names_of_its_kind_the_common_name_counts() {
    for (common, alternatives, host, expected) in [
        ("db.test", &[][..], "db.test", true),
        ("db.test", &[], "DB.test", true),
        ("db.test", &[], "other.test", false),
        ("*.test", &[], "db.test", true),
        ("*.test", &[], "a.db.test", false),
        ("*.test", &[], "test", false),
        ("*", &[], "db", false),
        ("10.0.0.1", &[], "10.0.0.1", true),
        ("10.0.0.1", &[], "10.0.0.2", false),
        ("db.test", &["10.0.0.1"], "db.test", true),
        ("db.test", &["other.test"], "db.test", false),
        ("10.0.0.1", &["10.0.0.2"], "10.0.0.1", false),
        ("", &[], "db.test", false),
    ] {
        assert_eq!(believed(&named(common, alternatives), host), expected, "{common} {alternatives:?} {host}");
    }
    let mut email = named("db.test", &[]);
    email.subject_alt_names = vec![SanType::Rfc822Name("me@x.test".try_into().unwrap())];
    assert!(believed(&email, "db.test"), "an address for mail says nothing about hosts");
}

#[test]
fn a_self_signed_certificate_is_believed_where_it_is_the_root() {
    let mut params = named("db.test", &["db.test"]);
    let leaf = self_signed(&params);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = self_signed(&params);
    for certificate in [&leaf, &ca] {
        assert_eq!(verdict(certificate, certificate, "db.test"), Ok(()));
        assert!(verdict(certificate, certificate, "other.test").is_err(), "the name still counts");
    }
    let same_name = self_signed(&params);
    assert!(verdict(&same_name, &ca, "db.test").is_err(), "the same name with another key");
}

#[test]
fn an_expired_certificate_is_refused_even_as_its_own_root() {
    let mut params = authority();
    params.subject_alt_names = vec![SanType::DnsName("db.test".try_into().unwrap())];
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
    let expired = self_signed(&params);
    let error = verdict(&expired, &expired, "db.test").unwrap_err();
    assert!(error.contains("expired"), "{error}");
}
