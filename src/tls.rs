//! TLS to PostgreSQL through rustls, with libpq's meaning of `sslmode`:
//! <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::certificate::{Check, Verifier};

/// What a connection asks of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// How much is checked.
    pub mode: TlsMode,
    /// Who may have signed the server's certificate.
    pub roots: Roots,
    /// Who we are to the server, if it asks.
    pub identity: Option<Identity>,
    /// Whether the host's name is sent along in the clear (SNI), as proxies want it.
    pub server_name: bool,
}

/// `sslmode`, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS where the server has it, unchecked.
    Prefer,
    /// TLS. The certificate is checked as for `VerifyCa` where there is a file of roots.
    Require,
    /// TLS with a certificate that leads to one of the roots.
    VerifyCa,
    /// The same, and the certificate names the host (or its IP address).
    VerifyFull,
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        })
    }
}

/// `sslrootcert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// None given, and no `~/.postgresql/root.crt`.
    None,
    /// Those in a PEM file.
    File(PathBuf),
    /// Those that the operating system trusts.
    System,
}

/// `sslcert` and `sslkey`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A PEM file with our certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// A PEM file with our private key, not encrypted, that nobody else may read.
    pub key: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is nothing to check the server's certificate against.
    #[error(
        "sslmode={0} needs root certificates and there are none: give sslrootcert=FILE (or put the file at \
         ~/.postgresql/root.crt), or sslrootcert=system for those of the operating system"
    )]
    NoRoots(TlsMode),
    /// The operating system has no root certificates to offer.
    #[error("sslrootcert=system found no certificates ({0}): install ca-certificates, or give sslrootcert=FILE")]
    NoSystemRoots(String),
    /// A file is missing or not readable.
    #[error("{setting}: cannot read {path}: {error}; correct the path or the file's permissions")]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{setting}: {path} {why}")]
    Contents {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: String,
        /// What is wrong, and what to do about it.
        why: String,
    },
    /// rustls refuses the whole.
    #[error("cannot set up TLS: {0}; check sslcert, sslkey and sslrootcert")]
    Rustls(#[from] rustls::Error),
}

/// What makes TLS connections, for `tokio_postgres::Config::connect` and for a pool. Files are read
/// now: for new ones make a new connector. Nothing in it is global.
///
/// # Errors
/// A file is missing or not PEM, or there are no roots for a mode that checks.
pub fn connector(settings: &TlsSettings) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(check(settings)?, provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.identity {
        Some(identity) if settings.mode != TlsMode::Disable => {
            builder.with_client_auth_cert(certificates("sslcert", &identity.certificate)?, key(&identity.key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.enable_sni = settings.server_name;
    config.alpn_protocols = vec![b"postgresql".to_vec()]; // sslnegotiation=direct needs it, others ignore it
    Ok(MakeRustlsConnect::new(config))
}

fn check(settings: &TlsSettings) -> Result<Check, TlsError> {
    let mode = settings.mode;
    let trusted = match (mode, &settings.roots) {
        (TlsMode::Disable | TlsMode::Prefer, _) | (TlsMode::Require, Roots::None) => {
            return Ok(Check::Nothing);
        }
        (_, Roots::None) => return Err(TlsError::NoRoots(mode)),
        (_, Roots::File(path)) => certificates("sslrootcert", path)?,
        (_, Roots::System) => system_roots()?,
    };
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(trusted.iter().cloned());
    if let (0, Roots::File(path)) = (usable, &settings.roots) {
        return Err(contents("sslrootcert", path, "has no certificate that can be a root; give that of the authority"));
    }
    Ok(if mode == TlsMode::VerifyFull {
        Check::ChainAndName { roots, trusted }
    } else {
        Check::Chain { roots, trusted }
    })
}

fn system_roots() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    if found.certs.is_empty() { Err(TlsError::NoSystemRoots(errors.join(", "))) } else { Ok(found.certs) }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(setting, path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match parsed {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(contents(
            setting,
            path,
            "has no certificate in PEM form (-----BEGIN CERTIFICATE-----); convert it with openssl x509",
        )),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read("sslkey", path)?;
    let metadata = std::fs::metadata(path).map_err(|error| unreadable("sslkey", path, error))?;
    // libpq's rule: root's files may be read by a group.
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(contents("sslkey", path, "may be read by others; chmod 600 it"));
    }
    let todo = "has no private key in PEM form, or an encrypted one; convert it with openssl pkey";
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| contents("sslkey", path, todo))
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| unreadable(setting, path, error))
}

fn unreadable(setting: &'static str, path: &Path, error: std::io::Error) -> TlsError {
    TlsError::File { setting, path: path.display().to_string(), error }
}

fn contents(setting: &'static str, path: &Path, why: &str) -> TlsError {
    TlsError::Contents { setting, path: path.display().to_string(), why: why.to_owned() }
}
