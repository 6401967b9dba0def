//! Whose token is believed, however it comes, and what it opens.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;
use warp::Filter;

use crate::browser::Browser;
use crate::world::{Daemon, Database, SECRET, Settings, World, now, token, token_with, until};

async fn with_header(daemon: &Daemon, path: &str, name: &'static str, value: &str) -> (u16, String) {
    let mut request = daemon.request(path);
    request.headers_mut().insert(name, value.parse().unwrap());
    Browser::refused(request).await
}

#[tokio::test]
async fn a_token_is_taken_from_the_header_the_subprotocol_or_the_first_frame() {
    let world = World::new().await;
    let daemon = &world.daemon;

    let mut by_header = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&token("alice"))).await.unwrap();
    by_header.subscribe("7").await;
    assert_eq!(by_header.response.headers().get("sec-websocket-protocol"), None, "none was offered");

    let mut request = daemon.request("/ws");
    let offer = format!("pgherald.v1, bearer.{}", token("alice"));
    request.headers_mut().insert("sec-websocket-protocol", offer.parse().unwrap());
    let mut by_subprotocol = Browser::request(request).await.unwrap();
    assert_eq!(by_subprotocol.response.headers()["sec-websocket-protocol"], "pgherald.v1");
    by_subprotocol.subscribe("7").await;

    let mut by_frame = Browser::open(&format!("ws://{}/ws", daemon.address), None).await.unwrap();
    by_frame.send(&json!({ "type": "auth", "token": token("alice") })).await;
    let frame = by_frame.frame().await;
    assert_eq!((&frame["type"], &frame["subject"]), (&"authenticated".into(), &"alice".into()));
    assert!(frame["expires_at"].as_u64().unwrap() > now());
    by_frame.subscribe("7").await;

    let mut by_frame_for_url = Browser::open(&format!("ws://{}/ws?project_id=7", daemon.address), None).await.unwrap();
    by_frame_for_url.send(&json!({ "type": "auth", "token": token("alice") })).await;
    // `subscribed` and not `authenticated` says from when on nothing is missed.
    by_frame_for_url.hears(&["authenticated", "subscribed"]).await;

    world.run("update tasks set done = true where id = 1").await;
    for browser in [&mut by_header, &mut by_subprotocol, &mut by_frame, &mut by_frame_for_url] {
        browser.hears(&["task UPDATE 7/1"]).await;
    }
}

#[tokio::test]
async fn a_token_in_the_query_is_taken_only_where_that_is_allowed() {
    let world = World::new().await;
    let path = format!("/ws?project_id=7&access_token={}", token("alice"));
    assert_eq!(Browser::refused(world.daemon.request(&path)).await, (401, "unauthorized".to_owned()));

    let allowing =
        Settings::new(&world.database.url).set("auth.query_token", "true").set("log.level", "trace").start().await;
    let mut alice = Browser::request(allowing.request(&path)).await.unwrap();
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    assert!(!allowing.log().contains(&token("alice")[..40]), "the token is in the log");
}

#[tokio::test]
async fn no_token_or_secret_is_ever_logged() {
    let database = Database::sample().await;
    let url = database.url.replace("postgres@", "postgres:pass-word-in-url@");
    let daemon = Settings::new(&url).set("log.level", "trace").start().await;
    let expired = token_with(&json!({ "sub": "alice", "exp": 1 }));
    let _ = Browser::open(&format!("ws://{}/ws?project_id=7&access_token={expired}", daemon.address), None).await;
    let _ = Browser::open(&format!("ws://{}/ws?project_id=7", daemon.address), Some(&expired)).await;
    let mut alice = Browser::open(&format!("ws://{}/ws", daemon.address), None).await.unwrap();
    alice.send(&json!({ "type": "auth", "token": token("alice") })).await;
    alice.hears(&["authenticated"]).await;
    alice.subscribe("7").await;
    let log = daemon.log();
    assert!(log.contains("listening"), "there is a log: {log}");
    let tail = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in [SECRET.to_owned(), tail(&expired), tail(&token("alice")), "pass-word-in-url".to_owned()] {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "a secret is in the log");
    }
}

