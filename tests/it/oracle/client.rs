//! A client that does what docs/protocol.md tells clients, and keeps a log of what it asked and heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::task::AbortOnDropHandle;

use super::history::Request;
use crate::world::{Daemon, token, until};

/// A line of the log.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new socket.
    Connected(#[allow(dead_code, reason = "for whoever reads the log")] usize),
    /// It asked for a project; the place of this line is the `ref`.
    Asked {
        request: Request,
        since: Option<String>,
    },
    Left {
        project: usize,
    },
    Heard(Value),
}

pub struct Client {
    pub subject: usize,
    pub book: Arc<Mutex<Book>>,
    link: Option<Link>,
    /// What it wants to be subscribed to.
    wanted: BTreeMap<usize, Request>,
    pings: usize,
}

/// What it knows.
#[derive(Default)]
pub struct Book {
    pub log: Vec<(Instant, Event)>,
    cursors: BTreeMap<usize, String>,
    /// What it has fetched and was told of since.
    covered: BTreeSet<usize>,
    /// Acknowledged on this socket.
    acknowledged: BTreeSet<usize>,
    /// Asked for on this socket, and not answered yet: the place of the newest question.
    asked: BTreeMap<usize, String>,
    pongs: usize,
    /// Counts the sockets: what is still read from an older one comes too late.
    socket: usize,
    /// The socket has ended.
    ended: bool,
}

struct Link {
    to: SplitSink<WebSocketStream<TcpStream>, Message>,
    reads: watch::Sender<bool>,
    daemon: usize,
    _reader: AbortOnDropHandle<()>,
}

impl Client {
    pub fn new(subject: usize, first: &[Request]) -> Self {
        let wanted = first.iter().map(|request| (request.project, request.clone())).collect();
        Self { subject, book: Arc::default(), link: None, wanted, pings: 0 }
    }

    /// Comes to a daemon, and goes on with everything it wants.
    pub async fn connect(&mut self, place: usize, daemon: &Daemon) {
        self.drop_socket();
        let (mut to, from) = open(daemon, &format!("s{}", self.subject)).await.split();
        let socket = {
            let mut book = self.book.lock().unwrap();
            (book.ended, book.pongs) = (false, 0);
            book.acknowledged.clear();
            book.asked.clear();
            book.log.push((Instant::now(), Event::Connected(place)));
            book.socket
        };
        self.pings = 0;
        let (reads, mut reading) = watch::channel(true);
        let book = Arc::clone(&self.book);
        let reader = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut from = from;
            loop {
                if reading.wait_for(|reads| *reads).await.is_err() {
                    return;
                }
                let message = tokio::select! {
                    biased;
                    _ = reading.changed() => continue,
                    message = from.next() => message,
                };
                match message {
                    Some(Ok(Message::Text(text))) => {
                        let (frame, mut book) = (serde_json::from_str(&text).unwrap(), book.lock().unwrap());
                        if book.socket != socket {
                            return;
                        }
                        book.hear(frame);
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => {
                        let mut book = book.lock().unwrap();
                        book.ended |= book.socket == socket;
                        return;
                    }
                }
            }
        }));
        let _ = to.flush().await;
        self.link = Some(Link { to, reads, daemon: place, _reader: reader });
        for request in self.wanted.values().cloned().collect::<Vec<_>>() {
            self.go_on(request).await;
        }
    }

    /// Subscribes from where it was, or from now on.
    async fn go_on(&mut self, request: Request) {
        let project = request.project;
        let since = {
            let book = self.book.lock().unwrap();
            book.covered.contains(&project).then(|| book.cursors.get(&project).cloned()).flatten()
        };
        self.ask(request, since).await;
    }

    async fn ask(&mut self, request: Request, since: Option<String>) {
        let mut frame = json!({ "type": "subscribe", "project_id": request.project.to_string(),
                                "batch": request.batch,
                                "format": if request.resource_change { "resource_change" } else { "cache_invalidate" } });
        if !request.topics.is_empty() {
            frame["topics"] = json!(request.topics);
        }
        if let Some(since) = &since {
            frame["since"] = json!(since);
        }
        {
            let mut book = self.book.lock().unwrap();
            let reference = book.log.len().to_string();
            frame["ref"] = json!(reference);
            if since.is_none() {
                book.covered.remove(&request.project);
                book.cursors.remove(&request.project);
            }
            book.asked.insert(request.project, reference);
            book.log.push((Instant::now(), Event::Asked { request, since }));
        }
        self.send(&frame).await;
    }

    /// Wants something else of a project, or another project, from now on.
    pub async fn subscribe(&mut self, request: &Request) {
        self.wanted.insert(request.project, request.clone());
        // While it is away, what it held by the old request is of no use.
        self.book.lock().unwrap().covered.remove(&request.project);
        if self.is_connected() {
            self.ask(request.clone(), None).await;
        }
    }

    pub async fn unsubscribe(&mut self, project: usize) {
        self.wanted.remove(&project);
        {
            let mut book = self.book.lock().unwrap();
            book.covered.remove(&project);
            book.asked.remove(&project);
            book.log.push((Instant::now(), Event::Left { project }));
        }
        self.send(&json!({ "type": "unsubscribe", "project_id": project.to_string() })).await;
    }

    /// The number of this ping on its socket.
    pub async fn ping(&mut self) -> usize {
        self.pings += 1;
        self.send(&json!({ "type": "ping", "ref": self.pings.to_string() })).await;
        self.pings
    }

    /// Waits until the socket has answered all that was asked, or ended. Nothing, where it does not read.
    pub async fn settle(&mut self) {
        if self.reads() {
            let ping = self.ping().await;
            until("a pong", async || {
                let book = self.book.lock().unwrap();
                book.ended || book.pongs >= ping
            })
            .await;
        }
    }

    async fn send(&mut self, frame: &Value) {
        if let Some(link) = &mut self.link {
            // A socket that has ended is found by its reader.
            let _ = link.to.send(Message::text(frame.to_string())).await;
        }
    }

    /// Its reader may be in the middle of a frame, and is not waited for.
    pub fn drop_socket(&mut self) {
        self.book.lock().unwrap().socket += 1;
        self.link = None;
    }

    pub fn read(&mut self, reads: bool) {
        if let Some(link) = &self.link {
            link.reads.send_replace(reads);
        }
    }

    /// It has a socket, and reads from it.
    pub fn reads(&self) -> bool {
        self.is_connected() && self.link.as_ref().is_some_and(|link| *link.reads.borrow())
    }

    pub fn is_connected(&self) -> bool {
        self.link.is_some() && !self.book.lock().unwrap().ended
    }

    /// Where its socket leads.
    pub fn daemon(&self) -> Option<usize> {
        self.link.as_ref().map(|link| link.daemon)
    }

    pub fn wants(&self) -> Vec<usize> {
        self.wanted.keys().copied().collect()
    }

    pub fn is_subscribed(&self, project: usize) -> bool {
        let book = self.book.lock().unwrap();
        book.covered.contains(&project) && book.acknowledged.contains(&project) && !book.asked.contains_key(&project)
    }

    /// Asks anew for what it was refused or has lost.
    pub async fn ask_again(&mut self) {
        for request in self.wanted.values().cloned().collect::<Vec<_>>() {
            let (asked, subscribed) = {
                let book = self.book.lock().unwrap();
                (book.asked.contains_key(&request.project), book.covered.contains(&request.project))
            };
            if !asked && !subscribed {
                self.ask(request, None).await;
            }
        }
    }
}

