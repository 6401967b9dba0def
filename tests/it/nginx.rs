//! A real nginx in front of a daemon, as Debian sets it up: nothing is said about buffering, versions or timeouts
//! unless a test does.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::world::{Daemon, until};

pub struct Nginx {
    /// `127.0.0.1:port`.
    pub address: String,
    _child: Child,
    _folder: TempDir,
}

impl Nginx {
    /// In front of `daemon`, with `settings` in its location; ended when dropped.
    pub async fn start(daemon: &Daemon, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (at, upstream) = (folder.path().display(), &daemon.address);
        // One process, so that nothing is left when it is killed. The rest of `http` is Debian's nginx.conf.
        let text = format!(
            "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 768; }}\n\
             http {{ sendfile on; tcp_nopush on; types_hash_max_size 2048; gzip on; access_log off;\n\
             client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4;\n\
             scgi_temp_path {at}/5;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{upstream}; {settings} }} }} }}"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap());
        let mut command = Command::new("nginx");
        command.env("PATH", path).arg("-e").arg(folder.path().join("error.log")).arg("-c").arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.expect("nginx starts: run `make tools`");
        until("nginx to answer", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        Self { address: format!("127.0.0.1:{port}"), _child: child, _folder: folder }
    }
}