#[tokio::test]
async fn bad_tokens_are_refused_before_the_upgrade() {
    let settings = |settings: Settings| settings.set("auth.issuer", "https://id.test").set("auth.audience", "pgherald");
    let world = World::with(settings).await;
    let good = json!({ "sub": "alice", "exp": now() + 600, "iss": "https://id.test", "aud": ["other", "pgherald"] });
    let with = |key: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[key] = value;
        if claims[key].is_null() {
            claims.as_object_mut().unwrap().remove(key);
        }
        token_with(&claims)
    };
    let other_secret =
        encode(&Header::default(), &good, &EncodingKey::from_secret(b"another secret, just as long as ours")).unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", token_with(&good).split('.').nth(1).unwrap());
    for (name, bad) in [
        ("alg none", none),
        ("another secret", other_secret),
        ("a foreign issuer", with("iss", json!("https://evil.test"))),
        ("no issuer", with("iss", json!(null))),
        ("another audience", with("aud", json!("other"))),
        ("no audience", with("aud", json!(null))),
        ("expired", with("exp", json!(now() - 3600))),
        ("no expiry", with("exp", json!(null))),
        ("not yet valid", with("nbf", json!(now() + 3600))),
        ("no subject", with("sub", json!(null))),
        ("oversized", with("padding", json!("x".repeat(8_200)))),
        ("no JWT", "a.b.c".to_owned()),
        ("nothing", String::new()),
    ] {
        let (status, code) =
            with_header(&world.daemon, "/ws?project_id=7", "authorization", &format!("Bearer {bad}")).await;
        assert_eq!((status, code.as_str()), (401, "unauthorized"), "{name}");
    }
    assert!(
        Browser::open(&format!("ws://{}/ws?project_id=7", world.daemon.address), Some(&token_with(&good)))
            .await
            .is_ok()
    );
    assert!(world.daemon.metric("pgherald_auth_failures_total{reason=\"issuer\"}").await >= 2.0);
}

#[tokio::test]
async fn a_member_of_another_project_is_forbidden() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", token("bob"));
    assert_eq!(
        with_header(&world.daemon, "/ws?project_id=7", "authorization", &bearer).await,
        (403, "forbidden".to_owned())
    );
    assert_eq!(
        with_header(&world.daemon, "/ws?project_id=nonsense", "authorization", &bearer).await,
        (403, "forbidden".to_owned())
    );
    assert_eq!(
        with_header(&world.daemon, "/ws?project_id=", "authorization", &bearer).await,
        (400, "malformed".to_owned())
    );
    assert_eq!(
        with_header(&world.daemon, "/ws?project_id=8&topics=x", "authorization", &bearer).await,
        (400, "malformed".to_owned())
    );
    assert_eq!(
        with_header(&world.daemon, "/ws?project_id=8&format=other", "authorization", &bearer).await,
        (400, "malformed".to_owned())
    );
    // With the token in the first frame, the upgrade is done by then.
    let mut bob = Browser::open(&format!("ws://{}/ws?project_id=7", world.daemon.address), None).await.unwrap();
    bob.send(&json!({ "type": "auth", "token": token("bob") })).await;
    assert_eq!(bob.closed().await.0, 4403);
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_is_refused() {
    let world =
        World::with(|settings| settings.set("http.allowed_origins", "https://app.test, https://admin.test")).await;
    assert_eq!(
        with_header(&world.daemon, "/ws", "origin", "https://evil.test").await,
        (403, "origin_not_allowed".to_owned())
    );
    let mut request = world.daemon.request("/ws");
    request.headers_mut().insert("origin", "https://admin.test".parse().unwrap());
    assert!(Browser::request(request).await.is_ok());
}

#[tokio::test]
async fn whoever_does_not_authenticate_in_time_is_closed_with_4408() {
    let world = World::with(|settings| settings.set("limits.auth_timeout", "200ms")).await;
    let url = format!("ws://{}/ws", world.daemon.address);
    assert_eq!(Browser::open(&url, None).await.unwrap().closed().await.0, 4408);
}

