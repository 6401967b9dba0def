//! The doors: which address does what, and how a refusal looks.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use warp::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName,
    RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, VARY, WWW_AUTHENTICATE,
};
use warp::http::{HeaderValue, Method, StatusCode};
use warp::path::{FullPath, Tail};
use warp::reply::Response;
use warp::{Filter, Rejection, Reply};

use crate::admin::{Admin, Denied};
use crate::dialogue::Context;
use crate::gate::{Gate, Refused};
use crate::inspector::{Inspector, Page};
use crate::line::Handle;
use crate::metrics as m;
use crate::session;
use crate::stream;
use crate::upgrade;

/// A session to run on a task of its own.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the routes need.
pub struct Doors {
    /// Where sessions are accepted.
    pub websocket_paths: Vec<String>,
    /// Where event streams begin.
    pub event_paths: Vec<String>,
    /// Who gets in.
    pub gate: Gate,
    /// The rooms of administrators.
    pub admin: Admin,
    /// The page of developers.
    pub inspector: Inspector,
    /// What sessions share.
    pub context: Arc<Context>,
    /// The numbers behind `/metrics`.
    pub prometheus: PrometheusHandle,
    /// Runs a session; the house decides how.
    pub spawn: Box<dyn Fn(Task) + Send + Sync>,
}

/// All routes. Every answer that is no success is `{"error":"code","message":"..."}`.
pub fn all(doors: Arc<Doors>) -> impl Filter<Extract = (impl Reply,), Error = Infallible> + Clone {
    let with = move || {
        let doors = Arc::clone(&doors);
        warp::any().map(move || Arc::clone(&doors))
    };
    let at = |path: &'static str| warp::get().and(warp::path(path)).and(warp::path::end());
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let websocket = warp::get()
        .and(with())
        .and(warp::path::full())
        .and_then(async |doors: Arc<Doors>, path: FullPath| {
            if doors.websocket_paths.iter().any(|known| known == path.as_str()) {
                Ok(doors)
            } else {
                Err(warp::reject())
            }
        })
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<OnUpgrade>())
        .then(open_session);
    let events = with()
        .and(warp::path::full())
        .and_then(async |doors: Arc<Doors>, path: FullPath| {
            if doors.event_paths.iter().any(|known| known == path.as_str()) { Ok(doors) } else { Err(warp::reject()) }
        })
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<Handle>())
        .then(events);
    let live = at("live").map(|| "live\n".into_response());
    let ready = at("ready").and(with()).then(async |doors: Arc<Doors>| readiness(&doors.gate.unready().await));
    let metrics = at("metrics").and(with()).map(|doors: Arc<Doors>| {
        let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        with_header(doors.prometheus.render().into_response(), CONTENT_TYPE, text)
    });
    let admin = warp::path("admin")
        .and(with())
        .and(warp::method())
        .and(warp::path::tail())
        .and(query)
        .and(warp::header::headers_cloned())
        .then(administer);
    let inspector = with()
        .and(warp::path::full())
        .and_then(async |doors: Arc<Doors>, path: FullPath| {
            doors.inspector.find(path.as_str()).ok_or_else(warp::reject)
        })
        .and(warp::method())
        .map(inspect);
    live.or(ready)
        .unify()
        .or(metrics)
        .unify()
        .or(events)
        .unify()
        .or(websocket)
        .unify()
        .or(admin)
        .unify()
        .or(inspector)
        .unify()
        .recover(refuse_unknown)
}

async fn open_session(doors: Arc<Doors>, headers: HeaderMap, query: String, upgrade: Option<OnUpgrade>) -> Response {
    let (handshake, arrival) = match doors.gate.admit(&headers, &query).await {
        Ok(admitted) => admitted,
        Err(refused) => return refusal(&refused),
    };
    let Some(upgrade) = upgrade else {
        return refusal(&Refused::Malformed("this connection can't be upgraded: use HTTP/1.1".into()));
    };
    let context = Arc::clone(&doors.context);
    (doors.spawn)(Box::pin(async move {
        if let Some((stream, early)) = upgrade::stream(upgrade).await {
            session::run(arrival, stream, early, &context).await;
        }
    }));
    handshake.reply()
}

