//! `pgherald token`

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use super::Failure;
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub struct Mint {
    /// Whose token: the sub claim
    #[arg(long)]
    subject: String,
    /// How long it is valid: 10m, 1h, 30d
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// More claims, a JSON object: '{"projects":["7"]}'
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// PEM file of a private key, where the daemon checks with a public one (auth.secret signs otherwise)
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
}

impl Mint {
    /// A plain token of `subject`.
    pub fn of(subject: &str, ttl: Duration) -> Self {
        Self { subject: subject.to_owned(), ttl, claims: None, private_key: None }
    }
}

pub fn run(config: &Config, mint: &Mint) -> Result<(), Failure> {
    println!("{}", sign(config, mint)?);
    Ok(())
}

/// The token, signed with the configured secret or with a private key.
pub fn sign(config: &Config, mint: &Mint) -> Result<String, Failure> {
    let mut claims: Map<String, Value> = match &mint.claims {
        Some(text) => {
            serde_json::from_str(text).map_err(|error| Failure::new(format!("--claims is no JSON object: {error}")))?
        }
        None => Map::new(),
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    claims.insert("sub".into(), json!(mint.subject));
    claims.entry("iat").or_insert(json!(now));
    claims.entry("exp").or_insert(json!(now + mint.ttl.as_secs()));
    if let Some(issuer) = &config.auth.issuer {
        claims.entry("iss").or_insert(json!(issuer));
    }
    if let Some(audience) = config.auth.audience.first() {
        claims.entry("aud").or_insert(json!(audience));
    }
    let (key, default) = key(config, mint)?;
    let algorithm = match config.auth.algorithms.first() {
        Some(name) => {
            name.parse().map_err(|_| Failure::new(format!("auth.algorithms: {name:?} is no JWT algorithm")))?
        }
        None => default,
    };
    encode(&Header::new(algorithm), &claims, &key)
        .map_err(|error| Failure::new(format!("cannot sign with {algorithm:?}: {error}")))
}

fn key(config: &Config, mint: &Mint) -> Result<(EncodingKey, Algorithm), Failure> {
    if let Some(file) = &mint.private_key {
        let pem = std::fs::read(file).map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
        return EncodingKey::from_rsa_pem(&pem)
            .map(|key| (key, Algorithm::RS256))
            .or_else(|_| EncodingKey::from_ec_pem(&pem).map(|key| (key, Algorithm::ES256)))
            .or_else(|_| EncodingKey::from_ed_pem(&pem).map(|key| (key, Algorithm::EdDSA)))
            .map_err(|_| Failure::new(format!("{}: no private key in PEM form (PKCS#8)", file.display())));
    }
    match &config.auth.secret {
        Some(secret) => Ok((EncodingKey::from_secret(secret.expose().as_bytes()), Algorithm::HS256)),
        None => Err(Failure::new("no key to sign with: set auth.secret, or pass --private-key FILE")),
    }
}