#[tokio::test]
async fn whoever_speaks_before_authenticating_is_closed_with_4401() {
    let world = World::new().await;
    let url = format!("ws://{}/ws", world.daemon.address);
    for frame in [json!({ "type": "subscribe", "project_id": "7" }), json!({ "type": "auth", "token": "nonsense" })] {
        let mut browser = Browser::open(&url, None).await.unwrap();
        browser.send(&frame).await;
        assert_eq!(browser.closed().await.0, 4401);
    }
}

#[tokio::test]
async fn a_token_that_expires_ends_the_session_unless_it_is_renewed() {
    let world = World::with(|settings| settings.set("auth.leeway", "1s")).await;
    let url = format!("ws://{}/ws?project_id=7", world.daemon.address);
    let brief = |subject: &str| token_with(&json!({ "sub": subject, "exp": now() + 1 }));
    let mut left = Browser::open(&url, Some(&brief("alice"))).await.unwrap();
    let mut renewed = Browser::open(&url, Some(&brief("alice"))).await.unwrap();
    renewed.send(&json!({ "type": "auth", "token": token("alice") })).await;
    renewed.hears(&["authenticated"]).await;
    assert_eq!(left.closed().await, (4401, "token invalid or expired".to_owned()));
    world.run("update tasks set done = true where id = 1").await;
    renewed.hears(&["task UPDATE 7/1"]).await;
    renewed.send(&json!({ "type": "auth", "token": token("bob") })).await;
    assert_eq!(renewed.closed().await, (4401, "the token is of another subject than this session".to_owned()));
}

#[tokio::test]
async fn a_claim_can_name_the_projects_and_a_renewed_token_takes_them_away() {
    let database = Database::empty().await;
    let daemon = Settings::new(&database.url).set("authorize.claim", "projects").start().await;
    let claims =
        |projects: serde_json::Value| token_with(&json!({ "sub": "dora", "exp": now() + 600, "projects": projects }));
    let mut dora = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&claims(json!(["7", 8])))).await.unwrap();
    dora.subscribe("7").await;
    dora.subscribe("8").await;
    dora.send(&json!({ "type": "subscribe", "ref": "x", "project_id": "9" })).await;
    assert_eq!(dora.frame().await["code"], "forbidden");
    dora.send(&json!({ "type": "auth", "token": claims(json!(["8"])) })).await;
    dora.hears(&["authenticated"]).await;
    assert_eq!(dora.frame().await, json!({ "type": "revoked", "project_id": "7", "reason": "token_renewed" }));
    for project in ["7", "8"] {
        let payload = json!({ "resource": "task", "id": "1", "action": "UPDATE", "project_id": project }).to_string();
        database.client.execute("select pg_notify('cache_invalidate', $1)", &[&payload]).await.unwrap();
    }
    dora.hears(&["task UPDATE 8/1"]).await;
    // A star in a claim is no wildcard.
    let mut star = Browser::open(&format!("ws://{}/ws", daemon.address), Some(&claims(json!(["*"])))).await.unwrap();
    star.send(&json!({ "type": "subscribe", "ref": "x", "project_id": "7" })).await;
    assert_eq!(star.frame().await["code"], "forbidden");
}

#[tokio::test]
async fn limits_of_sessions_and_subscriptions_have_their_own_answers() {
    let world = World::with(|settings| {
        settings
            .set("limits.sessions", "4")
            .set("limits.sessions_per_subject", "2")
            .set("limits.sessions_unauthenticated", "1")
            .set("limits.subscriptions_per_session", "1")
    })
    .await;
    world.run("insert into project_members values (8, 'alice')").await;
    let url = format!("ws://{}/ws", world.daemon.address);
    let mut first = Browser::open(&url, Some(&token("alice"))).await.unwrap();
    let _second = Browser::open(&url, Some(&token("alice"))).await.unwrap();
    let alice = format!("Bearer {}", token("alice"));
    assert_eq!(with_header(&world.daemon, "/ws", "authorization", &alice).await, (429, "too_many_sessions".to_owned()));
    let _nobody = Browser::open(&url, None).await.unwrap();
    assert_eq!(Browser::refused(world.daemon.request("/ws")).await, (503, "full".to_owned()));
    let _bob = Browser::open(&url, Some(&token("bob"))).await.unwrap();
    let carol = format!("Bearer {}", token("carol"));
    assert_eq!(with_header(&world.daemon, "/ws", "authorization", &carol).await, (503, "full".to_owned()));
    first.subscribe("7").await;
    first.send(&json!({ "type": "subscribe", "ref": "x", "project_id": "8" })).await;
    assert_eq!(first.frame().await["code"], "too_many_subscriptions");
    drop(first);
    until("room for another", async || Browser::open(&url, Some(&token("alice"))).await.is_ok()).await;
}

