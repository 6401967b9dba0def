//! Tokens: the good ones of every algorithm, and the attacks that everybody tries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use pgherald::config::{Config, File};
use pgherald::event::ProjectId;
use pgherald::keyset::KeySet;
use pgherald::settings::Secret;
use pgherald::token::{KeyError, Rules, TokenError};
use proptest::prelude::*;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData,
};
use serde_json::{Value, json};

const SECRET: &str = "a secret of the tests, long enough";

// Made once a process: an RSA key takes its time.
static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
static P256: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
static P384: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
static ED25519: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ED25519).unwrap());

/// `settings` such as `("auth.issuer", "x")`.
fn rules(settings: &[(&str, &str)]) -> Rules {
    let variable = |key: &str| format!("PGHERALD__{}", key.to_uppercase().replace('.', "__"));
    let environment: BTreeMap<String, String> =
        settings.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect();
    Rules::new(&Config::load(File::None, &environment).unwrap()).unwrap()
}

fn with_secret(settings: &[(&str, &str)]) -> KeySet {
    KeySet::from_secret(&Secret::new(SECRET), rules(settings)).unwrap()
}

fn with_public_key(pair: &KeyPair, settings: &[(&str, &str)]) -> KeySet {
    KeySet::from_public_pem(pair.public_key_pem().as_bytes(), rules(settings)).unwrap()
}

fn signer(algorithm: Algorithm, pair: &KeyPair) -> EncodingKey {
    let pem = pair.serialize_pem();
    let key = match algorithm {
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
        _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    key.unwrap()
}

fn secret_signer() -> EncodingKey {
    EncodingKey::from_secret(SECRET.as_bytes())
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Good claims with some of them changed; null takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "sub": "alice", "exp": now() + 3600 });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// HS256 with the tests' secret.
fn signed(changes: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), &claims(changes), &secret_signer()).unwrap()
}

/// A token whose header says whatever it likes.
fn forged(header: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims(&json!({}))))
}

#[track_caller]
fn refused(keys: &KeySet, token: &str, expected: TokenError) {
    assert_eq!(keys.verify(token), Err(expected), "{token:.300}");
}

#[test]
fn good_tokens_of_every_algorithm_are_taken() {
    let secret = Secret::new(SECRET);
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let keys = KeySet::from_secret(&secret, rules(&[("auth.algorithms", &format!("{algorithm:?}"))])).unwrap();
        let token = encode(&Header::new(algorithm), &claims(&json!({})), &secret_signer()).unwrap();
        assert_eq!(&*keys.verify(&token).unwrap().subject, "alice", "{algorithm:?}");
    }
    for (algorithm, pair) in [
        (Algorithm::RS256, &*RSA),
        (Algorithm::RS384, &RSA),
        (Algorithm::RS512, &RSA),
        (Algorithm::PS256, &RSA),
        (Algorithm::PS384, &RSA),
        (Algorithm::PS512, &RSA),
        (Algorithm::ES256, &P256),
        (Algorithm::ES384, &P384),
        (Algorithm::EdDSA, &ED25519),
    ] {
        let keys = with_public_key(pair, &[("auth.algorithms", &format!("{algorithm:?}"))]);
        let token = encode(&Header::new(algorithm), &claims(&json!({})), &signer(algorithm, pair)).unwrap();
        assert_eq!(&*keys.verify(&token).unwrap().subject, "alice", "{algorithm:?}");
    }
}

