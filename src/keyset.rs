//! Keys, and whether they signed a token.

use base64::Engine as _;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::settings::Secret;
use crate::token::{Claims, KeyError, Rules, TokenError};

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
        Claims::read(&claims, &self.rules).ok_or(TokenError::Claims)
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