async fn administer(doors: Arc<Doors>, method: Method, path: Tail, query: String, headers: HeaderMap) -> Response {
    let reply = match doors.admin.answer(&method, path.as_str(), &query, &headers).await {
        Ok(Some(body)) => json(StatusCode::OK, &body),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(denied) => {
            let (status, code) = denied.describe();
            let reply = error(status, code, &denied.to_string());
            match denied {
                Denied::Token(_) => with_header(reply, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
                Denied::Method(allowed) => with_header(reply, ALLOW, HeaderValue::from_static(allowed)),
                Denied::Pace => with_header(reply, RETRY_AFTER, HeaderValue::from_static("1")),
                _ => reply,
            }
        }
    };
    with_header(reply, CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

fn inspect(page: Page, method: Method) -> Response {
    if [Method::GET, Method::HEAD].contains(&method) {
        return page.into_response();
    }
    let reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD are served here");
    with_header(reply, ALLOW, HeaderValue::from_static("GET, HEAD"))
}

/// Pages of other origins may read these answers, refusals too, where their origin is allowed.
async fn events(
    doors: Arc<Doors>,
    method: Method,
    headers: HeaderMap,
    query: String,
    line: Option<Handle>,
) -> Response {
    let mut reply = match method {
        Method::GET => open_stream(&doors, &headers, &query, line).await,
        Method::OPTIONS => preflight(),
        _ => {
            let reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET is served here");
            with_header(reply, ALLOW, HeaderValue::from_static("GET, OPTIONS"))
        }
    };
    if let Some(origin) = doors.gate.allow_origin(&headers) {
        reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        reply.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
    with_header(reply, VARY, HeaderValue::from_static("origin"))
}

/// Returns a refusal, or never: then the answer is the stream's.
async fn open_stream(doors: &Doors, headers: &HeaderMap, query: &str, line: Option<Handle>) -> Response {
    let opening = match doors.gate.admit_stream(headers, query).await {
        Ok(opening) => opening,
        Err(refused) => return refusal(&refused),
    };
    let Some(socket) = line.and_then(|line| line.take()) else {
        return refusal(&Refused::Malformed("read the answer before this one first".into()));
    };
    let context = Arc::clone(&doors.context);
    (doors.spawn)(Box::pin(async move { stream::run(opening, socket, &context).await }));
    std::future::pending().await
}

/// What a browser asks before it sends a header of the page's own.
fn preflight() -> Response {
    let reply = warp::reply::with_status("", StatusCode::NO_CONTENT).into_response();
    let reply = with_header(reply, ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    let allowed = HeaderValue::from_static("authorization, cache-control, last-event-id");
    let reply = with_header(reply, ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    with_header(reply, ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"))
}

fn readiness(unready: &[&str]) -> Response {
    let body = serde_json::json!({ "ready": unready.is_empty(), "reasons": unready });
    json(if unready.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
}

fn refusal(refused: &Refused) -> Response {
    let (status, code) = refused.describe();
    let reason = if let Refused::Token(error) = refused { error.as_str() } else { code };
    counter!(m::REFUSED, "reason" => reason).increment(1);
    let reply = error(status, code, &refused.to_string());
    match status {
        StatusCode::UNAUTHORIZED => with_header(reply, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        StatusCode::UPGRADE_REQUIRED => {
            let reply = with_header(reply, UPGRADE, HeaderValue::from_static("websocket"));
            with_header(reply, SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
        }
        StatusCode::SERVICE_UNAVAILABLE => with_header(reply, RETRY_AFTER, HeaderValue::from(retry_after(refused))),
        _ => reply,
    }
}

/// In seconds. Those who came at the same moment must not come back at the same moment.
fn retry_after(refused: &Refused) -> u16 {
    if *refused == Refused::TooManyConnects { rand::random_range(1..=5) } else { 1 }
}

async fn refuse_unknown(rejection: Rejection) -> Result<Response, Infallible> {
    if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        let reply = error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET is served here");
        return Ok(with_header(reply, ALLOW, HeaderValue::from_static("GET")));
    }
    Ok(error(StatusCode::NOT_FOUND, "not_found", "nothing lives at this address: see docs/protocol.md"))
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    json(status, &serde_json::json!({ "error": code, "message": message }))
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

fn with_header(mut reply: Response, name: HeaderName, value: HeaderValue) -> Response {
    reply.headers_mut().insert(name, value);
    reply
}