impl Book {
    fn hear(&mut self, frame: Value) {
        let project: Option<usize> = frame["project_id"].as_str().map(|project| project.parse().unwrap());
        let cursor = frame["cursor"].as_str().map(str::to_owned);
        match (frame["type"].as_str().unwrap(), project) {
            ("cache_invalidate" | "resource_change", Some(project)) => {
                self.cursors.extend(cursor.map(|cursor| (project, cursor)));
            }
            ("subscribed", Some(project)) => {
                self.cursors.extend(cursor.map(|cursor| (project, cursor)));
                self.acknowledged.insert(project);
                // Of several questions it is the last that says what it holds.
                if self.asked.get(&project).map(String::as_str) == frame["ref"].as_str() {
                    self.asked.remove(&project);
                    self.covered.insert(project);
                }
            }
            ("revoked", Some(project)) => self.lose(project),
            ("error", _) => {
                let asked = frame["ref"].as_str().and_then(|place| self.log.get(place.parse::<usize>().ok()?));
                if let Some((_, Event::Asked { request, .. })) = asked {
                    let project = request.project;
                    if self.asked.get(&project).map(String::as_str) == frame["ref"].as_str() {
                        self.asked.remove(&project);
                    }
                    self.lose(project);
                }
            }
            ("pong", _) => {
                self.pongs = frame["ref"].as_str().unwrap().parse().unwrap();
                for project in &self.acknowledged {
                    self.cursors.extend(cursor.clone().map(|cursor| (*project, cursor)));
                }
            }
            _ => {}
        }
        self.log.push((Instant::now(), Event::Heard(frame)));
    }

    fn lose(&mut self, project: usize) {
        self.cursors.remove(&project);
        self.covered.remove(&project);
        self.acknowledged.remove(&project);
    }
}

/// A socket with small buffers, so that it is full soon.
async fn open(daemon: &Daemon, subject: &str) -> WebSocketStream<TcpStream> {
    let mut opened = None;
    until("a daemon that takes a client in", async || {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let Ok(stream) = socket.connect(daemon.address.parse().unwrap()).await else { return false };
        let mut request = daemon.request("/ws");
        request.headers_mut().insert("authorization", format!("Bearer {}", token(subject)).parse().unwrap());
        let config = WebSocketConfig::default().read_buffer_size(4096);
        opened = client_async_with_config(request, stream, Some(config)).await.ok();
        opened.is_some()
    })
    .await;
    opened.unwrap().0
}
