//! A real PgBouncer in transaction mode in front of the tests' server.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::world::until;

pub struct Pooler {
    port: u16,
    _child: Child,
    _folder: TempDir,
}

impl Pooler {
    /// In front of the server of `url`; ended when dropped.
    pub async fn start(url: &str) -> Self {
        let server = reqwest::Url::parse(url).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "[databases]\n* = host={} port={} user={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
            server.host_str().unwrap(),
            server.port().unwrap(),
            server.username(),
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = rustix::process::geteuid().is_root();
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap());
        let mut command = Command::new("pgbouncer");
        // It refuses to run as root.
        command.env("PATH", path).args(if root { &["-u", "nobody"][..] } else { &[] }).arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let child = child.expect("pgbouncer starts: run `make tools`");
        until("the pooler to answer", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        Self { port, _child: child, _folder: folder }
    }

    /// `url`, through the pooler.
    pub fn url(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }
}
