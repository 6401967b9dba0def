//! A network between daemon and database that can go silent without closing, as a firewall that forgets does, or
//! pass everything but notifications, as some poolers do.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Everything,
    Nothing,
    NoNotifications,
}

pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    /// In front of the server of `url`.
    pub async fn start(url: &str) -> Self {
        let url = reqwest::Url::parse(url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, now) = watch::channel(Mode::Everything);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server.clone()).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(requests(from_client, to_server, now.clone()));
                tokio::spawn(answers(from_server, to_client, now.clone()));
            }
        });
        Self { address, mode }
    }

    /// `url`, through this proxy, without TLS: it must understand what it passes.
    pub fn url(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.set_query(Some("sslmode=disable"));
        url.into()
    }

    /// Nothing passes any more, and nothing closes. New connections are silent too.
    pub fn silence(&self) {
        self.mode.send_replace(Mode::Nothing);
    }

    /// Queries are answered, and notifications are lost.
    pub fn deafen(&self) {
        self.mode.send_replace(Mode::NoNotifications);
    }

    /// New connections pass; those that were silenced stay so.
    pub fn speak(&self) {
        self.mode.send_replace(Mode::Everything);
    }
}

/// Reads until it is told to pass nothing; then swallows what comes, until the other side gives up.
async fn read(from: &mut OwnedReadHalf, buffer: &mut [u8], mode: &mut watch::Receiver<Mode>) -> Option<usize> {
    tokio::select! {
        // Once it is told, not one byte more: the other order would let pass what came at the same moment.
        biased;
        () = async { drop(mode.wait_for(|mode| *mode == Mode::Nothing).await) } => {
            while from.read(buffer).await.is_ok_and(|read| read > 0) {}
            None
        }
        read = from.read(buffer) => read.ok().filter(|read| *read > 0),
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = [0; 8192];
    while let Some(read) = read(&mut from, &mut buffer, &mut mode).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Messages from the server are a type, a length that counts itself, and a body.
async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let (mut buffer, mut waiting) = ([0; 8192], Vec::new());
    while let Some(read) = read(&mut from, &mut buffer, &mut mode).await {
        waiting.extend_from_slice(&buffer[..read]);
        while let Some((head, _)) = waiting.split_at_checked(5) {
            let length = 1 + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if waiting.len() < length {
                break;
            }
            let message: Vec<u8> = waiting.drain(..length).collect();
            let lost = message[0] == b'A' && *mode.borrow() == Mode::NoNotifications;
            if !lost && to.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}
