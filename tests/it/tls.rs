//! Connections to a real server, as a connection string asks for them.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pgherald::conninfo::{self, ConnInfo};
use pgherald::scratch::{Options, Scratch};
use pgherald::tls;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::scratch::options;

/// Everybody is trusted, but one who needs a certificate and one who needs a password.
const HBA: &str = "local all all trust
hostssl all certified 127.0.0.1/32 cert
host all certified 127.0.0.1/32 reject
host all locked 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
";

#[tokio::test]
async fn verify_full_accepts_the_right_name_and_the_right_address() {
    let world = Place::with_tls().await;
    world.accepts("host=db.test hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=ROOT", Tls::On).await;
    world.accepts("host=127.0.0.1 sslmode=verify-full sslrootcert=ROOT", Tls::On).await;
    world.end().await;
}

#[tokio::test]
async fn verify_full_refuses_a_wrong_name_that_verify_ca_accepts() {
    let world = Place::with_tls().await;
    let wrong = "host=other.test hostaddr=127.0.0.1 sslrootcert=ROOT sslmode=";
    world.refuses(&format!("{wrong}verify-full"), "not valid for name \"other.test\"").await;
    world.accepts(&format!("{wrong}verify-ca"), Tls::On).await;
    world.end().await;
}

#[tokio::test]
async fn an_unknown_authority_is_refused_by_all_that_check() {
    let world = Place::with_tls().await;
    for mode in ["verify-full", "verify-ca", "require"] {
        let text = format!("host=db.test hostaddr=127.0.0.1 sslmode={mode} sslrootcert=OTHER");
        world.refuses(&text, "UnknownIssuer").await;
    }
    world.refuses("host=db.test hostaddr=127.0.0.1 sslrootcert=system", "UnknownIssuer").await;
    world.end().await;
}