#[test]
fn a_key_decides_its_algorithm_unless_the_settings_do() {
    refused(&with_secret(&[("auth.algorithms", "HS512")]), &signed(&json!({})), TokenError::Algorithm);
    assert!(with_secret(&[]).verify(&signed(&json!({}))).is_ok());
    for (algorithm, pair) in
        [(Algorithm::RS256, &*RSA), (Algorithm::ES256, &P256), (Algorithm::ES384, &P384), (Algorithm::EdDSA, &ED25519)]
    {
        let token = encode(&Header::new(algorithm), &claims(&json!({})), &signer(algorithm, pair)).unwrap();
        assert!(with_public_key(pair, &[]).verify(&token).is_ok(), "{algorithm:?}");
    }
    let token = encode(&Header::new(Algorithm::PS256), &claims(&json!({})), &signer(Algorithm::PS256, &RSA)).unwrap();
    refused(&with_public_key(&RSA, &[]), &token, TokenError::Algorithm);
    assert!(with_public_key(&RSA, &[("auth.algorithms", "RS256,PS256")]).verify(&token).is_ok());
}

#[test]
fn alg_none_is_refused() {
    for keys in [with_secret(&[]), with_public_key(&RSA, &[])] {
        for none in ["none", "None", "NONE", "nOnE", ""] {
            refused(&keys, &forged(&json!({ "alg": none, "typ": "JWT" }), ""), TokenError::Malformed);
            refused(&keys, &forged(&json!({ "alg": none }), "c2lnbmF0dXJl"), TokenError::Malformed);
        }
        refused(&keys, &forged(&json!({ "typ": "JWT" }), ""), TokenError::Malformed);
    }
}

#[test]
fn an_empty_signature_is_refused() {
    refused(&with_secret(&[]), &forged(&json!({ "alg": "HS256" }), ""), TokenError::Signature);
    assert!(with_public_key(&RSA, &[]).verify(&forged(&json!({ "alg": "RS256" }), "")).is_err());
    assert!(with_public_key(&P256, &[]).verify(&forged(&json!({ "alg": "ES256" }), "")).is_err());
    // CVE-2022-21449, "psychic signatures": r = s = 0.
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    assert!(with_public_key(&P256, &[]).verify(&forged(&json!({ "alg": "ES256" }), &zeros)).is_err());
}

#[test]
fn an_rsa_public_key_used_as_an_hmac_secret_is_refused() {
    let keys = with_public_key(&RSA, &[]);
    let pem = RSA.public_key_pem();
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), &RSA.subject_public_key_info()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(secret);
            let token = encode(&Header::new(algorithm), &claims(&json!({})), &key).unwrap();
            refused(&keys, &token, TokenError::Algorithm);
        }
    }
}

#[test]
fn a_key_that_the_token_brings_along_is_not_believed() {
    let own = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let key = signer(Algorithm::ES256, &own);
    let mut header = Header::new(Algorithm::ES256);
    header.jwk = Some(Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap());
    header.jku = Some("https://attacker.example/jwks.json".into());
    header.x5u = Some("https://attacker.example/x.pem".into());
    let token = encode(&header, &claims(&json!({})), &key).unwrap();
    refused(&with_public_key(&P256, &[]), &token, TokenError::Signature);
}

#[test]
fn a_token_of_another_key_is_refused() {
    let other = EncodingKey::from_secret(b"another secret, just as long as ours");
    let token = encode(&Header::new(Algorithm::HS256), &claims(&json!({})), &other).unwrap();
    refused(&with_secret(&[]), &token, TokenError::Signature);
}

#[test]
fn a_token_that_was_changed_is_refused() {
    let keys = with_secret(&[]);
    let (mine, other) = (signed(&json!({})), signed(&json!({ "sub": "mallory" })));
    let part = |token: &str, place: usize| token.split('.').nth(place).unwrap().to_owned();
    let swapped = format!("{}.{}.{}", part(&mine, 0), part(&other, 1), part(&mine, 2));
    refused(&keys, &swapped, TokenError::Signature);
    assert!(keys.verify(&mine[..mine.len() - 2]).is_err(), "a cut signature");
    assert!(keys.verify(&format!("{mine}.x")).is_err(), "a fourth part");
    assert!(keys.verify(&format!("{mine} ")).is_err(), "a space behind");
}