#[tokio::test]
async fn clients_that_come_all_at_once_are_let_in_one_after_the_other() {
    let world = World::with(|settings| settings.set("limits.connects_per_second", "1")).await;
    let daemon = &world.daemon;
    let began = Instant::now();
    // Both paths share the limit, and it does not matter whose token is good.
    let storm = (0..40).map(async |n| {
        let mut request = daemon.request(if n % 2 == 0 { "/ws" } else { "/api/v1/messages/ws?project_id=7" });
        let bearer = if n % 4 < 2 { token("alice") } else { "nonsense".to_owned() };
        request.headers_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
        match Browser::request(request).await {
            Ok(_) => (101, None, Value::Null),
            Err(Error::Http(response)) => {
                let after = response.headers().get("retry-after").map(|after| after.to_str().unwrap().parse().unwrap());
                let body: Value = serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
                (response.status().as_u16(), after, body["error"].clone())
            }
            Err(other) => panic!("no answer: {other}"),
        }
    });
    let probes = async {
        for _ in 0..20 {
            assert_eq!(daemon.get("/ready").await.0, 200);
            assert_eq!(daemon.get("/live").await.0, 200);
            assert_eq!(daemon.get("/metrics").await.0, 200);
        }
    };
    let (answers, ()) = futures_util::join!(futures_util::future::join_all(storm), probes);
    let (refused, looked_at): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.0 == 503);
    let most = 2 + began.elapsed().as_secs() as usize + 1;
    assert!((2..=most).contains(&looked_at.len()), "{} were looked at, {most} may be", looked_at.len());
    assert!(refused.iter().all(|answer| answer.2 == "too_many_connects"), "{refused:?}");
    let waits: BTreeSet<u64> = refused.iter().map(|answer| answer.1.expect("Retry-After")).collect();
    assert!(waits.len() > 1 && waits.iter().all(|wait| (1..=5).contains(wait)), "all wait for {waits:?} s");
    let bad = looked_at.iter().filter(|answer| answer.0 == 401).count();
    assert_eq!(daemon.metric("pgherald_auth_failures_total").await, bad as f64, "no token of the others was looked at");
    let counted = daemon.metric("pgherald_sessions_refused_total{reason=\"too_many_connects\"}").await;
    assert_eq!(counted, refused.len() as f64);
    let url = format!("ws://{}/ws?project_id=7", daemon.address);
    until("room for another", async || Browser::open(&url, Some(&token("alice"))).await.is_ok()).await;
}

/// An identity provider on loopback, whose keys can be changed.
struct Provider {
    url: String,
    keys: Arc<Mutex<JwkSet>>,
    asked: Arc<Mutex<usize>>,
    /// How long an answer takes.
    delay: Arc<Mutex<Duration>>,
}

