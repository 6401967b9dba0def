//! A network between daemon and database that can go silent without closing, as a firewall that forgets does.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Proxy {
    address: SocketAddr,
    silent: watch::Sender<bool>,
}

impl Proxy {
    /// In front of the server of `url`.
    pub async fn start(url: &str) -> Self {
        let url = reqwest::Url::parse(url).unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (silent, hears) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, silent) = (TcpStream::connect(server.clone()).await.unwrap(), hears.clone());
                let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
                tokio::spawn(pass(from_client, to_server, silent.clone()));
                tokio::spawn(pass(from_server, to_client, silent));
            }
        });
        Self { address, silent }
    }

    /// `url`, through this proxy.
    pub fn url(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }

    /// Nothing passes any more, and nothing closes. New connections are silent too.
    pub fn silence(&self) {
        self.silent.send_replace(true);
    }

    /// New connections pass; those that were silenced stay so.
    pub fn speak(&self) {
        self.silent.send_replace(false);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut silent: watch::Receiver<bool>,
) {
    let mut buffer = [0; 8192];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => Some(read),
            () = async { drop(silent.wait_for(|silent| *silent).await) } => None,
        };
        match read {
            None => {
                // Swallows what comes, until the other side gives up.
                while from.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                return;
            }
            Some(Ok(read)) if read > 0 && to.write_all(&buffer[..read]).await.is_ok() => {}
            _ => return,
        }
    }
}