#[test]
fn a_foreign_or_missing_issuer_is_refused() {
    let keys = with_secret(&[("auth.issuer", "https://id.example/")]);
    assert!(keys.verify(&signed(&json!({ "iss": "https://id.example/" }))).is_ok());
    for issuer in [json!("https://id.example"), json!("https://attacker.example/"), json!(""), json!(["https://x/"])] {
        refused(&keys, &signed(&json!({ "iss": issuer })), TokenError::Issuer);
    }
    refused(&keys, &signed(&json!({})), TokenError::Issuer);
    assert!(keys.verify(&signed(&json!({ "iss": 7 }))).is_err());
}

#[test]
fn a_wrong_or_missing_audience_is_refused() {
    let keys = with_secret(&[("auth.audience", "pgherald,board")]);
    for audience in [json!("pgherald"), json!("board"), json!(["other", "board"])] {
        assert!(keys.verify(&signed(&json!({ "aud": audience }))).is_ok(), "{audience}");
    }
    for audience in [json!("other"), json!(["other"]), json!([]), json!("")] {
        refused(&keys, &signed(&json!({ "aud": audience })), TokenError::Audience);
    }
    refused(&keys, &signed(&json!({})), TokenError::Audience);
    assert!(keys.verify(&signed(&json!({ "aud": 7 }))).is_err());
}

#[test]
fn issuer_and_audience_are_not_looked_at_unless_configured() {
    assert!(with_secret(&[]).verify(&signed(&json!({ "iss": "anyone", "aud": ["anything"] }))).is_ok());
}

#[test]
fn an_expired_token_is_refused_once_the_leeway_is_over() {
    let keys = with_secret(&[("auth.leeway", "30s")]);
    assert!(keys.verify(&signed(&json!({ "exp": now() - 10 }))).is_ok());
    refused(&keys, &signed(&json!({ "exp": now() - 40 })), TokenError::Expired);
    refused(&keys, &signed(&json!({ "exp": 0 })), TokenError::Expired);
}

#[test]
fn a_token_that_is_not_valid_yet_is_refused() {
    let keys = with_secret(&[("auth.leeway", "30s")]);
    assert!(keys.verify(&signed(&json!({ "nbf": now() + 10 }))).is_ok());
    refused(&keys, &signed(&json!({ "nbf": now() + 120 })), TokenError::NotYetValid);
}

#[test]
fn a_token_without_a_usable_expiry_is_refused() {
    let keys = with_secret(&[]);
    refused(&keys, &signed(&json!({ "exp": null })), TokenError::Claims);
    for expiry in [json!("4102444800"), json!(true), json!([4_102_444_800_u64]), json!({}), json!(-1)] {
        assert!(keys.verify(&signed(&json!({ "exp": expiry }))).is_err(), "{expiry}");
    }
    // Beyond all measure is far away, not before the beginning.
    for far in [json!(u64::MAX), json!(1e300)] {
        if let Ok(claims) = keys.verify(&signed(&json!({ "exp": far }))) {
            assert!(claims.expires_at > now(), "{far}");
        }
    }
    assert_eq!(keys.verify(&signed(&json!({ "exp": 4_102_444_800.9 }))).unwrap().expires_at, 4_102_444_800);
}

#[test]
fn a_token_without_a_usable_subject_is_refused() {
    let keys = with_secret(&[]);
    assert_eq!(&*keys.verify(&signed(&json!({ "sub": 42 }))).unwrap().subject, "42");
    assert_eq!(&*keys.verify(&signed(&json!({ "sub": "x".repeat(255) }))).unwrap().subject, "x".repeat(255));
    refused(&keys, &signed(&json!({ "sub": null })), TokenError::Claims);
    for subject in [json!(""), json!("x".repeat(256))] {
        refused(&keys, &signed(&json!({ "sub": subject })), TokenError::Claims);
    }
    for subject in [json!(["alice"]), json!({ "alice": 1 }), json!(true)] {
        assert!(keys.verify(&signed(&json!({ "sub": subject }))).is_err(), "{subject}");
    }
}