impl Provider {
    async fn start() -> Self {
        let (keys, asked) = (Arc::new(Mutex::new(JwkSet { keys: Vec::new() })), Arc::new(Mutex::new(0)));
        let delay = Arc::new(Mutex::new(Duration::ZERO));
        let (serve, count, wait) = (Arc::clone(&keys), Arc::clone(&asked), Arc::clone(&delay));
        let route = warp::path("jwks.json").then(move || {
            *count.lock().unwrap() += 1;
            let (answer, wait) = (warp::reply::json(&*serve.lock().unwrap()), *wait.lock().unwrap());
            async move {
                tokio::time::sleep(wait).await;
                answer
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        tokio::spawn(warp::serve(route).incoming(listener).run());
        Self { url, keys, asked, delay }
    }

    /// Publishes a new key in place of all others.
    fn rotate(&self, kid: &str) -> EncodingKey {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some(kid.to_owned());
        *self.keys.lock().unwrap() = JwkSet { keys: vec![jwk] };
        key
    }
}

fn signed(key: &EncodingKey, kid: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    encode(&header, &json!({ "sub": "alice", "exp": now() + 600 }), key).unwrap()
}

#[tokio::test]
async fn the_keys_of_a_provider_may_rotate_and_are_not_asked_for_too_often() {
    let database = Database::sample().await;
    let provider = Provider::start().await;
    let first = provider.rotate("first");
    let settings = Settings::new(&database.url).unset("auth.secret").set("auth.jwks_url", &provider.url);
    let daemon = settings.set("auth.jwks_refresh_floor", "1s").start().await;
    let url = format!("ws://{}/ws?project_id=7", daemon.address);
    assert!(Browser::open(&url, Some(&signed(&first, "first"))).await.is_ok());

    let second = provider.rotate("second");
    until("the new key to be known", async || Browser::open(&url, Some(&signed(&second, "second"))).await.is_ok())
        .await;
    assert!(Browser::open(&url, Some(&signed(&first, "first"))).await.is_err(), "the old key is gone");

    // A burst of unknown keys makes no burst of fetches.
    let before = *provider.asked.lock().unwrap();
    let began = std::time::Instant::now();
    for n in 0..50 {
        assert!(Browser::open(&url, Some(&signed(&second, &format!("unknown-{n}")))).await.is_err());
    }
    let fetches = *provider.asked.lock().unwrap() - before;
    assert!(fetches as u64 <= began.elapsed().as_secs() + 1, "{fetches} fetches in {:?}", began.elapsed());
    // A token signed by one key under the name of another.
    assert!(Browser::open(&url, Some(&signed(&first, "second"))).await.is_err());
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_take_the_fetch_of_the_keys_with_it() {
    let database = Database::sample().await;
    let provider = Provider::start().await;
    let first = provider.rotate("first");
    let settings = Settings::new(&database.url).unset("auth.secret").set("auth.jwks_url", &provider.url);
    let daemon = settings.set("auth.jwks_refresh_floor", "2s").start().await;
    let second = provider.rotate("second");
    *provider.delay.lock().unwrap() = Duration::from_millis(500);
    // Unknown keys make the daemon ask the provider, and whoever brought them is gone before it answers.
    until("a fetch", async || {
        let mut request = daemon.request("/ws?project_id=7");
        let bearer = format!("Bearer {}", signed(&first, &format!("unknown-{}", rand::random::<u32>())));
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let _ = tokio::time::timeout(Duration::from_millis(50), Browser::request(request)).await;
        *provider.asked.lock().unwrap() == 2
    })
    .await;
    let url = format!("ws://{}/ws?project_id=7", daemon.address);
    assert!(Browser::open(&url, Some(&signed(&second, "second"))).await.is_ok(), "the fetch was lost with its client");
}

#[tokio::test]
async fn a_withdrawn_key_goes_when_the_key_set_has_aged() {
    let database = Database::sample().await;
    let provider = Provider::start().await;
    let first = provider.rotate("first");
    let settings = Settings::new(&database.url).unset("auth.secret").set("auth.jwks_url", &provider.url);
    let daemon = settings.set("auth.jwks_refresh_floor", "100ms").set("auth.jwks_max_age", "300ms").start().await;
    let url = format!("ws://{}/ws?project_id=7", daemon.address);
    assert!(Browser::open(&url, Some(&signed(&first, "first"))).await.is_ok());
    provider.rotate("second");
    // No token names an unknown key: only age makes the daemon ask.
    until("the old key to go", async || Browser::open(&url, Some(&signed(&first, "first"))).await.is_err()).await;
}
