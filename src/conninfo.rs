//! From a connection string that works with psql to one that works with tokio-postgres.
//!
//! tokio-postgres reads a dialect of its own: no `PG*` variables, no files, no certificates, seconds
//! for milliseconds. Here every setting means what it means to libpq, or is refused:
//! <https://www.postgresql.org/docs/current/libpq-connect.html>.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, LoadBalanceHosts, TargetSessionAttrs};

use crate::connsettings::Settings;
pub use crate::conntext::ConnInfoError;
use crate::conntls;
use crate::pgfiles::{self, Env, Passwords};
use crate::tls::TlsSettings;

/// How to reach a database. Its `Debug` hides the password, as [`ConnInfo::redacted`] does.
#[derive(Debug, Clone)]
pub struct ConnInfo {
    /// For `connect` and for a pool. Its `connect_timeout` covers the TCP part only: put a limit
    /// of your own around the whole.
    pub postgres: Config,
    /// For [`crate::tls::connector`].
    pub tls: TlsSettings,
    /// What was passed over and should be logged, such as a password file that others may read.
    pub warnings: Vec<String>,
}

/// What a connection string means. An empty one means what `psql` without arguments does: the
/// `PG*` variables and the defaults. `env` gives the value of an environment variable.
///
/// `sslmode=allow` is taken as `prefer`, and several hosts share one password.
///
/// # Errors
/// The string is malformed, has an unknown keyword or an impossible value, or asks for something
/// that cannot be kept here. The error names the setting and never a value.
pub fn parse(text: &str, env: Env) -> Result<ConnInfo, ConnInfoError> {
    let settings = Settings::gather(text, env)?;
    let mut warnings = Vec::new();
    let mut postgres = Config::new();
    session(&settings, &mut postgres, env)?;
    let passfile_hosts = hosts(&settings, &mut postgres)?;
    timeouts(&settings, &mut postgres)?;
    let tls = conntls::settings(&settings, &mut postgres, env, &mut warnings)?;
    match settings.get("password") {
        Some(password) => _ = postgres.password(password),
        None => password(&settings, &mut postgres, &passfile_hosts, env, &mut warnings)?,
    }
    Ok(ConnInfo { postgres, tls, warnings })
}

impl ConnInfo {
    /// The connection as a URL for people and logs: never with the password or the options.
    #[must_use]
    pub fn redacted(&self) -> String {
        let ports = self.postgres.get_ports();
        let hosts = self.postgres.get_hosts().iter().enumerate().map(|(i, host)| {
            let host = match host {
                Host::Tcp(host) if host.contains(':') => format!("[{host}]"),
                Host::Tcp(host) => encoded(host),
                Host::Unix(folder) => encoded(&folder.to_string_lossy()),
            };
            format!("{host}:{}", ports.get(i).or(ports.first()).unwrap_or(&PORT))
        });
        let hosts: Vec<String> = hosts.collect();
        let user = encoded(self.postgres.get_user().unwrap_or_default());
        let dbname = encoded(self.postgres.get_dbname().unwrap_or_default());
        format!("postgresql://{user}@{}/{dbname}?sslmode={}", hosts.join(","), self.tls.mode)
    }
}

const PORT: u16 = 5432;
/// Where servers put their socket: Debian's and Red Hat's packages, and PostgreSQL's own default.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

