//! The throwaway server starts, stops, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgherald::scratch::{Options, Scratch, ScratchError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::NoTls;

/// Set for the copy of this test binary that holds a server until it is killed.
const HOLD: &str = "PGHERALD_TEST_HOLD";

pub fn options() -> Options {
    Options { path: std::env::var_os("PATH"), ..Options::default() }
}

#[tokio::test]
async fn a_server_answers_over_tcp_and_over_its_socket() {
    let server = Scratch::start(&options().setting("work_mem", "7MB")).await.unwrap();
    assert_eq!(ask(&server.url(), "show work_mem").await, "7MB");
    let socket = server.socket_dir().display();
    let by_socket = format!("host={socket} port={} user=postgres", server.port());
    assert_eq!(ask(&by_socket, "show listen_addresses").await, "127.0.0.1");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_the_address_and_the_data() {
    let mut server = Scratch::start(&options()).await.unwrap();
    ask(&server.url(), "create table kept as select 1").await;
    server.restart().await.unwrap();
    assert_eq!(ask(&server.url(), "select count(*) from kept").await, "1");

    server.stop().await.unwrap();
    let refused = tokio_postgres::connect(&server.url(), NoTls).await;
    assert!(refused.is_err(), "a stopped server answered");
    server.start_again().await.unwrap();
    assert_eq!(ask(&server.url(), "select count(*) from kept").await, "1");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_leaves_no_process_and_no_folder() {
    let server = Scratch::start(&options()).await.unwrap();
    let folder = server.socket_dir().to_owned();
    assert!(!processes_in(&folder).is_empty(), "the server runs in its folder");
    server.shutdown().await.unwrap();
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert_eq!(processes_in(&folder), Vec::<String>::new());
}

#[tokio::test]
async fn a_dropped_server_goes_away_by_itself() {
    let server = Scratch::start(&options()).await.unwrap();
    let folder = server.socket_dir().to_owned();
    drop(server);
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn a_holder_killed_with_sigkill_leaves_no_process_and_no_folder() {
    let (mut holder, folder, _) = holder().await;
    assert!(!processes_in(&folder).is_empty(), "the server runs in its folder");
    holder.start_kill().unwrap();
    holder.wait().await.unwrap();
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn a_ctrl_c_in_the_terminal_does_not_reach_the_server() {
    let (mut holder, folder, url) = holder().await;
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    // A terminal sends the signal to the whole group in the foreground, as this does.
    let group = holder.id().unwrap().to_string();
    let sent = Command::new("sh").args(["-c", "kill -INT -\"$1\"", "kill", &group]).status();
    assert!(sent.unwrap().success(), "the group is there");
    // A server that got it too would end this session at once.
    let slept = client.batch_execute("select pg_sleep(0.3)").await;
    assert!(slept.is_ok(), "{slept:?}");
    holder.start_kill().unwrap();
    holder.wait().await.unwrap();
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn a_taken_port_leads_to_another() {
    let squatter = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = squatter.local_addr().unwrap().port();
    let server = Scratch::start(&Options { port: Some(taken), ..options() }).await.unwrap();
    assert_ne!(server.port(), taken);
    assert_eq!(ask(&server.url(), "select 1").await, "1");
    server.shutdown().await.unwrap();
}

/// Not a test of its own: what the tests above start in a second process.
#[tokio::test]
async fn holds_a_server_until_killed() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    // Ends by SIGKILL only: from here on a Ctrl-C is heard, as by a daemon that drains.
    let mut interrupts = signal(SignalKind::interrupt()).unwrap();
    let server = Scratch::start(&options()).await.unwrap();
    println!("\nholding {} {}", server.socket_dir().display(), server.url());
    while interrupts.recv().await.is_some() {}
}

#[tokio::test]
async fn a_missing_server_says_what_to_install() {
    let nowhere = Options { bin: Some("/nowhere".into()), ..options() };
    let error = Scratch::start(&nowhere).await.unwrap_err();
    assert!(matches!(error, ScratchError::NotInstalled { .. }));
    assert!(error.to_string().contains("apt-get install postgresql"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_start_shows_its_log() {
    let error = Scratch::start(&options().setting("no_such_setting", "1")).await.unwrap_err();
    assert!(error.to_string().contains("unrecognized configuration parameter"), "{error}");
}

#[tokio::test]
async fn a_setting_cannot_smuggle_in_another() {
    for (name, value) in [("a = 1\nb", "2"), ("", "1"), ("work_mem", "1MB'\nfsync = 'on")] {
        let error = Scratch::start(&options().setting(name, value)).await.unwrap_err();
        assert!(matches!(error, ScratchError::Setting(_)), "{error}");
    }
}

#[tokio::test]
async fn six_servers_at_once_find_six_ports() {
    let options = options();
    let starts = (0..6).map(|_| Scratch::start(&options));
    let servers: Vec<_> = futures_util::future::try_join_all(starts).await.unwrap();
    let mut ports: Vec<u16> = servers.iter().map(Scratch::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 6);
    for server in servers {
        server.shutdown().await.unwrap();
    }
}

async fn ask(url: &str, sql: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
    let row = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    row.unwrap_or_default()
}

/// This test binary once more, in a process group of its own, and the folder of the server that it
/// holds, and its URL.
async fn holder() -> (tokio::process::Child, PathBuf, String) {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "scratch::holds_a_server_until_killed", "--nocapture"]);
    command.env(HOLD, "1").stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut holder = command.spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the holder ended early");
        if let Some((folder, url)) = line.strip_prefix("holding ").and_then(|line| line.split_once(' ')) {
            return (holder, folder.into(), url.to_owned());
        }
    }
}

async fn nothing_is_left_of(folder: &Path) {
    let started = Instant::now();
    while folder.exists() || !processes_in(folder).is_empty() {
        let left = processes_in(folder);
        assert!(started.elapsed() < Duration::from_secs(20), "after 20 s: {left:?}, {}", folder.exists());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The processes that work in this folder or name it. PostgreSQL's own all work in the data
/// folder. Where there is no /proc: none.
fn processes_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let inside = processes.filter_map(|process| {
        let cwd = std::fs::read_link(process.path().join("cwd")).unwrap_or_default();
        let args = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let args = String::from_utf8_lossy(&args).replace('\0', " ");
        let named = args.contains(&*folder.to_string_lossy());
        (cwd.starts_with(folder) || named).then_some(args)
    });
    inside.collect()
}
