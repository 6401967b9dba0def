//! JWT -> claims. Algorithms and keys come from configuration, never from the token (RFC 8725).

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::{Auth, Config};
use crate::event::ProjectId;
use crate::settings::Secret;

/// What a session keeps of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`, a text or a number; 1 to 255 bytes.
    pub subject: Arc<str>,
    /// `exp`, seconds since 1970.
    pub expires_at: u64,
    /// The projects of `authorize.claim`, where that is configured; a token without the claim has none.
    pub projects: BTreeSet<ProjectId>,
}

/// Why a token is refused. The texts are safe to show: none repeats the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is its own message")]
pub enum TokenError {
    #[error("a token is missing")]
    Missing,
    #[error("the token is longer than limits.token_bytes")]
    TooLarge,
    #[error("the token is no JWT, or its algorithm is none that this service knows")]
    Malformed,
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    #[error("the token's key id is unknown")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token's issuer is not accepted here")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token lacks a usable sub or exp claim")]
    Claims,
    #[error("the token is of another subject than this session")]
    OtherSubject,
    #[error("tokens in the query string are not accepted here: send a header, a subprotocol or an auth frame")]
    InQuery,
}

impl TokenError {
    /// The word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::OtherSubject => "other_subject",
            Self::InQuery => "in_query",
        }
    }
}

/// Why a configured key can't be used; the text says what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct KeyError(String);

/// What every token is checked against, keys apart.
#[derive(Clone, Debug)]
pub struct Rules {
    algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Vec<String>,
    leeway_seconds: u64,
    token_bytes: usize,
    claim: Option<String>,
}

impl Rules {
    /// From `[auth]`, `[authorize]` and `[limits]`; errors name an unknown algorithm.
    pub fn new(config: &Config) -> Result<Self, KeyError> {
        let Auth { algorithms, issuer, audience, leeway, .. } = &config.auth;
        let known = |name: &String| {
            name.parse().map_err(|_| {
                KeyError(format!(
                    "auth.algorithms: {name:?} is no JWT algorithm: use HS256, RS256, PS256, ES256, EdDSA ..."
                ))
            })
        };
        Ok(Self {
            algorithms: algorithms.iter().map(known).collect::<Result<_, _>>()?,
            issuer: issuer.clone(),
            audience: audience.clone(),
            leeway_seconds: leeway.as_secs(),
            token_bytes: config.limits.token_bytes,
            claim: config.authorize.claim.clone(),
        })
    }

    /// How long after `exp` a token still counts, in seconds.
    pub fn leeway_seconds(&self) -> u64 {
        self.leeway_seconds
    }

    /// One key's validation. Each key has its own: algorithms of two families in one always fail.
    fn validation(&self, algorithms: Vec<Algorithm>) -> Validation {
        let mut validation = Validation::new(algorithms[0]);
        validation.algorithms = algorithms;
        validation.leeway = self.leeway_seconds;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if self.audience.is_empty() {
            validation.validate_aud = false;
        } else {
            validation.set_audience(&self.audience);
            required.push("aud");
        }
        // Without this an absent iss or aud passes.
        validation.set_required_spec_claims(&required);
        validation
    }
}

struct Key {
    kid: Option<String>,
    decoding: DecodingKey,
    validation: Validation,
}

/// Keys, and the rules that hold for all of them.
pub struct KeySet {
    keys: Vec<Key>,
    rules: Rules,
}

impl KeySet {
    /// A shared secret; HS256 unless `auth.algorithms` says otherwise.
    pub fn from_secret(secret: &Secret, rules: Rules) -> Result<Self, KeyError> {
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        Self::single(key, AlgorithmFamily::Hmac.algorithms(), Algorithm::HS256, rules)
    }

