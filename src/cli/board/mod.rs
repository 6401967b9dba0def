//! The board of `pgherald demo`: the page of examples/board and the small API behind it, such as an application has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_postgres::types::Type;
use warp::Filter;
use warp::http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

use self::refused::{BODY_BYTES_MAX, Refused, reply};
use self::tasks::{Caller, Draft};
use super::{Failure, token};
use crate::config::Config;
use crate::database::{Database, DatabaseError};
use crate::keyring::Keyring;
use crate::token::TokenError;

mod page;
mod refused;
mod tasks;

/// The longest `X-Herald-Origin`: it travels in every notification of the transaction.
const ORIGIN_BYTES_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Where the board is served; a free port is taken where this one is in use
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    board: SocketAddr,
    /// How long the tokens of the board's log-in are valid
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    token_ttl: Duration,
}

/// The page and its API, bound to an address.
pub struct Board {
    socket: TcpListener,
    config: Config,
    database: Database,
    keyring: Keyring,
    token_ttl: Duration,
}

impl Board {
    /// Binds it. `config` is the daemon's: both trust the same tokens and ask the same database.
    pub async fn open(config: &Config, options: &Options) -> Result<Self, Failure> {
        let socket = match TcpListener::bind(options.board).await {
            Ok(socket) => socket,
            Err(_) => TcpListener::bind((options.board.ip(), 0)).await.map_err(Failure::new)?,
        };
        let keyring = Keyring::open(config).await.map_err(Failure::new)?;
        let database = Database::open(&config.database)?;
        Ok(Self { socket, config: config.clone(), database, keyring, token_ttl: options.token_ttl })
    }

    /// Where it is served.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves it, for a page that finds the daemon at `daemon`.
    pub async fn serve(self, daemon: SocketAddr) {
        let Self { socket, config, database, keyring, token_ttl } = self;
        let api = Arc::new(Api { config, database, keyring, token_ttl, daemon });
        let body = warp::body::content_length_limit(BODY_BYTES_MAX).and(warp::body::bytes());
        let routes = warp::method()
            .and(warp::path::full())
            .and(warp::header::headers_cloned())
            .and(body.map(Some).or(warp::any().map(|| None)).unify())
            .then(move |method, path, headers, body| {
                let api = Arc::clone(&api);
                async move { api.reply(method, path, headers, body).await }
            });
        warp::serve(routes).incoming(socket).run().await;
    }
}

struct Api {
    config: Config,
    database: Database,
    keyring: Keyring,
    token_ttl: Duration,
    daemon: SocketAddr,
}

impl Api {
    async fn reply(&self, method: Method, path: FullPath, headers: HeaderMap, body: Option<Bytes>) -> Response {
        if body.is_none() && (headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)) {
            return Refused::Unread.reply();
        }
        let path = path.as_str().trim_start_matches('/');
        if let (&Method::GET | &Method::HEAD, Some(file)) = (&method, page::file(path, self.daemon)) {
            return file;
        }
        match self.answer(&method, path, &headers, &body.unwrap_or_default()).await {
            Ok((status, value)) => reply(status, &value),
            Err(refused) => refused.reply(),
        }
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(StatusCode, Value), Refused> {
        let place: Vec<&str> = path.split('/').collect();
        match (method.as_str(), &place[..]) {
            ("GET", ["api", "config"]) => return ok(json!({ "url": format!("ws://{}/ws", self.daemon) })),
            ("POST", ["api", "login"]) => return ok(self.login(body).await?),
            _ => {}
        }
        let ["api", "projects", rest @ ..] = &place[..] else { return Err(Refused::Address) };
        let subject = self.subject(headers).await?;
        let [project, "tasks", task @ ..] = rest else {
            return if rest.is_empty() && method == Method::GET {
                ok(self.projects(&subject).await?)
            } else {
                Err(Refused::Address)
            };
        };
        let caller =
            Caller { database: &self.database, subject: &subject, project: number(project)?, origin: origin(headers)? };
        match (method.as_str(), task) {
            ("GET", []) => ok(caller.list().await?),
            ("POST", []) => Ok((StatusCode::CREATED, value(caller.add(&Draft::read(body)?).await?)?)),
            ("PATCH", [id]) => ok(caller.change(number(id)?, &Draft::read(body)?).await?),
            ("DELETE", [id]) => ok(caller.remove(number(id)?).await?),
            _ => Err(Refused::Address),
        }
    }

    /// A token for whoever the body names: the demo has no passwords.
    async fn login(&self, body: &[u8]) -> Result<Value, Refused> {
        #[derive(serde::Deserialize)]
        struct Login {
            user: String,
        }
        let Login { user } = read(body)?;
        let known = "select from project_members where user_id = $1 limit 1";
        if user.contains('\0') || self.database.query(known, &[(&user, Type::TEXT)]).await?.is_empty() {
            return Err(Refused::Stranger);
        }
        let token = token::sign(&self.config, &token::Mint::of(&user, self.token_ttl));
        let token = token.map_err(|failure| Refused::from(DatabaseError::new(failure.message)))?;
        Ok(json!({ "token": token, "expires_in": self.token_ttl.as_secs() }))
    }

    /// Whose token it is.
    async fn subject(&self, headers: &HeaderMap) -> Result<Arc<str>, Refused> {
        let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer ")).ok_or(TokenError::Missing)?;
        Ok(self.keyring.verify(token).await?.subject)
    }

    async fn projects(&self, subject: &str) -> Result<Value, Refused> {
        let sql = "select id::text, name from projects join project_members on project_id = id \
            where user_id = $1 order by id";
        let rows = self.database.query(sql, &[(&subject, Type::TEXT)]).await?;
        let project = |row: &tokio_postgres::Row| json!({ "id": row.get::<_, &str>(0), "name": row.get::<_, &str>(1) });
        Ok(rows.iter().map(project).collect())
    }
}

/// A JSON body.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|error| Refused::Malformed(format!("the body is not the JSON that is expected here: {error}")))
}

fn number(text: &str) -> Result<i32, Refused> {
    text.parse().map_err(|_| Refused::NotFound("projects and tasks have numbers"))
}

fn origin(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get("x-herald-origin") else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| text.len() <= ORIGIN_BYTES_MAX);
    let wrong = || Refused::Malformed(format!("X-Herald-Origin: up to {ORIGIN_BYTES_MAX} characters of ASCII"));
    text.map(Some).ok_or_else(wrong)
}

fn value(body: impl Serialize) -> Result<Value, Refused> {
    serde_json::to_value(body).map_err(|_| Refused::Unavailable)
}

fn ok(body: impl Serialize) -> Result<(StatusCode, Value), Refused> {
    Ok((StatusCode::OK, value(body)?))
}