#[test]
fn an_oversized_token_is_refused_unread() {
    let keys = with_secret(&[("limits.token_bytes", "256")]);
    assert!(keys.verify(&signed(&json!({}))).is_ok());
    refused(&keys, &signed(&json!({ "x": "x".repeat(300) })), TokenError::TooLarge);
    refused(&keys, &"x".repeat(257), TokenError::TooLarge);
    refused(&keys, &"x".repeat(256), TokenError::Malformed);
    refused(&with_secret(&[]), &"é".repeat(4097), TokenError::TooLarge);
}

#[test]
fn what_is_no_token_is_malformed() {
    let keys = with_secret(&[]);
    let deep = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":{}", "[".repeat(3_000)));
    let array = URL_SAFE_NO_PAD.encode("[\"HS256\"]");
    refused(&keys, "", TokenError::Missing);
    for token in [
        ".",
        "..",
        "...",
        "a.b.c",
        "Bearer x",
        "é.é.é",
        "\0.\0.\0",
        &format!("{deep}.e30.x"),
        &format!("{array}.e30.x"),
    ] {
        refused(&keys, token, TokenError::Malformed);
    }
}

#[test]
fn claims_that_are_no_object_are_refused() {
    let keys = with_secret(&[]);
    for claims in [json!([]), json!("alice"), json!(null), json!(7), json!([{ "sub": "alice" }])] {
        let token = encode(&Header::new(Algorithm::HS256), &claims, &secret_signer()).unwrap();
        assert!(keys.verify(&token).is_err(), "{claims}");
    }
}

#[test]
fn the_claim_lists_projects_and_what_is_none_is_left_out() {
    let keys = with_secret(&[("authorize.claim", "projects")]);
    let check = |changes: Value, expected: &[&str]| {
        let projects: BTreeSet<ProjectId> = expected.iter().map(|project| ProjectId::parse(project).unwrap()).collect();
        assert_eq!(keys.verify(&signed(&changes)).unwrap().projects, projects, "{changes}");
    };
    check(json!({ "projects": ["7", 8, "a b"] }), &["7", "8", "a b"]);
    check(json!({ "projects": ["*", "", null, ["9"], { "10": 1 }, true, "x".repeat(201), "a\u{0}"] }), &[]);
    check(json!({ "projects": "7" }), &[]);
    check(json!({ "projects": { "7": true } }), &[]);
    check(json!({}), &[]);
    let without = with_secret(&[]).verify(&signed(&json!({ "projects": ["7"] }))).unwrap();
    assert!(without.projects.is_empty(), "an unconfigured claim means nothing");
}

#[test]
fn an_administrators_token_has_exactly_the_configured_scope() {
    let keys = with_secret(&[("auth.admin_scope", "pgherald.admin")]);
    let check = |changes: Value, expected: bool| {
        assert_eq!(keys.verify(&signed(&changes)).unwrap().admin, expected, "{changes}");
    };
    check(json!({ "scope": "pgherald.admin" }), true);
    check(json!({ "scope": "openid pgherald.admin email" }), true);
    check(json!({ "scope": "openid  pgherald.admin" }), true);
    for name in ["scp", "scopes", "roles", "permissions"] {
        check(json!({ name: ["openid", "pgherald.admin"] }), true);
        check(json!({ name: "openid pgherald.admin" }), true);
        check(json!({ name: [] }), false);
        check(json!({ name: ["pgherald.administrator", "x pgherald.admin", "pgherald.admin "] }), false);
        check(json!({ name: [["pgherald.admin"], { "pgherald.admin": true }, 1, null, true] }), false);
        check(json!({ name: { "pgherald.admin": true } }), false);
    }
    // In one of them is enough, and what is no scope beside it does not matter.
    check(json!({ "scope": "openid", "roles": [7, null, "pgherald.admin"], "scp": 7 }), true);
    // A part is not the whole, and letters count.
    for scope in ["", " ", "pgherald", "admin", "pgherald.administrator", "my-pgherald.admin", "pgherald.admin.read"] {
        check(json!({ "scope": scope }), false);
    }
    for scope in ["Pgherald.Admin", "pgherald.admin,openid", "pgherald.admin\topenid", "\"pgherald.admin\"", "*"] {
        check(json!({ "scope": scope }), false);
    }
    // `scope` is a text and nothing else.
    for scope in [json!(["pgherald.admin"]), json!({ "pgherald.admin": true }), json!(true), json!(1), Value::Null] {
        check(json!({ "scope": scope }), false);
    }
    // Other claims say nothing, nor does the subject.
    check(
        json!({ "sub": "pgherald.admin", "admin": true, "Scope": "pgherald.admin", "groups": ["pgherald.admin"] }),
        false,
    );
    check(json!({ "realm_access": { "roles": ["pgherald.admin"] } }), false);
}

