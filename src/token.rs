//! What a token says, and by which rules it is judged. Algorithms and keys come from configuration, never from the token (RFC 8725).

use std::collections::BTreeSet;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use crate::config::{Auth, Config};
use crate::event::ProjectId;

/// What a session keeps of its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `sub`, a text or a number; 1 to 255 bytes.
    pub subject: Arc<str>,
    /// `exp`, seconds since 1970.
    pub expires_at: u64,
    /// The projects of `authorize.claim`, where that is configured; a token without the claim has none.
    pub projects: BTreeSet<ProjectId>,
    /// Whether it has the scope of `auth.admin_scope`; false where that is not configured.
    pub admin: bool,
}

impl Claims {
    /// Takes what a session needs from a verified token's claims; `None` where `sub` or `exp` is unusable.
    pub fn read(claims: &Map<String, Value>, rules: &Rules) -> Option<Self> {
        let subject = text(claims.get("sub")?).filter(|subject| (1..=255).contains(&subject.len()))?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float cast saturates, as a far expiry should"
        )]
        let expires_at = claims.get("exp")?.as_f64()? as u64;
        let listed = rules.claim.as_ref().and_then(|claim| claims.get(claim)).and_then(Value::as_array);
        let projects = listed.into_iter().flatten().filter_map(|value| ProjectId::parse(&text(value)?).ok()).collect();
        let admin = rules.admin_scope.as_ref().is_some_and(|scope| has_scope(claims, scope));
        Some(Self { subject: subject.into(), expires_at, projects, admin })
    }
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
pub struct KeyError(pub String);

/// What every token is checked against, keys apart.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) algorithms: Vec<Algorithm>,
    issuer: Option<String>,
    audience: Vec<String>,
    leeway_seconds: u64,
    pub(crate) token_bytes: usize,
    claim: Option<String>,
    admin_scope: Option<String>,
}

impl Rules {
    /// From `[auth]`, `[authorize]` and `[limits]`; errors name an unknown algorithm.
    pub fn new(config: &Config) -> Result<Self, KeyError> {
        let Auth { algorithms, issuer, audience, leeway, admin_scope, .. } = &config.auth;
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
            admin_scope: admin_scope.clone(),
        })
    }

    /// One key's validation. Each key has its own: algorithms of two families in one always fail.
    pub(crate) fn validation(&self, algorithms: Vec<Algorithm>) -> Validation {
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

/// Whether one of the claims that providers put scopes into names exactly this one: `scope` is a text of words
/// (RFC 8693, RFC 9068), the others are lists or such a text.
fn has_scope(claims: &Map<String, Value>, scope: &str) -> bool {
    let in_words = |claim: &Value| claim.as_str().is_some_and(|text| text.split(' ').any(|word| word == scope));
    let in_list = |claim: &Value| claim.as_array().is_some_and(|list| list.iter().any(|entry| entry == scope));
    let named = |name: &&str| claims.get(*name).is_some_and(|claim| in_words(claim) || in_list(claim));
    claims.get("scope").is_some_and(in_words) || ["scp", "scopes", "roles", "permissions"].iter().any(named)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