#[tokio::test]
async fn without_roots_require_and_prefer_accept_any_authority() {
    let world = Place::with_tls().await;
    world.accepts("host=127.0.0.1 sslmode=require", Tls::On).await;
    world.accepts("host=127.0.0.1 sslmode=prefer", Tls::On).await;
    world.accepts("hostaddr=127.0.0.1 sslmode=require", Tls::On).await;
    world.accepts("host=127.0.0.1 sslmode=disable", Tls::Off).await;
    world.refuses("host=127.0.0.1 sslmode=verify-ca", "give sslrootcert=FILE").await;
    world.end().await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_by_require_and_accepted_by_prefer() {
    let world = Place::start(options()).await;
    world.accepts("host=127.0.0.1 sslmode=prefer", Tls::Off).await;
    world.refuses("host=127.0.0.1 sslmode=require", "server does not support TLS").await;
    world.refuses("host=127.0.0.1 sslmode=verify-full sslrootcert=ROOT", "server does not support TLS").await;
    world.end().await;
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_it_is_for() {
    let world = Place::with_tls().await;
    world.ask("create role certified login").await;
    let base = "host=127.0.0.1 sslmode=verify-full sslrootcert=ROOT user=certified dbname=postgres";
    world.accepts(&format!("{base} sslcert=CLIENT.crt sslkey=CLIENT.key"), Tls::On).await;
    world.refuses(base, "connection requires a valid client certificate").await;
    world.refuses(&format!("{base} sslcert=ROOT sslkey=CLIENT.key"), "cannot set up TLS").await;
    world.refuses(&format!("{base} sslcert=CLIENT.key sslkey=CLIENT.key"), "sslcert: ").await;
    world.refuses(&format!("{base} sslcert=CLIENT.crt sslkey=CLIENT.crt"), "may be read by others").await;
    world.refuses(&format!("{base} sslcert=CLIENT.crt sslkey=/nowhere"), "sslkey: cannot read /nowhere").await;
    world.end().await;
}

#[tokio::test]
async fn a_root_file_that_is_missing_or_no_certificate_is_named() {
    let world = Place::start(options()).await;
    let base = "host=127.0.0.1 sslmode=verify-full sslrootcert=";
    world.refuses(&format!("{base}/nowhere"), "sslrootcert: cannot read /nowhere: No such file").await;
    world.refuses(&format!("{base}CLIENT.key"), "has no certificate in PEM form").await;
    world.end().await;
}

#[tokio::test]
async fn a_connection_goes_through_the_unix_socket() {
    let world = Place::with_tls().await;
    world.accepts("host=SOCKET", Tls::Off).await;
    world.accepts("host=SOCKET sslmode=verify-full", Tls::Off).await;
    let port = world.server.port();
    let encoded = world.server.socket_dir().to_str().unwrap().replace('/', "%2F");
    world.accepts(&format!("postgresql://postgres@{encoded}:{port}/postgres"), Tls::Off).await;
    world.end().await;
}

#[tokio::test]
async fn of_several_hosts_the_first_that_lives_answers() {
    let world = Place::with_tls().await;
    let port = world.server.port();
    let url = format!("postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}/postgres");
    world.accepts(&format!("{url}?target_session_attrs=read-write"), Tls::On).await;
    world.accepts(&format!("{url}?sslmode=verify-full&sslrootcert=ROOT"), Tls::On).await;
    world.refuses(&format!("{url}?target_session_attrs=read-only"), "database is not read only").await;
    world.end().await;
}

#[tokio::test]
async fn a_password_file_opens_a_scram_user_with_channel_binding() {
    let world = Place::with_tls().await;
    world.ask("set password_encryption = 'scram-sha-256'; create role locked login password 'p:w'").await;
    let file = world.write("pgpass", &format!("127.0.0.1:{}:*:locked:p\\:w\n", world.server.port()));
    let base = "host=127.0.0.1 user=locked dbname=postgres sslmode=require";
    world.accepts(&format!("{base} channel_binding=require passfile={}", file.display()), Tls::On).await;
    world.refuses(&format!("{base} password=wrong"), "password authentication failed").await;
    world.refuses(base, "password missing").await;
    world.end().await;
}

#[tokio::test]
async fn a_pool_uses_the_same_connector() {
    let world = Place::with_tls().await;
    let info = world.parse("host=db.test hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=ROOT").unwrap();
    let connector = tls::connector(&info.tls).unwrap();
    let manager = deadpool_postgres::Manager::new(info.postgres, connector);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(2).build().unwrap();
    let client = pool.get().await.unwrap();
    assert!(encrypted(&client).await);
    drop(client);
    pool.close();
    world.end().await;
}

/// A server, and a folder with the certificates that it and its clients use.
struct Place {
    server: Scratch,
    folder: TempDir,
}

#[derive(Debug, PartialEq)]
enum Tls {
    On,
    Off,
}

impl Place {
    /// A server named `db.test` and `127.0.0.1` by an authority, ROOT.
    async fn with_tls() -> Self {
        let authority = Authority::new("authority");
        let (certificate, key) = authority.sign("server", &["db.test", "127.0.0.1"]);
        let files = options().file("server.crt", &certificate).file("server.key", &key).file("pg_hba.conf", HBA);
        let files = files.file("root.crt", &authority.certificate.pem());
        let world = Self::start(files.setting("ssl", "on").setting("ssl_ca_file", "root.crt")).await;
        let (certificate, key) = authority.sign("certified", &[]);
        world.write("ROOT", &authority.certificate.pem());
        world.write("OTHER", &Authority::new("other").certificate.pem());
        world.write("CLIENT.key", &key);
        let certificate = world.write("CLIENT.crt", &certificate);
        std::fs::set_permissions(certificate, std::fs::Permissions::from_mode(0o644)).unwrap();
        world
    }

    async fn start(options: Options) -> Self {
        let server = Scratch::start(&options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let world = Self { server, folder };
        world.write("ROOT", &Authority::new("authority").certificate.pem());
        world.write("CLIENT.key", &KeyPair::generate().unwrap().serialize_pem());
        world
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The string with the names of files and of the socket's folder filled in. This server, its
    /// superuser and an empty home folder are the environment.
    fn parse(&self, text: &str) -> Result<ConnInfo, conninfo::ConnInfoError> {
        let port = self.server.port().to_string();
        let home = self.folder.path().join("home");
        let mut text = text.replace("SOCKET", self.server.socket_dir().to_str().unwrap());
        for name in ["ROOT", "OTHER", "CLIENT.crt", "CLIENT.key"] {
            text = text.replace(name, self.folder.path().join(name).to_str().unwrap());
        }
        conninfo::parse(&text, &|name| match name {
            "PGUSER" | "PGDATABASE" => Some("postgres".to_owned()),
            "PGPORT" => Some(port.clone()),
            "HOME" => home.to_str().map(str::to_owned),
            _ => None,
        })
    }

    async fn connect(&self, text: &str) -> Result<tokio_postgres::Client, Box<dyn Error>> {
        let info = self.parse(text)?;
        let (client, connection) = info.postgres.connect(tls::connector(&info.tls)?).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn accepts(&self, text: &str, expected: Tls) {
        let client = self.connect(text).await.unwrap_or_else(|error| panic!("{text}: {}", story(&*error)));
        let found = if encrypted(&client).await { Tls::On } else { Tls::Off };
        assert_eq!(found, expected, "{text}");
    }

    async fn refuses(&self, text: &str, why: &str) {
        let error = match self.connect(text).await {
            Ok(_) => panic!("{text}: was accepted"),
            Err(error) => story(&*error),
        };
        assert!(error.contains(why), "{text}: {error}");
    }

    async fn ask(&self, sql: &str) {
        self.connect("host=SOCKET").await.unwrap().batch_execute(sql).await.unwrap();
    }

    async fn end(self) {
        self.server.shutdown().await.unwrap();
        assert!(Path::new(self.folder.path()).exists(), "ours goes by itself");
    }
}

async fn encrypted(client: &tokio_postgres::Client) -> bool {
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The error and all that it comes from.
fn story(mut error: &(dyn Error + 'static)) -> String {
    let mut story = error.to_string();
    while let Some(cause) = error.source() {
        error = cause;
        story += &format!(": {error}");
    }
    story
}

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(common: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key, in PEM form.
    fn sign(&self, common: &str, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