#[test]
fn without_a_configured_scope_nobody_is_an_administrator() {
    let keys = with_secret(&[]);
    for changes in [json!({ "scope": "pgherald.admin" }), json!({ "scope": "", "roles": ["", "admin"] }), json!({})] {
        assert!(!keys.verify(&signed(&changes)).unwrap().admin, "{changes}");
    }
}

#[test]
fn a_private_key_is_no_public_key() {
    for pair in [&*RSA, &P256, &P384, &ED25519] {
        let error = KeySet::from_public_pem(pair.serialize_pem().as_bytes(), rules(&[])).err().unwrap().to_string();
        assert!(error.contains("private key") && error.contains("openssl"), "{error}");
    }
    let both = format!("{}{}", RSA.public_key_pem(), RSA.serialize_pem());
    assert!(KeySet::from_public_pem(both.as_bytes(), rules(&[])).is_err());
}

#[test]
fn a_file_that_is_no_key_is_refused() {
    let cut = RSA.public_key_pem()[..200].to_owned();
    let p521 = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap().public_key_pem();
    for file in [
        b"".as_slice(),
        b"\xff\xfe\x00",
        b"ssh-rsa AAAAB3NzaC1yc2E alice@example",
        SECRET.as_bytes(),
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nbm90IGEga2V5\n-----END PUBLIC KEY-----\n",
        cut.as_bytes(),
        p521.as_bytes(),
        RSA.subject_public_key_info().as_slice(),
    ] {
        let result = KeySet::from_public_pem(file, rules(&[]));
        let error = result.err().unwrap_or_else(|| panic!("taken as a key: {}", String::from_utf8_lossy(file)));
        assert!(error.to_string().contains("no public key"), "{error}");
    }
}

#[test]
fn algorithms_of_another_family_than_the_key_are_refused_at_the_start() {
    let check = |result: Result<KeySet, KeyError>| {
        let error = result.err().expect("refused").to_string();
        assert!(error.starts_with("auth.algorithms: ") && error.contains("does not fit"), "{error}");
    };
    let of = |algorithms: &str| rules(&[("auth.algorithms", algorithms)]);
    for wrong in ["RS256", "ES256", "EdDSA", "HS256,RS256"] {
        check(KeySet::from_secret(&Secret::new(SECRET), of(wrong)));
    }
    for wrong in ["HS256", "ES256", "EdDSA", "RS256,HS256"] {
        check(KeySet::from_public_pem(RSA.public_key_pem().as_bytes(), of(wrong)));
    }
    check(KeySet::from_public_pem(P256.public_key_pem().as_bytes(), of("HS256")));
    check(KeySet::from_public_pem(ED25519.public_key_pem().as_bytes(), of("ES256")));
}

#[test]
fn an_algorithm_of_another_curve_than_the_key_is_refused_at_the_start() {
    let of = |algorithms: &str| rules(&[("auth.algorithms", algorithms)]);
    assert!(KeySet::from_public_pem(P256.public_key_pem().as_bytes(), of("ES384")).is_err());
    assert!(KeySet::from_public_pem(P384.public_key_pem().as_bytes(), of("ES256")).is_err());
}

