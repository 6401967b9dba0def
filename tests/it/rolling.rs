//! A rolling restart: one daemon after the other is stopped and replaced, a thousand clients move on and go on where they
//! were. Nothing is missed, and nobody refetches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::browser::Browser;
use crate::world::{Database, Settings, connect, token, until};

const CLIENTS: usize = 1000;
const PROJECTS: usize = 20;
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two pings. A client comes back after three to four times of it: who is there sooner than the news that it has heard
/// already is told to refetch.
const PING: Duration = Duration::from_millis(500);

/// Where clients go.
type Homes = Arc<Mutex<Vec<String>>>;

#[derive(Default)]
struct Client {
    /// The transactions that it was told of, by project.
    told: BTreeMap<usize, Vec<u64>>,
    cursors: BTreeMap<usize, String>,
    /// Subscriptions acknowledged on this socket.
    subscribed: usize,
    home: String,
    resumed: usize,
    /// How often it had to fetch all of a project, after the first time.
    refetches: usize,
}

fn projects(client: usize) -> Vec<usize> {
    let first = client % PROJECTS + 1;
    let second = client * 7 % PROJECTS + 1;
    if client.is_multiple_of(3) && second != first { vec![first, second] } else { vec![first] }
}

/// One that comes back for ever.
async fn live(number: usize, client: Arc<Mutex<Client>>, homes: Homes) {
    let (token, mut first) = (token(&format!("c{number}")), true);
    loop {
        let home = {
            let homes = homes.lock().unwrap();
            homes[if first { number % homes.len() } else { rand::random_range(0..homes.len()) }].clone()
        };
        if let Ok(browser) = Browser::open(&format!("ws://{home}/ws"), Some(&token)).await {
            stay(number, browser, &client, home, first).await;
            first = false;
        }
        client.lock().unwrap().home.clear();
        sleep(PING.mul_f64(3.0 + rand::random::<f64>())).await;
    }
}

/// Until the socket ends.
async fn stay(number: usize, browser: Browser, client: &Mutex<Client>, home: String, first: bool) {
    let (mut to, mut from) = browser.socket.split();
    {
        let mut client = client.lock().unwrap();
        (client.home, client.subscribed) = (home, 0);
    }
    for project in projects(number) {
        let mut frame = json!({ "type": "subscribe", "ref": "s", "project_id": project.to_string() });
        {
            let mut client = client.lock().unwrap();
            match client.cursors.get(&project) {
                Some(cursor) => frame["since"] = json!(cursor),
                None => client.refetches += usize::from(!first),
            }
            client.resumed += usize::from(!first);
        }
        let _ = to.send(Message::text(frame.to_string())).await;
    }
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = from.next() => match message {
                Some(Ok(Message::Text(text))) => client.lock().unwrap().hear(&serde_json::from_str(&text).unwrap(), number),
                Some(Ok(Message::Close(Some(frame)))) => {
                    assert_eq!(u16::from(frame.code), 1001, "{frame}");
                    // The answer leaves with the next poll.
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            _ = pings.tick() => {
                let _ = to.send(Message::text(json!({ "type": "ping" }).to_string())).await;
            }
        }
    }
}

impl Client {
    fn hear(&mut self, frame: &Value, number: usize) {
        let project = frame["project_id"].as_str().map(|project| project.parse::<usize>().unwrap());
        let cursor = frame["cursor"].as_str().map(str::to_owned);
        match (frame["type"].as_str().unwrap(), project) {
            ("cache_invalidate", Some(project)) => {
                assert_eq!(frame["data"]["id"], project.to_string(), "a row of another project: {frame}");
                let transaction = cursor.as_deref().and_then(|cursor| cursor.split('.').next()).unwrap();
                self.told.entry(project).or_default().push(transaction.parse().unwrap());
            }
            ("subscribed", _) => self.subscribed += 1,
            ("pong", _) if self.subscribed == projects(number).len() => {
                self.cursors.extend(
                    cursor
                        .clone()
                        .into_iter()
                        .flat_map(|cursor| projects(number).into_iter().map(move |project| (project, cursor.clone()))),
                );
            }
            ("pong", _) => {}
            ("reconnect", _) => {
                println!("client {number}, whose cursors were {:?}: {frame}", self.cursors);
                self.refetches += 1;
            }
            _ => panic!("an unexpected frame: {frame}"),
        }
        if let (Some(project), Some(cursor)) = (project, cursor) {
            self.cursors.insert(project, cursor);
        }
    }

    /// It is there, and every cursor of it is one of `transactions`.
    fn is_new(&self, number: usize, transactions: &[u64]) -> bool {
        let new = |project| {
            let cursor = self.cursors.get(&project).and_then(|cursor| cursor.split('.').next()?.parse().ok());
            cursor.is_some_and(|transaction| transactions.contains(&transaction))
        };
        self.subscribed == projects(number).len() && projects(number).into_iter().all(new)
    }
}

