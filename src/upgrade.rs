//! From an HTTP request to a bare stream: the opening handshake of RFC 6455, section 4.2.
//! warp's own WebSocket can't size its buffers (135 KB a connection), so warp only routes and replies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use sha1::{Digest, Sha1};
use tokio::net::TcpStream;
use warp::http::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::line::{self, Line};
use crate::protocol::SUBPROTOCOL;

/// The prefix of the subprotocol that carries a token: browsers can set no header but this one.
const BEARER_SUBPROTOCOL: &str = "bearer.";

/// A client's opening handshake that is in order.
pub struct Handshake {
    accept: String,
    subprotocol: bool,
    /// The token of the `Authorization` header or of the subprotocol.
    pub token: Option<String>,
    /// The `Origin` header; only browsers send one.
    pub origin: Option<String>,
}

/// What is wrong with a handshake; the text may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant is its own message")]
pub enum HandshakeError {
    #[error("this is a WebSocket address: connect with a WebSocket client (Upgrade: websocket)")]
    NotWebSocket,
    #[error("WebSocket version 13 is spoken here")]
    Version,
    #[error("Sec-WebSocket-Key must be the base64 of 16 bytes")]
    Key,
}

impl Handshake {
    /// Checks the request's headers.
    pub fn read(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        let has = |name: &HeaderName, word: &str| tokens(headers, name).any(|token| token.eq_ignore_ascii_case(word));
        if !has(&UPGRADE, "websocket") || !has(&CONNECTION, "upgrade") {
            return Err(HandshakeError::NotWebSocket);
        }
        if text(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(HandshakeError::Version);
        }
        let accept = text(headers, &SEC_WEBSOCKET_KEY).and_then(accept_key).ok_or(HandshakeError::Key)?;
        let offered = || tokens(headers, &SEC_WEBSOCKET_PROTOCOL);
        let in_subprotocol = offered().find_map(|offer| offer.strip_prefix(BEARER_SUBPROTOCOL));
        Ok(Self {
            accept,
            subprotocol: offered().any(|offer| offer == SUBPROTOCOL),
            token: bearer(headers).or(in_subprotocol).map(str::to_owned),
            origin: origin(headers),
        })
    }

    /// The 101 that makes the connection a WebSocket.
    pub fn reply(&self) -> Response {
        let mut reply = Response::new(Default::default());
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = reply.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        }
        reply
    }
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 4.2.2).
///
/// `None` where the key is not the base64 of 16 bytes: the handshake is then answered with 400.
pub fn accept_key(key: &str) -> Option<String> {
    // 18 bytes is what 24 characters could hold; a longer key fails here, before any work on it.
    if BASE64.decode_slice(key, &mut [0; 18]) != Ok(16) {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    Some(BASE64.encode(digest))
}

/// The bare stream once the 101 has left, and what the client sent right behind its request. Nothing of hyper
/// stays: kept alive, its buffers cost 5 to 9 KB a session.
pub async fn stream(upgrade: OnUpgrade) -> Option<(TcpStream, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<Line>().ok()?;
    Some((line::renewed(parts.io.into_socket()?)?, parts.read_buf))
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1); empty where the scheme stands alone. Other
/// schemes are a proxy's business.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = text(headers, &AUTHORIZATION)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The `Origin` header; what is no text is no origin that anybody allows.
pub fn origin(headers: &HeaderMap) -> Option<String> {
    headers.get(ORIGIN).map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
}

/// A header that is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The items of a comma-separated header, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
}
