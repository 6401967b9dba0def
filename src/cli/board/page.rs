//! The built page of examples/board, which travels in the binary.

use std::net::SocketAddr;

use warp::Reply;
use warp::http::HeaderValue;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::reply::Response;

/// The page says what it is where Vite has not built it: see `build.rs`.
const INDEX: &str = include_str!(concat!(env!("OUT_DIR"), "/index.html"));
const SCRIPT: &str = include_str!(concat!(env!("OUT_DIR"), "/board.js"));
const STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/board.css"));

/// The file at `path`, which is any address of the page or one of its two assets.
pub fn file(path: &str, daemon: SocketAddr) -> Option<Response> {
    let (kind, text) = match path {
        "" | "index.html" => ("text/html; charset=utf-8", INDEX),
        "board.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "board.css" => ("text/css; charset=utf-8", STYLE),
        _ => return None,
    };
    let headers: [(HeaderName, String); 5] = [
        (CONTENT_TYPE, kind.to_owned()),
        (CONTENT_SECURITY_POLICY, policy(daemon)),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        // A new build is a new page at once.
        (CACHE_CONTROL, "no-cache".to_owned()),
    ];
    let mut reply = text.into_response();
    for (name, value) in headers {
        reply.headers_mut().insert(name, HeaderValue::try_from(value).ok()?);
    }
    Some(reply)
}

/// Nothing but the page's own files, its API and the daemon (Content Security Policy Level 3). The icon is a data URL.
fn policy(daemon: SocketAddr) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' ws://{daemon} http://{daemon}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