#[test]
fn an_algorithm_that_nobody_knows_is_refused_at_the_start() {
    for unknown in ["none", "HS1024", "hs256", "RSA"] {
        let environment = BTreeMap::from([("PGHERALD__AUTH__ALGORITHMS".to_owned(), unknown.to_owned())]);
        let error = Rules::new(&Config::load(File::None, &environment).unwrap()).unwrap_err().to_string();
        assert!(error.contains("auth.algorithms") && error.contains(unknown), "{error}");
    }
}

/// A key of a JWKS; `changes` as for claims.
fn jwk(algorithm: Algorithm, pair: &KeyPair, changes: &Value) -> Value {
    let mut jwk = match algorithm {
        // jsonwebtoken can't make this one; an Ed25519 key is the last 32 bytes of its SubjectPublicKeyInfo.
        Algorithm::EdDSA => {
            let key = pair.subject_public_key_info();
            json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": URL_SAFE_NO_PAD.encode(&key[key.len() - 32..]) })
        }
        _ => serde_json::to_value(Jwk::from_encoding_key(&signer(algorithm, pair), algorithm).unwrap()).unwrap(),
    };
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(jwk.as_object_mut().unwrap().remove(name)),
            value => jwk[name] = value.clone(),
        }
    }
    jwk
}

fn jwks(keys: Vec<Value>, settings: &[(&str, &str)]) -> KeySet {
    let set: JwkSet = serde_json::from_value(json!({ "keys": keys })).expect("a JWKS is read whatever its keys are");
    KeySet::from_jwks(&set, rules(settings))
}

fn of_kid(kid: Option<&str>, algorithm: Algorithm, pair: &KeyPair) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &claims(&json!({})), &signer(algorithm, pair)).unwrap()
}

#[test]
fn the_key_id_chooses_among_the_keys_of_a_jwks() {
    let keys = jwks(
        vec![
            jwk(Algorithm::ES256, &P256, &json!({ "kid": "a" })),
            jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b", "alg": null })),
            jwk(Algorithm::ES384, &P384, &json!({ "kid": "c", "alg": null })),
            jwk(Algorithm::EdDSA, &ED25519, &json!({ "kid": "d", "alg": null })),
        ],
        &[],
    );
    assert_eq!(keys.len(), 4);
    for (kid, algorithm, pair) in [
        ("a", Algorithm::ES256, &*P256),
        ("b", Algorithm::RS256, &RSA),
        ("c", Algorithm::ES384, &P384),
        ("d", Algorithm::EdDSA, &ED25519),
    ] {
        assert!(keys.verify(&of_kid(Some(kid), algorithm, pair)).is_ok(), "{kid}");
    }
    refused(&keys, &of_kid(Some("b"), Algorithm::ES256, &P256), TokenError::Algorithm);
}

#[test]
fn an_unknown_key_id_is_refused() {
    let one = jwks(vec![jwk(Algorithm::ES256, &P256, &json!({ "kid": "a" }))], &[]);
    for kid in ["b", "", "A", "a ", "../../etc/passwd", "' or 1=1 --"] {
        refused(&one, &of_kid(Some(kid), Algorithm::ES256, &P256), TokenError::UnknownKey);
    }
    assert!(one.verify(&of_kid(None, Algorithm::ES256, &P256)).is_ok(), "there is no choice");
    let two =
        vec![jwk(Algorithm::ES256, &P256, &json!({ "kid": "a" })), jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b" }))];
    refused(&jwks(two, &[]), &of_kid(None, Algorithm::ES256, &P256), TokenError::UnknownKey);
    refused(&jwks(vec![], &[]), &of_kid(Some("a"), Algorithm::ES256, &P256), TokenError::UnknownKey);
}

#[test]
fn a_symmetric_key_in_a_jwks_is_ignored() {
    let oct = json!({ "kty": "oct", "kid": "a", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET) });
    let keys = jwks(vec![oct, jwk(Algorithm::ES256, &P256, &json!({ "kid": "b" }))], &[]);
    assert_eq!(keys.len(), 1);
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
    refused(&keys, &encode(&header, &claims(&json!({})), &secret_signer()).unwrap(), TokenError::UnknownKey);
}

