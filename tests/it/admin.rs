//! The rooms of power: who may look at sessions and end them, and who may not.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{Daemon, World, now, token, token_with, until};

const SCOPE: &str = "pgherald.admin";

/// With the rooms open.
async fn world() -> World {
    World::with(|settings| settings.set("auth.admin_scope", SCOPE)).await
}

fn root() -> String {
    token_with(&json!({ "sub": "root", "exp": now() + 600, "scope": format!("openid {SCOPE}") }))
}

async fn ask(daemon: &Daemon, method: Method, path: &str, token: Option<&str>) -> Response {
    let mut request = reqwest::Client::new().request(method, format!("http://{}{path}", daemon.address));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

async fn json_of(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// Status and the word for programs; every refusal has a sentence, is JSON, and is kept by nobody.
async fn refused(daemon: &Daemon, method: Method, path: &str, token: Option<&str>) -> (u16, String) {
    let response = ask(daemon, method, path, token).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert_eq!(
        (&headers["content-type"], &headers["cache-control"]),
        (&"application/json".parse().unwrap(), &"no-store".parse().unwrap())
    );
    assert_eq!(headers.get("www-authenticate").is_some(), status == 401);
    let body = json_of(response).await;
    assert!(body["message"].as_str().is_some_and(|text| text.len() > 5), "{body} tells nothing");
    (status, body["error"].as_str().unwrap().to_owned())
}

async fn sessions(daemon: &Daemon, query: &str) -> Value {
    let response = ask(daemon, Method::GET, &format!("/admin/sessions{query}"), Some(&root())).await;
    assert_eq!(
        (response.status(), &response.headers()["cache-control"]),
        (StatusCode::OK, &"no-store".parse().unwrap())
    );
    json_of(response).await
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["sessions"].as_array().unwrap().iter().map(|session| session["id"].as_u64().unwrap()).collect()
}

/// Lines of the log that tell of a power that was used.
fn audit(daemon: &Daemon) -> Vec<Value> {
    let lines = daemon.log().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    lines.into_iter().filter(|line| line.get("administrator").is_some()).collect()
}

#[tokio::test]
async fn without_administrators_there_are_no_such_addresses() {
    let world = World::new().await;
    for method in [Method::GET, Method::DELETE, Method::POST] {
        for path in ["/admin", "/admin/sessions", "/admin/sessions/1", "/admin/subjects/alice"] {
            let found = refused(&world.daemon, method.clone(), path, Some(&root())).await;
            assert_eq!(found, (404, "not_found".into()), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn only_a_good_token_with_the_scope_opens_them() {
    let world = World::with(|settings| settings.set("auth.admin_scope", SCOPE).set("auth.query_token", "true")).await;
    let mut alice = world.daemon.browser("alice", "7").await;
    let expired = token_with(&json!({ "sub": "root", "exp": now() - 600, "scope": SCOPE }));
    let longer = token_with(&json!({ "sub": "root", "exp": now() + 600, "scope": format!("{SCOPE}.not") }));
    let huge = token_with(&json!({ "sub": "root", "exp": now() + 600, "scope": SCOPE, "padding": "x".repeat(8_200) }));
    for (method, path) in [
        (Method::GET, "/admin/sessions"),
        (Method::DELETE, "/admin/sessions/1"),
        (Method::DELETE, "/admin/subjects/alice"),
    ] {
        let check = async |token: Option<&str>, status: u16, code: &str| {
            let found = refused(&world.daemon, method.clone(), path, token).await;
            assert_eq!(found, (status, code.to_owned()), "{method} {path} {token:?}");
        };
        check(None, 401, "unauthorized").await;
        check(Some(""), 401, "unauthorized").await;
        check(Some("a.b.c"), 401, "unauthorized").await;
        check(Some(&expired), 401, "unauthorized").await;
        check(Some(&huge), 401, "unauthorized").await;
        check(Some(&token("alice")), 403, "forbidden").await;
        check(Some(&longer), 403, "forbidden").await;
        // Not even where sessions may bring theirs like that.
        let in_query = format!("{path}?access_token={}", root());
        assert_eq!(refused(&world.daemon, method.clone(), &in_query, None).await, (401, "unauthorized".into()));
    }
    let body = ask(&world.daemon, Method::GET, "/admin/sessions", Some(&token("alice"))).await.text().await.unwrap();
    assert!(body.contains("auth.admin_scope") && !body.contains(SCOPE), "{body}");
    // Nothing was done.
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    assert_eq!(audit(&world.daemon), Vec::<Value>::new());
}

#[tokio::test]
async fn an_administrator_sees_who_is_there_and_what_they_hear() {
    let world = world().await;
    world.run("insert into project_members values (8, 'alice')").await;
    let daemon = &world.daemon;
    assert_eq!(sessions(daemon, "").await, json!({ "sessions": [], "total": 0 }));
    let mut alice = daemon.browser("alice", "7").await;
    alice.subscribe("8").await;
    let _nobody = Browser::open(&format!("ws://{}/ws", daemon.address), None).await.unwrap();
    let _bob = daemon.browser("bob", "8").await;
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;

    let all = sessions(daemon, "").await;
    assert_eq!((ids(&all), &all["total"]), (vec![1, 2, 3], &json!(3)));
    let mut first = all["sessions"][0].clone();
    let connected_at = first["connected_at"].take();
    let age = humantime::parse_rfc3339(connected_at.as_str().unwrap()).unwrap().elapsed().unwrap();
    assert!(age.as_secs() < 60, "{connected_at}");
    let bytes_sent = first["bytes_sent"].take().as_u64().unwrap();
    assert!((200..2_000).contains(&bytes_sent), "{bytes_sent}");
    assert_eq!(
        first,
        json!({
            "id": 1, "subject": "alice", "transport": "websocket", "connected_at": null, "projects": ["7", "8"],
            "mailbox_frames": 0, "answers": 0, "coarsened": null, "frames_sent": 2, "bytes_sent": null,
        })
    );
    let second = &all["sessions"][1];
    assert_eq!((&second["subject"], &second["projects"]), (&Value::Null, &json!([])));
    for (query, expected, total) in [
        ("?subject=alice", &[1][..], 1),
        ("?subject=nobody", &[], 0),
        ("?project=8", &[1, 3], 2),
        ("?project=8&subject=bob", &[3], 1),
        ("?limit=2", &[1, 2], 3),
        ("?limit=2&after=2", &[3], 3),
        ("?limit=1000&after=18446744073709551615", &[], 3),
        ("?unknown=1", &[1, 2, 3], 3),
    ] {
        let answer = sessions(daemon, query).await;
        assert_eq!((ids(&answer), &answer["total"]), (expected.to_vec(), &json!(total)), "{query}");
    }
}

#[tokio::test]
async fn an_administrator_ends_a_session() {
    let world = world().await;
    let daemon = &world.daemon;
    let mut alice = daemon.browser("alice", "7").await;
    let mut other = daemon.browser("alice", "7").await;
    let response = ask(daemon, Method::DELETE, "/admin/sessions/1", Some(&root())).await;
    assert_eq!((response.status(), response.text().await.unwrap()), (StatusCode::NO_CONTENT, String::new()));
    assert_eq!(alice.closed().await, (4403, "ended by an administrator".into()));
    until("the session to leave", async || ids(&sessions(daemon, "").await) == [2]).await;
    let gone = refused(daemon, Method::DELETE, "/admin/sessions/1", Some(&root())).await;
    assert_eq!(gone, (404, "no_session".into()));
    world.run("update tasks set done = true where id = 1").await;
    other.hears(&["task UPDATE 7/1"]).await;
    until("the line in the log", async || !audit(daemon).is_empty()).await;
    let lines = audit(daemon);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["level"], &line["administrator"]), (&json!("INFO"), &json!("root")), "{line}");
    assert_eq!((&line["session"], &line["subject"]), (&json!(1), &json!("alice")), "{line}");
    // The same subject may come again, as long as its token is good.
    daemon.browser("alice", "7").await;
}

#[tokio::test]
async fn an_administrator_ends_all_sessions_of_a_subject_whatever_its_name() {
    let world =
        World::with(|settings| settings.set("auth.admin_scope", SCOPE).set("authorize.claim", "projects")).await;
    let daemon = &world.daemon;
    let open = async |subject: &str| {
        let claims = json!({ "sub": subject, "exp": now() + 600, "projects": ["7"] });
        Browser::open(&format!("ws://{}/ws?project_id=7", daemon.address), Some(&token_with(&claims))).await.unwrap()
    };
    let mut bystander = open("a").await;
    for (subject, encoded) in [
        ("alice", "alice"),
        ("a/b", "a%2Fb"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("auth0|5 + 6", "auth0%7C5%20+%206"),
        ("zoë/ß", "zo%C3%AB%2f%C3%9F"),
        ("a\nb", "a%0Ab"),
    ] {
        let (mut one, mut two) = (open(subject).await, open(subject).await);
        let path = format!("/admin/subjects/{encoded}");
        let response = ask(daemon, Method::DELETE, &path, Some(&root())).await;
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!((response.status(), json_of(response).await), (StatusCode::OK, json!({ "closed": 2 })));
        for browser in [&mut one, &mut two] {
            assert_eq!(browser.closed().await, (4403, "ended by an administrator".into()), "{subject}");
        }
        until("the line in the log", async || audit(daemon).iter().any(|line| line["subject"] == subject)).await;
        let line = audit(daemon).pop().unwrap();
        assert_eq!((&line["administrator"], &line["closed"]), (&json!("root"), &json!(2)), "{line}");
    }
    let nobody = ask(daemon, Method::DELETE, "/admin/subjects/nobody", Some(&root())).await;
    assert_eq!(json_of(nobody).await, json!({ "closed": 0 }));
    bystander.send(&json!({ "type": "ping" })).await;
    bystander.hears(&["pong"]).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_ends_nobody() {
    let world = world().await;
    let daemon = &world.daemon;
    let mut alice = daemon.browser("alice", "7").await;
    let root = root();
    for (method, path, status, code) in [
        ("DELETE", "/admin/sessions/x", 400, "malformed"),
        ("DELETE", "/admin/sessions/+1", 400, "malformed"),
        ("DELETE", "/admin/sessions/-1", 400, "malformed"),
        ("DELETE", "/admin/sessions/1.0", 400, "malformed"),
        ("DELETE", "/admin/sessions/%31", 400, "malformed"),
        ("DELETE", "/admin/sessions/0", 404, "no_session"),
        ("DELETE", "/admin/sessions/18446744073709551615", 404, "no_session"),
        ("DELETE", "/admin/sessions/18446744073709551617", 404, "no_session"),
        ("DELETE", "/admin/sessions/99999999999999999999999999", 404, "no_session"),
        ("DELETE", "/admin/sessions/", 404, "not_found"),
        ("DELETE", "/admin/sessions/1/", 404, "not_found"),
        ("DELETE", "/admin/sessions/1/2", 404, "not_found"),
        ("DELETE", "/admin/subjects/", 404, "not_found"),
        ("DELETE", "/admin/subjects", 404, "not_found"),
        ("DELETE", "/admin/subjects/alice/bob", 404, "not_found"),
        ("DELETE", "/admin/subjects/alice%", 400, "malformed"),
        ("DELETE", "/admin/subjects/alice%zz", 400, "malformed"),
        ("DELETE", "/admin/subjects/alice%+1", 400, "malformed"),
        ("DELETE", "/admin/subjects/%FF", 400, "malformed"),
        ("GET", "/admin", 404, "not_found"),
        ("GET", "/admin/nonsense", 404, "not_found"),
        ("GET", "/admin/sessions/", 404, "not_found"),
        ("GET", "/admin/sessions?limit=0", 400, "malformed"),
        ("GET", "/admin/sessions?limit=1001", 400, "malformed"),
        ("GET", "/admin/sessions?limit=%2B1", 400, "malformed"),
        ("GET", "/admin/sessions?limit=", 400, "malformed"),
        ("GET", "/admin/sessions?after=x", 400, "malformed"),
        ("GET", "/admin/sessions?after=-1", 400, "malformed"),
        ("GET", "/admin/sessions?after=18446744073709551616", 400, "malformed"),
        ("GET", "/admin/sessions?project=", 400, "malformed"),
        ("GET", "/admin/sessions?project=*", 400, "malformed"),
    ] {
        let found = refused(daemon, method.parse().unwrap(), path, Some(&root)).await;
        assert_eq!(found, (status, code.to_owned()), "{method} {path}");
    }
    for (path, allowed) in
        [("/admin/sessions", "GET"), ("/admin/sessions/1", "DELETE"), ("/admin/subjects/alice", "DELETE")]
    {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW"] {
            if method != allowed {
                let response = ask(daemon, method.parse().unwrap(), path, Some(&root)).await;
                let headers = response.headers().clone();
                assert_eq!(
                    (response.status().as_u16(), &headers["allow"]),
                    (405, &allowed.parse().unwrap()),
                    "{method} {path}"
                );
                let body = response.text().await.unwrap();
                assert_eq!(body.contains("method_not_allowed"), method != "HEAD", "{method} {path}: {body}");
            }
        }
    }
    world.run("update tasks set done = true where id = 1").await;
    alice.hears(&["task UPDATE 7/1"]).await;
    assert_eq!(audit(daemon), Vec::<Value>::new());
}

#[tokio::test]
async fn requests_are_let_in_at_a_pace_of_their_own() {
    let world =
        World::with(|settings| settings.set("auth.admin_scope", SCOPE).set("limits.connects_per_second", "1")).await;
    let daemon = &world.daemon;
    // Browsers that come all at once do not keep administrators out.
    for _ in 0..9 {
        let _ = Browser::request(daemon.request("/ws")).await;
    }
    let mut answers = Vec::new();
    for _ in 0..20 {
        let response = ask(daemon, Method::GET, "/admin/sessions", Some("nonsense")).await;
        answers.push((response.status().as_u16(), response.headers().contains_key("retry-after")));
    }
    assert_eq!(answers[0], (401, false));
    assert!(answers.contains(&(503, true)), "{answers:?}");
    let looked_at = answers.iter().filter(|answer| answer.0 == 401).count();
    assert_eq!(
        daemon.metric("pgherald_auth_failures_total").await,
        looked_at as f64,
        "no token of the others was looked at"
    );
    until("room for another", async || {
        ask(daemon, Method::GET, "/admin/sessions", Some(&root())).await.status() == StatusCode::OK
    })
    .await;
}