    /// A PEM file's public key; its kind decides the algorithm unless `auth.algorithms` says otherwise.
    pub fn from_public_pem(pem: &[u8], rules: Rules) -> Result<Self, KeyError> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("PRIVATE KEY") {
            return Err(KeyError("this is a private key: give the public one (openssl pkey -in FILE -pubout)".into()));
        }
        if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            return Self::single(key, AlgorithmFamily::Rsa.algorithms(), Algorithm::RS256, rules);
        }
        if let (Ok(key), Some(algorithm)) = (DecodingKey::from_ec_pem(pem), algorithm_of_curve(&text)) {
            return Self::single(key, &[algorithm], algorithm, rules);
        }
        if let Ok(key) = DecodingKey::from_ed_pem(pem) {
            return Self::single(key, AlgorithmFamily::Ed.algorithms(), Algorithm::EdDSA, rules);
        }
        Err(KeyError(
            "no public key in PEM form: expected -----BEGIN PUBLIC KEY----- of RSA, P-256, P-384 or Ed25519".into(),
        ))
    }

    /// The signing keys of a JWKS (RFC 7517). Symmetric keys are never taken from one; unknown kinds are skipped.
    pub fn from_jwks(set: &JwkSet, rules: Rules) -> Self {
        let keys = set.keys.iter().filter_map(|jwk| Key::from_jwk(jwk, &rules)).collect();
        Self { keys, rules }
    }

    /// How many keys can verify a token.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// No key can verify a token.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    fn single(
        decoding: DecodingKey,
        fitting: &[Algorithm],
        default: Algorithm,
        rules: Rules,
    ) -> Result<Self, KeyError> {
        let algorithms = if rules.algorithms.is_empty() { vec![default] } else { rules.algorithms.clone() };
        if let Some(wrong) = algorithms.iter().find(|algorithm| !fitting.contains(algorithm)) {
            return Err(KeyError(format!(
                "auth.algorithms: {wrong:?} does not fit this key: leave it out, or use one of {fitting:?}"
            )));
        }
        let validation = rules.validation(algorithms);
        Ok(Self { keys: vec![Key { kid: None, decoding, validation }], rules })
    }

    /// Checks size, algorithm, signature, `exp`, `nbf`, and `iss` and `aud` where configured.
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > self.rules.token_bytes {
            return Err(TokenError::TooLarge);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        let key = self.find(header.kid.as_deref()).ok_or(TokenError::UnknownKey)?;
        if !key.validation.algorithms.contains(&header.alg) {
            return Err(TokenError::Algorithm);
        }
        let claims = decode::<Map<String, Value>>(token, &key.decoding, &key.validation)
            .map_err(|error| refusal(error.kind()))?
            .claims;
        self.read(&claims).ok_or(TokenError::Claims)
    }

    /// A configured key has no id and serves every token; among a JWKS's the id decides, if there is a choice.
    fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (self.keys.as_slice(), kid) {
            ([only], _) if only.kid.is_none() => Some(only),
            ([only], None) => Some(only),
            (keys, Some(kid)) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (_, None) => None,
        }
    }

    fn read(&self, claims: &Map<String, Value>) -> Option<Claims> {
        let subject = text(claims.get("sub")?).filter(|subject| (1..=255).contains(&subject.len()))?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float cast saturates, as a far expiry should"
        )]
        let expires_at = claims.get("exp")?.as_f64()? as u64;
        let listed = self.rules.claim.as_ref().and_then(|claim| claims.get(claim)).and_then(Value::as_array);
        let projects = listed.into_iter().flatten().filter_map(|value| ProjectId::parse(&text(value)?).ok()).collect();
        Some(Claims { subject: subject.into(), expires_at, projects })
    }
}

impl Key {
    fn from_jwk(jwk: &Jwk, rules: &Rules) -> Option<Self> {
        let families = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => vec![Algorithm::RS256],
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            _ => return None,
        };
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let stated: Option<Algorithm> = match jwk.common.key_algorithm {
            Some(algorithm) => Some(algorithm.to_string().parse().ok()?),
            None => None,
        };
        let family = families[0].family();
        let algorithms: Vec<Algorithm> = match (stated, rules.algorithms.as_slice()) {
            (Some(one), []) => vec![one],
            (Some(one), allowed) => allowed.iter().copied().filter(|algorithm| *algorithm == one).collect(),
            (None, []) => families,
            (None, allowed) => allowed.to_vec(),
        };
        let algorithms: Vec<Algorithm> =
            algorithms.into_iter().filter(|algorithm| algorithm.family() == family).collect();
        if algorithms.is_empty() {
            return None;
        }
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { kid: jwk.common.key_id.clone(), decoding, validation: rules.validation(algorithms) })
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn refusal(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYetValid,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(_) => TokenError::Claims,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidSignature => TokenError::Signature,
        _ => TokenError::Malformed,
    }
}

/// The algorithm of an EC key: P-256 (OID 1.2.840.10045.3.1.7) or P-384 (1.3.132.0.34), RFC 5480; no other curve.
fn algorithm_of_curve(pem: &str) -> Option<Algorithm> {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
    let names = |oid: &[u8]| der.windows(oid.len()).any(|window| window == oid);
    match (names(P256), names(P384)) {
        (true, _) => Some(Algorithm::ES256),
        (_, true) => Some(Algorithm::ES384),
        _ => None,
    }
}
