//! `pgherald tail`

use std::collections::HashMap;
use std::io::Write;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Error, Message};

use super::Failure;
use crate::backoff::Backoff;
use crate::close::{Close, ComeBack};
use crate::config::Config;

/// A daemon that says nothing for so long, not even a ping, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub struct Tail {
    /// Which project
    #[arg(long, required = true, value_name = "ID")]
    project: Vec<String>,
    /// What of it: task:* or task:42 [default: everything]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Values of included columns, as JSON: {"parent_id": "9"}
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    filter: Option<Value>,
    /// cache_invalidate or resource_change
    #[arg(long, value_parser = ["cache_invalidate", "resource_change"])]
    format: Option<String>,
    /// One frame for all rows of a notification
    #[arg(long)]
    batch: bool,
    /// Begin behind this cursor, the last one seen
    #[arg(long, value_name = "CURSOR")]
    since: Option<String>,
    /// A token of one of its members, as `pgherald token` mints them
    #[arg(long, env = "PGHERALD_TOKEN", hide_env_values = true)]
    token: String,
    /// The daemon's address [default: ws:// and http.listen and the first of http.websocket_paths]
    #[arg(long)]
    url: Option<String>,
    /// End at the first lost connection instead of connecting again
    #[arg(long)]
    once: bool,
}

fn json_object(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).ok().filter(Value::is_object).ok_or_else(|| "is no JSON object".into())
}

/// Where to go on: the newest cursor of each project.
#[derive(Default)]
struct Places {
    subscribed: bool,
    cursors: HashMap<String, String>,
}

/// Why a connection ended, and whether another may help.
struct Lost {
    why: String,
    again: bool,
}

pub async fn run(config: Config, tail: Tail) -> Result<(), Failure> {
    let path = config.http.websocket_paths.first().map_or("/ws", String::as_str);
    let url = tail.url.clone().unwrap_or_else(|| format!("ws://{}{path}", config.http.listen));
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    let mut places = Places::default();
    loop {
        let lost = match follow(&url, &tail, &mut places, &mut backoff).await {
            Ok(()) => return Ok(()),
            Err(lost) => lost,
        };
        // A wrong address is no lost connection.
        if tail.once || !lost.again || !places.subscribed {
            return Err(Failure::new(format!("{url}: {}", lost.why)));
        }
        let delay = backoff.next_delay();
        eprintln!("pgherald: {url}: {}: connecting again in {:.1} s", lost.why, delay.as_secs_f64());
        tokio::time::sleep(delay).await;
    }
}

/// Prints frames until the connection ends; `Ok` when nobody reads them any more.
async fn follow(url: &str, tail: &Tail, places: &mut Places, backoff: &mut Backoff) -> Result<(), Lost> {
    let refuse = |why: String| Lost { why, again: false };
    let mut request = url.into_client_request().map_err(|error| refuse(error.to_string()))?;
    let bearer = format!("Bearer {}", tail.token)
        .parse()
        .map_err(|_| refuse("the token has characters that no header can hold".into()))?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.map_err(lost)?;
    for project in &tail.project {
        let mut subscribe = json!({ "type": "subscribe", "ref": project, "project_id": project, "topics": tail.topics,
            "filter": tail.filter, "format": tail.format, "batch": tail.batch, "since": tail.since });
        if places.subscribed {
            // What was missed in between must show: a cursor that nobody knows is answered with reconnect.
            subscribe["since"] = json!(places.cursors.get(project).map_or("0.0", String::as_str));
        }
        socket.send(Message::text(subscribe.to_string())).await.map_err(lost)?;
    }
    loop {
        let message = tokio::time::timeout(SILENCE_MAX, socket.next()).await;
        let message = message.map_err(|_| Lost { why: "nothing heard for two minutes".into(), again: true })?;
        match message {
            Some(Ok(Message::Text(text))) => {
                let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                if let (Some(project), Some(cursor)) = (frame["project_id"].as_str(), frame["cursor"].as_str()) {
                    places.cursors.insert(project.to_owned(), cursor.to_owned());
                }
                match frame["type"].as_str() {
                    Some("subscribed") => {
                        eprintln!("pgherald: subscribed to project {}", frame["project_id"]);
                        places.subscribed = true;
                        backoff.reset();
                    }
                    Some("error") => {
                        let message = frame["message"].as_str().unwrap_or("refused");
                        let why = format!("project {}: {message}", frame["ref"]);
                        return Err(Lost { why, again: frame["code"] == "unavailable" });
                    }
                    _ if writeln!(std::io::stdout(), "{text}").is_err() => return Ok(()),
                    _ => {}
                }
            }
            Some(Ok(Message::Close(frame))) => return Err(closed(frame)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(lost(error)),
            None => return Err(Lost { why: "the connection ended".into(), again: true }),
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> Lost {
    let Some(CloseFrame { code, reason }) = frame else { return Lost { why: "closed".into(), again: true } };
    let known = Close::ALL.into_iter().map(Close::describe).find(|(known, _, _)| *known == u16::from(code));
    // This command has only one token to give, so a fresh one can't be had.
    let again = known.is_none_or(|(_, _, back)| !matches!(back, ComeBack::No | ComeBack::WithFreshToken));
    Lost { why: format!("closed with {code}: {reason}"), again }
}

fn lost(error: Error) -> Lost {
    match error {
        Error::Http(response) => {
            let body: Value =
                response.body().as_deref().and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
            let message = body["message"].as_str().unwrap_or("refused").to_owned();
            Lost { why: format!("{}: {message}", response.status()), again: response.status().is_server_error() }
        }
        error @ (Error::Url(_) | Error::HttpFormat(_) | Error::Tls(_)) => Lost { why: error.to_string(), again: false },
        error @ tungstenite::Error::Io(_) => {
            Lost { why: format!("{error}: is `pgherald serve` running there?"), again: true }
        }
        error => Lost { why: error.to_string(), again: true },
    }
}