#[test]
fn keys_that_do_not_sign_or_are_unknown_are_ignored() {
    let good = jwk(Algorithm::ES256, &P256, &json!({ "kid": "a" }));
    for odd in [
        jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b", "use": "enc" })),
        jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b", "alg": "RSA-OAEP" })),
        jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b", "alg": "HS256" })),
        jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b", "n": "!" })),
        jwk(Algorithm::ES256, &P256, &json!({ "kid": "b", "crv": "P-521" })),
        json!({ "kty": "AKP", "kid": "b", "alg": "ML-DSA-44", "pub": "AAAA" }),
        json!({ "kty": "EC", "kid": "b", "crv": "secp256k1", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "kid": "b", "crv": "Ed448", "x": "AA" }),
        json!({ "kty": "OKP", "kid": "b", "crv": "X25519", "x": "AA", "use": "enc" }),
    ] {
        let keys = jwks(vec![odd.clone(), good.clone()], &[]);
        assert_eq!(keys.len(), 1, "{odd}");
        assert!(keys.verify(&of_kid(Some("a"), Algorithm::ES256, &P256)).is_ok(), "{odd}");
    }
}

#[test]
fn configured_algorithms_bound_those_of_a_jwks() {
    let keys = || {
        vec![
            jwk(Algorithm::ES256, &P256, &json!({ "kid": "a" })),
            jwk(Algorithm::RS256, &RSA, &json!({ "kid": "b", "alg": null })),
        ]
    };
    let only = jwks(keys(), &[("auth.algorithms", "PS256")]);
    assert_eq!(only.len(), 1);
    assert!(only.verify(&of_kid(Some("b"), Algorithm::PS256, &RSA)).is_ok());
    refused(&only, &of_kid(Some("b"), Algorithm::RS256, &RSA), TokenError::Algorithm);
    refused(&only, &of_kid(Some("a"), Algorithm::ES256, &P256), TokenError::UnknownKey);
    assert!(jwks(keys(), &[("auth.algorithms", "HS256")]).is_empty());
}

#[test]
fn no_refusal_repeats_the_token() {
    let errors = [
        TokenError::Missing,
        TokenError::TooLarge,
        TokenError::Malformed,
        TokenError::Algorithm,
        TokenError::UnknownKey,
        TokenError::Signature,
        TokenError::Expired,
        TokenError::NotYetValid,
        TokenError::Issuer,
        TokenError::Audience,
        TokenError::Claims,
        TokenError::OtherSubject,
        TokenError::InQuery,
    ];
    let words: BTreeSet<&str> = errors.iter().map(|error| error.as_str()).collect();
    assert_eq!(words.len(), errors.len(), "each has a word of its own: {words:?}");
    let keys = with_secret(&[]);
    let error = keys.verify("hunter2.hunter2.hunter2").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn no_text_is_a_token_and_none_panics(text in any::<String>(), parts in prop::collection::vec("[A-Za-z0-9_=-]{0,20}", 0..5)) {
        let keys = with_secret(&[]);
        prop_assert!(keys.verify(&text).is_err());
        prop_assert!(keys.verify(&parts.join(".")).is_err());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(place in any::<prop::sample::Index>(), sign in "[A-Za-z0-9_.-]") {
        let token = signed(&json!({}));
        let at = place.index(token.len());
        let changed = format!("{}{sign}{}", &token[..at], &token[at + 1..]);
        // The last sign of a part has bits that decode to nothing.
        let last = token.as_bytes().get(at + 1).is_none_or(|next| *next == b'.');
        if changed != token && !last {
            prop_assert!(with_secret(&[]).verify(&changed).is_err());
        }
    }
}
