//! The inspector: a page on which a developer sees what a browser hears, where `http.inspector` is on. It needs no
//! token of its own, because it shows nothing before a session has been given one.

use bytes::Bytes;
use warp::Reply;
use warp::http::HeaderValue;
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use warp::reply::Response;

use crate::config::Config;

/// The page loads nothing but its own two files and talks to nobody but this daemon. 'self' covers the WebSocket of the
/// same host (CSP 3), in Safari since version 16. Naming `ws://host` would mean to echo a header of the request.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const HTML: &str = include_str!("inspector/index.html");
const CSS: &str = include_str!("inspector/inspector.css");
const JS: &str = include_str!("inspector/inspector.js");

/// Where the page reads the address of the socket.
const SOCKET: &str = "data-socket=\"/ws\"";

/// The page, if there is one.
pub struct Inspector {
    html: Option<Bytes>,
}

/// One of its files.
pub struct Page {
    content_type: &'static str,
    body: Bytes,
}

impl Inspector {
    /// As `config` wants it.
    pub fn new(config: &Config) -> Self {
        let socket = config.http.websocket_paths.first().map_or("/ws", String::as_str);
        let html = || HTML.replace(SOCKET, &format!("data-socket=\"{}\"", escape(socket))).into();
        Self { html: config.http.inspector.then(html) }
    }

    /// What lives at `path`; nothing does where the inspector is off.
    pub fn find(&self, path: &str) -> Option<Page> {
        let html = self.html.clone()?;
        let (content_type, body) = match path {
            "/" => ("text/html; charset=utf-8", html),
            "/inspector.css" => ("text/css; charset=utf-8", Bytes::from_static(CSS.as_bytes())),
            "/inspector.js" => ("text/javascript; charset=utf-8", Bytes::from_static(JS.as_bytes())),
            _ => return None,
        };
        Some(Page { content_type, body })
    }
}

impl Reply for Page {
    fn into_response(self) -> Response {
        let mut reply = Response::new(self.body.into());
        for (name, value) in [
            (CONTENT_TYPE, self.content_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
        ] {
            reply.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        reply
    }
}

/// For the value of an attribute: a path is the operator's, but a quote in it must not end the attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}
