//! PostgreSQL crashes under the writers, and what was in the queue is gone: pages are told to ask again for everything,
//! and late enough.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pgherald::scratch::Scratch;
use tokio::process::Command;
use tokio::time::sleep;
use tokio_postgres::{Client, NoTls};

use super::daemons::Daemons;
use super::page::Page;
use super::scene::{Locks, Scene};
use super::writers::Ids;
use crate::world::until;

/// A row, and when its commit was asked for.
type Attempt = (i64, Instant);

/// Some crashes, of both kinds; how many rows were committed.
pub async fn crashes(server: &mut Scratch, prepares: bool, crashes: usize) -> usize {
    let scene = Scene::new(server.url(), Locks::Held).await;
    let url = scene.database.url.clone();
    let daemons = Daemons::start(&url).await;
    let pages = [Page::open(&daemons.both[0]).await, Page::open(&daemons.both[1]).await];
    let (ids, running) = (Ids::default(), Cell::new(true));
    let writers = join_all((0..3).map(|_| write(&url, &ids, &running)));
    let trouble = async {
        let mut attempts = Vec::new();
        for crash in 0..crashes {
            let (prepared, client) = (format!("before_{crash}"), open(&url).await);
            let id = ids.next();
            if prepares {
                let insert = format!("begin; insert into letters values ({id}, 7); prepare transaction '{prepared}'");
                client.batch_execute(&insert).await.unwrap();
            }
            sleep(Duration::from_millis(300)).await;
            if crash % 2 == 0 {
                kill_a_backend(&client).await
            } else {
                stop_at_once(server).await
            }
            let client = open(&url).await;
            daemons.settle().await;
            until("both daemons to listen again", async || daemons.are_ready().await).await;
            // what they tell because of the crash is no word about what is prepared
            let mut told = 0;
            until("the pages to have been told", async || {
                let before = std::mem::replace(&mut told, pages.iter().map(Page::refetches).sum());
                sleep(Duration::from_millis(400)).await;
                told == before
            })
            .await;
            if prepares {
                attempts.push((id, Instant::now()));
                client.batch_execute(&format!("commit prepared '{prepared}'")).await.unwrap();
            }
        }
        running.set(false);
        attempts
    };
    let (attempts, prepared) = tokio::join!(writers, trouble);
    let attempts: Vec<Attempt> = attempts.into_iter().flatten().chain(prepared).collect();
    let rows = open(&url).await.query("select id from letters", &[]).await.unwrap();
    let committed: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let known = |page: &Page| {
        let missing = attempts.iter().filter(|(id, began)| committed.contains(id) && !page.knows(*id, *began));
        missing.map(|(id, _)| *id).collect::<Vec<_>>()
    };
    until("both pages to know of every row", async || pages.iter().all(|page| known(page).is_empty())).await;
    for page in &pages {
        // A crash is two connections of a daemon, and what was prepared ends late.
        assert!(page.refetches() >= crashes, "{} refetches", page.refetches());
    }
    committed.len()
}

async fn write(url: &str, ids: &Ids, running: &Cell<bool>) -> Vec<Attempt> {
    let (mut attempts, mut client) = (Vec::new(), open(url).await);
    while running.get() {
        let id = ids.next();
        attempts.push((id, Instant::now()));
        // whether it is there will be seen
        if client.batch_execute(&format!("insert into letters values ({id}, 7)")).await.is_err() {
            client = open(url).await;
        }
        sleep(Duration::from_millis(id.unsigned_abs() % 4)).await;
    }
    attempts
}

/// A connection, as soon as there is a server.
async fn open(url: &str) -> Client {
    let mut opened = None;
    until("the server to be back", async || {
        if let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await {
            tokio::spawn(connection);
            opened = Some(client);
        }
        opened.is_some()
    })
    .await;
    opened.unwrap()
}

async fn kill_a_backend(client: &Client) {
    let pid: i32 = client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    assert!(signal("KILL", &pid.to_string()).await);
    until("the crash", async || client.batch_execute("").await.is_err()).await;
}

/// As pg_ctl stop -m immediate.
async fn stop_at_once(server: &mut Scratch) {
    let file = std::fs::read_to_string(server.data_dir().join("postmaster.pid")).unwrap();
    let pid = file.lines().next().unwrap();
    assert!(signal("QUIT", pid).await);
    until("the end of the server", async || !signal("0", pid).await).await;
    server.start_again().await.unwrap();
}

async fn signal(name: &str, pid: &str) -> bool {
    Command::new("kill").args([&format!("-{name}"), pid]).output().await.unwrap().status.success()
}
