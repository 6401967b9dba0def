//! The board of the demo, as its page sees it: log-in, tasks, and that a write tells the daemon whose it was.

use std::process::Stdio;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::browser::Browser;
use crate::world::{Database, LIMIT, Settings, until};

/// A running `pgherald demo` on a database of the test's own; killed when dropped.
struct Demo {
    /// `http://127.0.0.1:port`
    page: String,
    client: reqwest::Client,
    database: Database,
    _child: Child,
}

impl Demo {
    async fn start(more: &[&str]) -> Self {
        let database = Database::empty().await;
        let settings = Settings::new("").unset("auth.secret").unset("database.url").unset("http.listen");
        let url = &*database.url;
        let usual = ["demo", "--listen", "127.0.0.1:0", "--board", "127.0.0.1:0", "--database-url", url];
        let mut child = settings.command(&[&usual, more].concat()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let link = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the demo runs");
                // The first of two; the other is the inspector's.
                if line.trim().starts_with("http://") {
                    return line.trim().to_owned();
                }
            }
        };
        let page = tokio::time::timeout(LIMIT, link).await.expect("the demo says where its board is");
        Self { page, client: reqwest::Client::new(), database, _child: child }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.page)).timeout(LIMIT)
    }

    async fn login(&self, user: &str) -> String {
        let request = self.request(Method::POST, "/api/login").body(json!({ "user": user }).to_string());
        let (_, answer) = read(request).await;
        answer["token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Status and body of a request with this token.
    async fn ask(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.request(method, path).bearer_auth(token);
        read(body.iter().fold(request, |request, body| request.body(body.to_string()))).await
    }

    /// A session with the demo's daemon.
    async fn browser(&self, token: &str, project: &str) -> Browser {
        let (_, config) = read(self.request(Method::GET, "/api/config")).await;
        let url = config["url"].as_str().unwrap();
        Browser::open(&format!("{url}?project_id={project}"), Some(token)).await.unwrap()
    }
}

/// Status and body of the answer.
async fn read(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// The status and the code of a refusal, which has a text for people.
fn refused((status, body): (u16, Value)) -> (u16, String) {
    assert!(body["message"].as_str().is_some_and(|text| text.len() > 5), "{body} tells nothing");
    (status, body["error"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn board_lists_the_tasks_of_a_project_to_its_members() {
    let demo = Demo::start(&[]).await;
    let token = demo.login("alice").await;
    let projects = demo.ask(&token, Method::GET, "/api/projects", None).await;
    assert_eq!(projects, (200, json!([{ "id": "7", "name": "Website" }])));
    let (status, tasks) = demo.ask(&token, Method::GET, "/api/projects/7/tasks", None).await;
    let first = json!({ "id": "1", "title": "Write the landing page", "status": "todo", "sprint": "Spring clean" });
    assert_eq!((status, &tasks[0]), (200, &first));
    let statuses: Vec<&str> = tasks.as_array().unwrap().iter().filter_map(|task| task["status"].as_str()).collect();
    assert!(["todo", "doing", "done"].iter().all(|status| statuses.contains(status)), "{statuses:?}");
    let (_, of_carol) = demo.ask(&demo.login("carol").await, Method::GET, "/api/projects/7/tasks", None).await;
    assert_eq!(of_carol, tasks, "two people share a project");
}

#[tokio::test]
async fn board_writes_are_told_with_the_origin_of_their_page() {
    let demo = Demo::start(&[]).await;
    let token = demo.login("alice").await;
    let mut browser = demo.browser(&demo.login("carol").await, "7").await;
    let tasks = "/api/projects/7/tasks";
    let send = async |method: Method, path: &str, body: Value| {
        let request = demo.request(method, path).bearer_auth(&token).header("x-herald-origin", "page 1");
        read(request.body(body.to_string())).await
    };
    let mut told = async || {
        let frame = browser.frame().await;
        assert_eq!(frame["origin"], "page 1", "{frame}");
        format!("{} {}", frame["action"].as_str().unwrap(), frame["data"]["id"].as_str().unwrap())
    };

    let (status, added) = send(Method::POST, tasks, json!({ "title": " Ship it " })).await;
    assert_eq!((status, &added["title"], &added["status"]), (201, &"Ship it".into(), &"todo".into()));
    let id = added["id"].as_str().unwrap();
    let task = format!("{tasks}/{id}");
    assert_eq!(told().await, format!("INSERT {id}"));
    let (status, moved) = send(Method::PATCH, &task, json!({ "status": "done" })).await;
    assert_eq!((status, &moved["title"], &moved["status"]), (200, &"Ship it".into(), &"done".into()));
    assert_eq!(told().await, format!("UPDATE {id}"));
    let (status, renamed) = send(Method::PATCH, &task, json!({ "title": "Ship it'); --" })).await;
    assert_eq!((status, &renamed["title"], &renamed["status"]), (200, &"Ship it'); --".into(), &"done".into()));
    assert_eq!(told().await, format!("UPDATE {id}"));
    assert_eq!(send(Method::DELETE, &task, json!({})).await, (200, renamed));
    assert_eq!(told().await, format!("DELETE {id}"));
    assert_eq!(refused(send(Method::PATCH, &task, json!({ "status": "todo" })).await), (404, "not_found".into()));

    // Nobody's name sticks to the connection.
    demo.ask(&token, Method::PATCH, &format!("{tasks}/1"), Some(json!({ "status": "doing" }))).await;
    let frame = browser.frame().await;
    assert_eq!((&frame["data"]["id"], &frame["origin"]), (&"1".into(), &Value::Null), "{frame}");
}

#[tokio::test]
async fn board_of_a_project_is_closed_to_others() {
    let demo = Demo::start(&[]).await;
    let (bob, forbidden) = (demo.login("bob").await, (403, "forbidden".to_owned()));
    let tasks = "/api/projects/7/tasks";
    let task = json!({ "title": "x" });
    assert_eq!(refused(demo.ask(&bob, Method::GET, tasks, None).await), forbidden);
    assert_eq!(refused(demo.ask(&bob, Method::POST, tasks, Some(task.clone())).await), forbidden);
    let one = format!("{tasks}/1");
    assert_eq!(refused(demo.ask(&bob, Method::PATCH, &one, Some(task.clone())).await), forbidden);
    assert_eq!(refused(demo.ask(&bob, Method::DELETE, &one, None).await), forbidden);
    // A task of another project than the one that is named.
    let elsewhere = "/api/projects/8/tasks/1";
    let missing = (404, "not_found".to_owned());
    assert_eq!(refused(demo.ask(&bob, Method::PATCH, elsewhere, Some(task)).await), missing);
    assert_eq!(refused(demo.ask(&bob, Method::DELETE, elsewhere, None).await), missing);

    demo.database.run("delete from project_members where user_id = 'bob'").await;
    assert_eq!(refused(demo.ask(&bob, Method::GET, "/api/projects/8/tasks", None).await), forbidden);
}

#[tokio::test]
async fn board_says_what_is_wrong_with_a_request() {
    let demo = Demo::start(&[]).await;
    let token = demo.login("alice").await;
    let check = async |method: Method, path: &str, body: &str, expected: (u16, &str)| {
        let request = demo.request(method, path).bearer_auth(&token).body(body.to_owned());
        let answer = refused(read(request).await);
        assert_eq!(answer, (expected.0, expected.1.to_owned()), "{path} {body:.50}");
    };
    let tasks = "/api/projects/7/tasks";
    let malformed = (400, "malformed");
    for body in ["", "{", "[]", "{}", r#"{"title":1}"#, r#"{"title":" "}"#, r#"{"title":"a\u0000b"}"#] {
        check(Method::POST, tasks, body, malformed).await;
    }
    check(Method::POST, tasks, r#"{"title":"x","done":true}"#, malformed).await;
    check(Method::POST, tasks, &json!({ "title": "é".repeat(201) }).to_string(), malformed).await;
    check(Method::POST, tasks, &json!({ "title": "x".repeat(100_000) }).to_string(), malformed).await;
    check(Method::PATCH, "/api/projects/7/tasks/1", r#"{"status":"soon"}"#, malformed).await;
    check(Method::POST, "/api/login", r#"{"name":"alice"}"#, malformed).await;
    check(Method::POST, "/api/login", r#"{"user":"mallory"}"#, (401, "unauthorized")).await;
    check(Method::POST, "/api/login", r#"{"user":"a\u0000"}"#, (401, "unauthorized")).await;
    check(Method::DELETE, "/api/projects/7/tasks/99999999999", "", (404, "not_found")).await;
    check(Method::GET, "/api/projects/x/tasks", "", (404, "not_found")).await;
    check(Method::PUT, tasks, "{}", (404, "not_found")).await;
    check(Method::GET, "/etc/passwd", "", (404, "not_found")).await;

    // What is too long is not even read.
    let mut socket = TcpStream::connect(demo.page.strip_prefix("http://").unwrap()).await.unwrap();
    let head = b"POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\n";
    socket.write_all(head).await.unwrap();
    let mut answer = String::new();
    let closed = tokio::time::timeout(LIMIT, socket.read_to_string(&mut answer)).await;
    closed.expect("the connection is closed").unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(r#""error":"malformed""#), "{answer}");

    let long = demo.request(Method::POST, tasks).bearer_auth(&token).header("x-herald-origin", "x".repeat(101));
    let answer = read(long.body(r#"{"title":"x"}"#)).await;
    assert_eq!(refused(answer), (400, "malformed".into()));
    assert_eq!(refused(read(demo.request(Method::GET, tasks)).await), (401, "unauthorized".into()));
}

#[tokio::test]
async fn board_tokens_end_when_they_say_so() {
    let demo = Demo::start(&["--token-ttl", "2s"]).await;
    let token = demo.login("alice").await;
    let mut last = (0, Value::Null);
    until("the token to be refused", async || {
        last = demo.ask(&token, Method::GET, "/api/projects", None).await;
        last.0 != 200
    })
    .await;
    assert_eq!(refused(last), (401, "unauthorized".into()));
    let again = demo.login("alice").await;
    assert_eq!(demo.ask(&again, Method::GET, "/api/projects", None).await.0, 200);
}

#[tokio::test]
async fn board_page_may_load_nothing_but_itself_and_the_daemon() {
    let demo = Demo::start(&[]).await;
    let (_, config) = read(demo.request(Method::GET, "/api/config")).await;
    let daemon = config["url"].as_str().unwrap().strip_prefix("ws://").unwrap().strip_suffix("/ws").unwrap().to_owned();
    for (path, kind) in [("/", "text/html"), ("/board.js", "text/javascript"), ("/board.css", "text/css")] {
        let file = demo.request(Method::GET, path).send().await.unwrap();
        assert_eq!(file.status(), 200, "{path}");
        let header = |name: &str| file.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let policy = header("content-security-policy");
        for rule in [
            "default-src 'none'".to_owned(),
            "script-src 'self'".to_owned(),
            "style-src 'self'".to_owned(),
            format!("connect-src 'self' ws://{daemon} http://{daemon}"),
            "frame-ancestors 'none'".to_owned(),
        ] {
            assert!(policy.split("; ").any(|known| known == rule), "{rule} is not in {policy}");
        }
    }
    let page = demo.request(Method::GET, "/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("/board.js") || page.contains("make board"), "neither the board nor a word about it: {page}");
}
