//! The page of developers: where it is on, what it may do, and that it does not exist where it is off.

use std::path::Path;

use reqwest::{Method, Response};

use crate::world::{Daemon, World};

/// The three files: address, type, and what is embedded.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("../../src/inspector/index.html")),
    ("/inspector.css", "text/css; charset=utf-8", include_str!("../../src/inspector/inspector.css")),
    ("/inspector.js", "text/javascript; charset=utf-8", include_str!("../../src/inspector/inspector.js")),
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"];

async fn ask(daemon: &Daemon, method: &str, path: &str) -> Response {
    let method = method.parse::<Method>().unwrap();
    reqwest::Client::new().request(method, format!("http://{}{path}", daemon.address)).send().await.unwrap()
}

/// Status, headers without the date, body.
async fn whole(daemon: &Daemon, method: &str, path: &str) -> (u16, Vec<(String, String)>, String) {
    let response = ask(daemon, method, path).await;
    let headers = response.headers().iter().filter(|(name, _)| *name != "date");
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    headers.sort();
    (response.status().as_u16(), headers, response.text().await.unwrap())
}

async fn world() -> World {
    World::with(|settings| settings.set("http.inspector", "true")).await
}

#[tokio::test]
async fn without_the_setting_its_addresses_are_as_any_that_does_not_exist() {
    let world = World::new().await;
    for method in METHODS {
        let nowhere = whole(&world.daemon, method, "/nowhere").await;
        assert!(matches!(nowhere.0, 404 | 405), "{nowhere:?}");
        for path in ["/", "/inspector.css", "/inspector.js", "/inspector.html", "/?token=x"] {
            assert_eq!(whole(&world.daemon, method, path).await, nowhere, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn each_file_comes_with_exactly_these_headers() {
    let world = world().await;
    for (path, content_type, body) in FILES {
        let expected = [
            ("cache-control", "no-store"),
            ("content-length", &body.len().to_string()),
            ("content-security-policy", POLICY),
            ("content-type", content_type),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        ];
        let expected: Vec<_> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for method in ["GET", "HEAD"] {
            let body = if method == "GET" { body } else { "" };
            assert_eq!(whole(&world.daemon, method, path).await, (200, expected.clone(), body.to_owned()), "{path}");
        }
    }
    assert_eq!(ask(&world.daemon, "GET", "/?unknown=1").await.status(), 200);
    for path in ["/index.html", "/inspector", "/inspector.html", "/inspector.js/", "/inspector.js.map"] {
        assert_eq!(ask(&world.daemon, "GET", path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_refused() {
    let world = world().await;
    for (path, _, _) in FILES {
        for method in METHODS.into_iter().filter(|method| !["GET", "HEAD"].contains(method)) {
            let (status, headers, body) = whole(&world.daemon, method, path).await;
            assert_eq!(status, 405, "{method} {path}");
            assert!(headers.contains(&("allow".into(), "GET, HEAD".into())), "{method} {path}: {headers:?}");
            assert!(body.contains("method_not_allowed"), "{method} {path}: {body}");
        }
    }
}

#[tokio::test]
async fn it_opens_nothing_else() {
    let (without, with) = (World::new().await, world().await);
    for path in ["/ws", "/events?project_id=7", "/admin/sessions", "/live", "/nowhere"] {
        for method in ["GET", "HEAD", "OPTIONS", "POST"] {
            let expected = whole(&without.daemon, method, path).await;
            assert_eq!(whole(&with.daemon, method, path).await, expected, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn it_knows_where_the_websockets_are() {
    let paths = "/a\"b<&amp;,/ws";
    let world = World::with(|settings| {
        settings.set("http.inspector", "true").set("http.websocket_paths", &paths.replace("&amp;", "&"))
    })
    .await;
    let page = ask(&world.daemon, "GET", "/").await.text().await.unwrap();
    assert!(page.contains("data-socket=\"/a&quot;b&lt;&amp;\""), "{page}");
    assert_eq!(page.matches("data-socket").count(), 1);
}

#[test]
fn its_files_name_no_other_host_and_keep_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inspector");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES.len());
    for (path, _, text) in FILES {
        for foreign in ["http:", "https:", "ws:", "wss:", "//", "url(", "@import", "@font-face"] {
            // Comments, and the schemes that the page's own address may have.
            let harmless =
                |line: &str| line.trim_start().starts_with("//") || path.ends_with(".js") && line.trim() == OWN_SCHEME;
            let found: Vec<&str> = text.lines().filter(|line| line.contains(foreign) && !harmless(line)).collect();
            assert!(found.is_empty(), "{path} has {foreign}: {found:?}");
        }
    }
    let html = FILES[0].2;
    for inline in [" style=", "<style", " onclick", " onload", " onerror", "javascript:", " name=\"token", "action="] {
        assert!(!html.contains(inline), "{inline}");
    }
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains("<script type=\"module\" src=\"inspector.js\"></script>"));
    let js = FILES[2].2;
    for power in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "createContextualFragment",
        "setHTML",
        "srcdoc",
        "eval",
        "Function(",
        "import(",
        "localStorage",
        "sessionStorage",
        "indexedDB",
        "caches",
        "cookie",
        "fetch(",
        "XMLHttpRequest",
        "sendBeacon",
        "EventSource",
        "postMessage",
        "pushState",
        "location.assign",
        "location =",
        "location.hash =",
        "window.open",
        "console.",
    ] {
        assert!(!js.contains(power), "inspector.js has {power}");
    }
    assert_eq!(js.matches("new WebSocket(").count(), 1);
}

const OWN_SCHEME: &str = r#"url.protocol = url.protocol === "https:" ? "wss:" : "ws:";"#;
