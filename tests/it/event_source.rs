//! A frontend's end of an event stream: the parser of the HTML standard (9.2.6, "Interpreting an event stream"), on
//! reqwest.

use std::collections::VecDeque;

use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::browser::short;
use crate::description::description;
use crate::world::{Daemon, LIMIT, token};

/// What `onmessage` would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub data: String,
}

/// The state that the standard names, byte by byte.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    /// A CR ended the line before: an LF right behind it belongs to it.
    carriage: bool,
    data: String,
    kind: String,
    id: String,
    pub last_event_id: String,
    pub retry: Option<u64>,
    /// Blank lines: the ends of events, and heartbeats.
    pub dispatched: usize,
    events: VecDeque<Event>,
}

impl From<&str> for Parser {
    /// One that has heard this id before.
    fn from(id: &str) -> Self {
        Self { id: id.to_owned(), last_event_id: id.to_owned(), ..Self::default() }
    }
}

impl Parser {
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let joined = std::mem::replace(&mut self.carriage, *byte == b'\r') && *byte == b'\n';
            match byte {
                _ if joined => {}
                b'\r' | b'\n' => {
                    let line = String::from_utf8(std::mem::take(&mut self.line)).expect("a stream is UTF-8");
                    self.line(&line);
                }
                byte => self.line.push(*byte),
            }
        }
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() {
            self.dispatch();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => {}
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" => self.retry = value.parse().ok().or(self.retry),
            other => panic!("a field {other:?}, which browsers ignore"),
        }
    }

    fn dispatch(&mut self) {
        self.dispatched += 1;
        self.last_event_id.clone_from(&self.id);
        let (mut data, kind) = (std::mem::take(&mut self.data), std::mem::take(&mut self.kind));
        if data.pop().is_some() {
            let kind = if kind.is_empty() { "message".into() } else { kind };
            self.events.push_back(Event { id: self.id.clone(), kind, data });
        }
    }
}

/// An open stream.
pub struct EventSource {
    pub headers: HeaderMap,
    pub parser: Parser,
    response: Response,
}

impl EventSource {
    /// Opens a stream of `subject` on project 7 with `more` in the address; it has said `subscribed`.
    pub async fn open(daemon: &Daemon, subject: &str, more: &str) -> Self {
        let mut source = Self::request(request(daemon, Some(&token(subject)), more)).await.unwrap();
        source.hears(&["subscribed"]).await;
        source
    }

    /// Opens a stream with a request of one's own; else status, code and headers of the refusal.
    pub async fn request(request: RequestBuilder) -> Result<Self, (u16, String, HeaderMap)> {
        let response = tokio::time::timeout(LIMIT, request.send()).await.expect("an answer").unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status == 200 {
            assert_eq!(headers["content-type"], "text/event-stream");
            return Ok(Self { headers, parser: Parser::default(), response });
        }
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default();
        assert!(body["message"].as_str().is_some_and(|text| text.len() > 5), "{body} tells nothing");
        Err((status, body["error"].as_str().unwrap().to_owned(), headers))
    }

    /// The next event; `None` = the stream is over, or broke.
    pub async fn event(&mut self) -> Option<Event> {
        // Heartbeats are no events: they don't make the wait longer.
        let next = async {
            while self.parser.events.is_empty() {
                self.parser.feed(&self.response.chunk().await.ok().flatten()?);
            }
            self.parser.events.pop_front()
        };
        tokio::time::timeout(LIMIT, next).await.unwrap_or_else(|_| panic!("no event within {LIMIT:?}"))
    }

    /// Reads what comes, event or not, until `fact` is true.
    pub async fn until(&mut self, what: &str, fact: impl Fn(&Parser) -> bool) {
        while !fact(&self.parser) {
            let chunk = tokio::time::timeout(LIMIT, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no {what} within {LIMIT:?}")).unwrap();
            self.parser.feed(&chunk.unwrap_or_else(|| panic!("over without {what}")));
        }
    }

    /// The next event's frame.
    pub async fn frame(&mut self) -> Value {
        let event = self.event().await.expect("an event, not the end");
        assert_eq!(event.kind, "message");
        let frame = serde_json::from_str(&event.data).unwrap();
        description().check("tellStreams", &frame);
        frame
    }

    /// Asserts that the next frames are these, in short.
    pub async fn hears(&mut self, expected: &[&str]) {
        for (place, expected) in expected.iter().enumerate() {
            assert_eq!(short(&self.frame().await), *expected, "frame {place}");
        }
    }

    /// Asserts that the stream says so and is over.
    pub async fn closes(&mut self, code: u16, reason: &str) {
        assert_eq!(self.frame().await, serde_json::json!({ "type": "close", "code": code, "reason": reason }));
        assert_eq!(self.event().await, None);
    }
}

/// A request for a stream of project 7, with `more` in the address.
pub fn request(daemon: &Daemon, token: Option<&str>, more: &str) -> RequestBuilder {
    let request = Client::new().get(format!("http://{}/events?project_id=7{more}", daemon.address));
    if let Some(token) = token { request.bearer_auth(token) } else { request }
}

#[test]
fn the_parser_reads_the_examples_of_the_standard() {
    let read = |text: &str| {
        let mut parser = Parser::default();
        // In two halves at every place: nothing depends on how the bytes arrive.
        for cut in 0..=text.len() {
            parser = Parser::default();
            parser.feed(&text.as_bytes()[..cut]);
            parser.feed(&text.as_bytes()[cut..]);
        }
        let shown = parser.events.iter().map(|event| format!("{} {} {}", event.id, event.kind, event.data));
        (shown.collect::<Vec<_>>(), parser.last_event_id)
    };
    let none = String::new;
    assert_eq!(read("data: YHOO\ndata: +2\ndata: 10\n\n"), (vec![" message YHOO\n+2\n10".into()], none()));
    assert_eq!(
        read(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"),
        (vec!["1 message first event".into(), " message second event".into()], none())
    );
    assert_eq!(read("data\n\ndata\ndata\n\ndata:"), (vec![" message ".into(), " message \n".into()], none()));
    assert_eq!(read("event: add\r\ndata: 1\r\rid: 5\n\n"), (vec![" add 1".into()], "5".into()));
}