fn session(settings: &Settings, postgres: &mut Config, env: Env) -> Result<(), ConnInfoError> {
    let unknown = || ConnInfoError::new("user", "not given, and the user of this process has no name", "give it");
    let user = settings.get("user").map(str::to_owned).or_else(|| pgfiles::os_user(env)).ok_or_else(unknown)?;
    postgres.dbname(settings.get("dbname").unwrap_or(&user)).user(&user);
    if let Some(options) = settings.get("options") {
        postgres.options(options);
    }
    if let Some(name) = settings.get("application_name").or(settings.get("fallback_application_name")) {
        postgres.application_name(name);
    }
    let attrs = [
        ("any", TargetSessionAttrs::Any),
        ("read-write", TargetSessionAttrs::ReadWrite),
        ("read-only", TargetSessionAttrs::ReadOnly),
    ];
    if let Some(attrs) = settings.choice("target_session_attrs", &attrs)? {
        postgres.target_session_attrs(attrs);
    }
    let orders = [("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];
    if let Some(order) = settings.choice("load_balance_hosts", &orders)? {
        postgres.load_balance_hosts(order);
    }
    let bindings = [
        ("disable", ChannelBinding::Disable),
        ("prefer", ChannelBinding::Prefer),
        ("require", ChannelBinding::Require),
    ];
    if let Some(binding) = settings.choice("channel_binding", &bindings)? {
        postgres.channel_binding(binding);
    }
    Ok(())
}

/// Puts hosts, addresses and ports, and tells the names and ports that a password file knows them by.
fn hosts(settings: &Settings, postgres: &mut Config) -> Result<Vec<(String, u16)>, ConnInfoError> {
    let (mut names, addresses) = (settings.list("host"), settings.list("hostaddr"));
    if names.is_empty() {
        names = vec![""; addresses.len().max(1)];
    }
    if !addresses.is_empty() && addresses.len() != names.len() {
        return Err(settings.error(
            "hostaddr",
            "has not as many addresses as there are hosts",
            "give one for each, or none",
        ));
    }
    let ports = settings.list("port");
    if ports.len() > 1 && ports.len() != names.len() {
        return Err(settings.error(
            "port",
            "has not as many ports as there are hosts",
            "give one for each, or one for all",
        ));
    }
    let mut passfile_hosts = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let port = match ports.get(i).or(ports.first()).copied().unwrap_or_default() {
            "" => PORT,
            port => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad_port(settings))?,
        };
        let address = addresses.get(i).copied().unwrap_or_default();
        let name = match (name, address) {
            ("", "") => default_host(port),
            ("", address) => address.to_owned(),
            (name, _) => name.to_owned(),
        };
        if name.starts_with('@') {
            return Err(settings.error("host", "abstract sockets are not supported", "use a socket with a path"));
        }
        if !addresses.is_empty() {
            let address: Option<IpAddr> = if address.is_empty() { &name } else { address }.parse().ok();
            let todo = "give an IP address for each host, or none";
            postgres.hostaddr(address.ok_or_else(|| settings.error("hostaddr", "not an IP address", todo))?);
        }
        let local = SOCKET_FOLDERS.contains(&name.as_str());
        passfile_hosts.push((if local { "localhost".to_owned() } else { name.clone() }, port));
        postgres.host(name).port(port);
    }
    Ok(passfile_hosts)
}

fn bad_port(settings: &Settings) -> ConnInfoError {
    let todo = "give 1 to 65535; in a URL, write / in the password as %2F, @ as %40 and : as %3A";
    settings.error("port", "not a number of a port", todo)
}

fn default_host(port: u16) -> String {
    let socket = |folder: &&&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    (*SOCKET_FOLDERS.iter().find(socket).unwrap_or(&"localhost")).to_owned()
}

fn timeouts(settings: &Settings, postgres: &mut Config) -> Result<(), ConnInfoError> {
    // Zero and below mean "no limit" or "as the system has it" to libpq.
    let positive = |key, unit| -> Result<Option<u64>, ConnInfoError> {
        let number: Option<i32> = settings.number(key, unit)?;
        Ok(number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0))
    };
    if let Some(seconds) = positive("connect_timeout", "seconds")? {
        postgres.connect_timeout(Duration::from_secs(seconds));
    }
    if let Some(milliseconds) = positive("tcp_user_timeout", "milliseconds")? {
        postgres.tcp_user_timeout(Duration::from_millis(milliseconds));
    }
    if let Some(on) = settings.number::<i32>("keepalives", "0 or 1")? {
        postgres.keepalives(on != 0);
    }
    if let Some(seconds) = positive("keepalives_idle", "seconds")? {
        postgres.keepalives_idle(Duration::from_secs(seconds));
    }
    if let Some(seconds) = positive("keepalives_interval", "seconds")? {
        postgres.keepalives_interval(Duration::from_secs(seconds));
    }
    if let Some(count) = positive("keepalives_count", "probes")? {
        postgres.keepalives_retries(u32::try_from(count).unwrap_or(u32::MAX));
    }
    Ok(())
}

fn password(
    settings: &Settings,
    postgres: &mut Config,
    hosts: &[(String, u16)],
    env: Env,
    warnings: &mut Vec<String>,
) -> Result<(), ConnInfoError> {
    let path = settings.get("passfile").map(Into::into).or_else(|| Some(pgfiles::home(env)?.join(".pgpass")));
    let Some(path) = path else {
        return Ok(());
    };
    let (file, warning) = Passwords::read(&path);
    warnings.extend(warning);
    let (user, dbname) = (postgres.get_user().unwrap_or_default(), postgres.get_dbname().unwrap_or_default());
    let mut found: Vec<_> = hosts.iter().map(|(host, port)| file.find(host, *port, dbname, user)).collect();
    found.dedup();
    match found.as_mut_slice() {
        [None] => {}
        [Some(password)] => _ = postgres.password(std::mem::take(password)),
        // One host must not be shown the password of another.
        _ => {
            let why = format!("{} has not the same password for all hosts", path.display());
            return Err(ConnInfoError::new("passfile", &why, "give one line that matches them all"));
        }
    }
    Ok(())
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