/// Commits a change of one project after the other until it is stopped.
async fn write(url: String, commits: Arc<Mutex<Vec<(usize, u64)>>>, stop: CancellationToken) {
    let client = connect(&url).await;
    let mut ticks = interval(PAUSE);
    for project in (1..=PROJECTS).cycle() {
        ticks.tick().await;
        if stop.is_cancelled() {
            return;
        }
        let sql = format!(
            "with written as (update tasks set done = not done where id = {project} returning id) \
             select pg_current_xact_id()::text from written"
        );
        let row = client.query_one(&sql, &[]).await.unwrap();
        commits.lock().unwrap().push((project, row.get::<_, String>(0).parse().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_is_missed_by_nobody_and_refetched_by_nobody() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let most = maximum.map_or(4096, |most| most.min(4096));
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap();
    let database = Database::sample().await;
    let members =
        (0..CLIENTS).flat_map(|client| projects(client).into_iter().map(move |p| format!("({p}, 'c{client}')")));
    let members = members.collect::<Vec<_>>().join(",");
    database
        .run(&format!(
            "truncate tasks; delete from projects; insert into projects select n, 'p' from generate_series(1, {PROJECTS}) n;
             insert into tasks (id, project_id, title) select n, n, 'x' from generate_series(1, {PROJECTS}) n;
             insert into project_members values {members}"
        ))
        .await;
    let settings = Settings::new(&database.url)
        .set("limits.connects_per_second", "10000")
        .set("limits.sessions_unauthenticated", "2000")
        .set("limits.drain_spread", "1s")
        // all of them come at once, and each is asked about
        .set("database.query_timeout", "30s");
    let (mut one, mut two) = (settings.start().await, settings.start().await);
    let homes: Homes = Arc::new(Mutex::new(vec![one.address.clone(), two.address.clone()]));
    let clients: Vec<Arc<Mutex<Client>>> = (0..CLIENTS).map(|_| Arc::default()).collect();
    let tasks = clients.iter().enumerate();
    let lives: Vec<_> = tasks
        .map(|(number, client)| {
            AbortOnDropHandle::new(tokio::spawn(live(number, Arc::clone(client), Arc::clone(&homes))))
        })
        .collect();
    let all = |fact: &dyn Fn(usize, &Client) -> bool| {
        clients.iter().enumerate().all(|(number, client)| fact(number, &client.lock().unwrap()))
    };
    until("everybody to be subscribed", async || all(&|number, client| client.subscribed == projects(number).len()))
        .await;
    let commits: Arc<Mutex<Vec<(usize, u64)>>> = Arc::default();
    let stop = CancellationToken::new();
    let work = write(database.url.to_string(), Arc::clone(&commits), stop.clone());
    let writer = AbortOnDropHandle::new(tokio::spawn(work));
    // A cursor of a time when a daemon has already listened is one that it knows.
    let are_new = async |since: usize| {
        until("new cursors", async || {
            let known: Vec<u64> =
                commits.lock().unwrap().iter().skip(since).map(|(_, transaction)| *transaction).collect();
            all(&|number, client| client.is_new(number, &known))
        })
        .await;
    };
    are_new(0).await;

    let moves = async |from: &mut crate::world::Daemon, to: &str| {
        *homes.lock().unwrap() = vec![to.to_owned()];
        from.signal("TERM").await;
        assert_eq!(from.exit_code().await, Some(0));
        until("everybody to have moved", async || {
            all(&|number, client| client.home == to && client.subscribed == projects(number).len())
        })
        .await;
    };
    moves(&mut one, &two.address).await;
    let three = settings.start().await;
    let since = commits.lock().unwrap().len();
    are_new(since + 1).await;
    moves(&mut two, &three.address).await;
    are_new(since).await;

    stop.cancel();
    writer.await.unwrap();
    let mut expected: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for (project, transaction) in commits.lock().unwrap().iter() {
        expected.entry(*project).or_default().push(*transaction);
    }
    until("everybody to have heard of the last change", async || {
        all(&|number, client| {
            projects(number).iter().all(|project| client.told[project].last() == expected[project].last())
        })
    })
    .await;
    drop(lives);
    let sum = |count: &dyn Fn(&Client) -> usize| -> usize {
        clients.iter().map(|client| count(&client.lock().unwrap())).sum()
    };
    let (changes, frames) =
        (expected.values().map(Vec::len).sum::<usize>(), sum(&|client| client.told.values().map(Vec::len).sum()));
    let (resumed, refetches) = (sum(&|client| client.resumed), sum(&|client| client.refetches));
    println!("{CLIENTS} clients, {changes} changes, {frames} frames, {resumed} resumes, {refetches} refetches");
    assert!(resumed >= CLIENTS, "everybody has moved once at least");
    assert_eq!(refetches, 0);
    for (number, client) in clients.iter().enumerate() {
        let client = client.lock().unwrap();
        for project in projects(number) {
            assert_eq!(client.told[&project], expected[&project], "client {number}, project {project}");
        }
    }
}
