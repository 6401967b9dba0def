//! What a connection string says about TLS: the `ssl*` settings and the files in `~/.postgresql`.
//!
//! <https://www.postgresql.org/docs/current/libpq-ssl.html>

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use crate::connsettings::Settings;
use crate::conntext::ConnInfoError;
use crate::pgfiles::{self, Env};
use crate::tls::{Identity, Roots, TlsMode, TlsSettings};

/// The TLS settings, once the hosts are in `postgres`, which gets its own share of them. What is
/// passed over is added to `warnings`.
///
/// # Errors
/// A word is unknown, or two settings contradict each other.
pub fn settings(
    settings: &Settings,
    postgres: &mut Config,
    env: Env,
    warnings: &mut Vec<String>,
) -> Result<TlsSettings, ConnInfoError> {
    let folder = pgfiles::home(env).map(|home| home.join(".postgresql"));
    let default = |name| folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
    let roots = match settings.get("sslrootcert") {
        Some("system") => Roots::System,
        Some(path) => Roots::File(path.into()),
        None => default("root.crt").map_or(Roots::None, Roots::File),
    };
    let modes = [
        ("disable", TlsMode::Disable),
        ("allow", TlsMode::Prefer),
        ("prefer", TlsMode::Prefer),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ];
    let usual = if roots == Roots::System { TlsMode::VerifyFull } else { TlsMode::Prefer };
    let mut mode = settings.choice("sslmode", &modes)?.unwrap_or(usual);
    if roots == Roots::System && mode != TlsMode::VerifyFull {
        let why = "too weak for sslrootcert=system, where anybody may have a certificate";
        return Err(settings.error("sslmode", why, "use verify-full"));
    }
    let sockets = postgres.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
    let sockets = if postgres.get_hostaddrs().is_empty() { sockets } else { 0 };
    if sockets == postgres.get_hosts().len() {
        mode = TlsMode::Disable; // There is no TLS on a unix socket: libpq ignores the mode there.
    } else if sockets > 0 && mode > TlsMode::Prefer {
        let why = "a unix socket has no TLS and the other hosts must have it";
        return Err(settings.error("host", why, "use hosts of one kind"));
    }
    if mode == TlsMode::VerifyFull && settings.get("host").is_none() {
        let why = "verify-full compares the host's name, and there is none";
        return Err(settings.error("host", why, "give it beside hostaddr, or use sslmode=verify-ca"));
    }
    if settings.choice("sslnegotiation", &[("postgres", false), ("direct", true)])? == Some(true) {
        if mode <= TlsMode::Prefer {
            return Err(settings.error(
                "sslnegotiation",
                "direct needs TLS for certain",
                "use sslmode=require or more",
            ));
        }
        postgres.ssl_negotiation(SslNegotiation::Direct);
    }
    postgres.ssl_mode(match mode {
        TlsMode::Disable => SslMode::Disable,
        TlsMode::Prefer => SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
    });
    let certificate = settings.get("sslcert").map(Into::into).or_else(|| default("postgresql.crt"));
    let key = settings.get("sslkey").map(Into::into).or_else(|| folder.as_ref().map(|f| f.join("postgresql.key")));
    let identity = certificate.zip(key).filter(|_| settings.get("sslcertmode") != Some("disable"));
    let identity = identity.map(|(certificate, key)| Identity { certificate, key });
    if let Some(path) = default("root.crl").filter(|_| mode > TlsMode::Prefer && roots != Roots::None) {
        warnings.push(format!("{} is not used: revocation lists are not supported", path.display()));
    }
    let server_name = settings.number::<i32>("sslsni", "0 or 1")? != Some(0);
    Ok(TlsSettings { mode, roots, identity, server_name })
}
