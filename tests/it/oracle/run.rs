//! Plays a history: two daemons on one database, an application, clients.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::application::Application;
use super::client::Client;
use super::history::{CLIENTS, DAEMONS, History, OPEN, SUBJECTS, Step, Write};
use super::journal::Journal;
use super::model::{self, Told};
use crate::world::{Daemon, Settings, until};

/// Who wrote while no daemon was present is looked for once a second: so long after the end of a transaction that was open for long its
/// changes may be told. A slow machine gets more: whoever is right is believed at once.
const SILENT_MAX: Duration = Duration::from_secs(20);

struct Play {
    application: Application,
    settings: Vec<Settings>,
    daemons: Vec<Daemon>,
    frozen: [bool; DAEMONS],
    clients: Vec<Client>,
}

/// Plays it and judges what every client was told.
pub async fn run(history: &History) -> Told {
    let mut play = Play::new(history).await;
    for client in 0..CLIENTS {
        play.connect(client, client % DAEMONS).await;
    }
    for step in &history.steps {
        play.step(step).await;
    }
    play.settle().await;
    let journal = Journal::new(&play.application).await;
    let mut told = Told::default();
    for (place, client) in play.clients.iter().enumerate() {
        let judge = || model::judge(&client.book.lock().unwrap().log, client.subject, &journal);
        let ended = Instant::now();
        while judge().is_err() && ended.elapsed() < SILENT_MAX {
            sleep(Duration::from_millis(50)).await;
        }
        let judged = judge();
        match judged {
            Ok(more) => told.add(&more),
            Err(wrong) => {
                let log = &client.book.lock().unwrap().log;
                panic!("client {place}: {wrong}\n{}", model::explain(log, history, &journal))
            }
        }
    }
    told
}

impl Play {
    async fn new(history: &History) -> Self {
        let application = Application::new(history.transport).await;
        let url = &application.database.url;
        let separator = if url.contains('?') { '&' } else { '?' };
        let (mut settings, mut daemons) = (Vec::new(), Vec::new());
        for place in 0..DAEMONS {
            let these = Settings::new(url)
                .set("database.listen_url", &format!("{}{separator}application_name=ear{place}", &**url))
                .set("limits.mailbox_frames", &history.mailbox_frames.to_string())
                .set("limits.history_events", &history.history_events.to_string())
                .set("limits.requests_per_second", "1000")
                .set("limits.requests_burst", "1000")
                .set("limits.reconnect_spread", "1ms");
            daemons.push(these.start().await);
            settings.push(these);
        }
        let clients = (0..CLIENTS).map(|client| Client::new(client % SUBJECTS, &history.first[client])).collect();
        Self { application, settings, daemons, frozen: [false; DAEMONS], clients }
    }

    async fn connect(&mut self, client: usize, daemon: usize) {
        self.thaw(daemon).await;
        self.clients[client].connect(daemon, &self.daemons[daemon]).await;
    }

    async fn thaw(&mut self, daemon: usize) {
        if std::mem::take(&mut self.frozen[daemon]) {
            self.daemons[daemon].signal("CONT").await;
        }
    }

    /// Waits for a client's answers, where it can have any.
    async fn wait(&mut self, client: usize) {
        if self.clients[client].daemon().is_some_and(|daemon| !self.frozen[daemon]) {
            self.clients[client].settle().await;
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write { writes, commits } => self.application.write(writes, *commits).await,
            Step::Together(all) => self.application.together(all).await,
            Step::Begin { slot, writes } => self.application.begin(*slot, writes).await,
            Step::End { slot, commits } => self.application.end(*slot, *commits).await,
            Step::Flood { project } => {
                for _ in 0..20 {
                    let writes = vec![Write::Pages { project: *project, rows: 20 }; 2];
                    self.application.write(&writes, true).await;
                }
            }
            Step::Connect { client, daemon, waits } => {
                self.connect(*client, *daemon).await;
                if *waits {
                    self.wait(*client).await;
                }
            }
            Step::Drop { client } => self.clients[*client].drop_socket(),
            Step::Subscribe { client, request } => self.clients[*client].subscribe(request).await,
            Step::Unsubscribe { client, project } => self.clients[*client].unsubscribe(*project).await,
            Step::Ping { client, waits } => {
                self.clients[*client].ping().await;
                if *waits {
                    self.wait(*client).await;
                }
            }
            Step::Stall { client } => self.clients[*client].read(false),
            Step::Read { client } => self.clients[*client].read(true),
            Step::Deafen { daemon, writes } => {
                self.application.kill(&format!("ear{daemon}")).await;
                self.application.write(writes, true).await;
            }
            Step::Switch { to } => self.application.switch(*to).await,
            Step::Cut { relay, presence, writes } => {
                for (_, name) in
                    [(relay, "pgherald relay"), (presence, "pgherald presence")].into_iter().filter(|(cut, _)| **cut)
                {
                    self.application.kill(name).await;
                }
                self.application.write(writes, true).await;
            }
            Step::Freeze { daemon } => {
                if !std::mem::replace(&mut self.frozen[*daemon], true) {
                    self.daemons[*daemon].signal("STOP").await;
                }
            }
            Step::Thaw { daemon } => self.thaw(*daemon).await,
            Step::Restart { daemon, gently } => {
                self.thaw(*daemon).await;
                self.daemons[*daemon].signal(if *gently { "TERM" } else { "KILL" }).await;
                self.daemons[*daemon].exit_code().await;
                self.daemons[*daemon] = self.settings[*daemon].start().await;
            }
        }
    }

    /// Everybody comes back, reads, and hears the last change of all; who may not, is told so.
    async fn settle(&mut self) {
        for slot in 0..OPEN {
            self.application.end(slot, true).await;
        }
        for daemon in 0..DAEMONS {
            self.thaw(daemon).await;
        }
        // Who came first may still have been let in by a permission that has gone.
        for _ in 0..2 {
            for client in 0..CLIENTS {
                self.clients[client].read(true);
                self.wait(client).await;
                self.come_in(client).await;
            }
            self.application.mark().await;
        }
        for client in 0..CLIENTS {
            until("a client to have heard the last change, or to be refused", async || {
                self.come_in(client).await;
                self.wait(client).await;
                self.clients[client].is_connected() && self.has_heard(client)
            })
            .await;
        }
    }

    /// Comes back, and asks again until it is in, or rightly not.
    async fn come_in(&mut self, client: usize) {
        until("a client to be let in, or to be refused for good", async || {
            if !self.clients[client].is_connected() {
                self.connect(client, client % DAEMONS).await;
            }
            self.clients[client].ask_again().await;
            self.wait(client).await;
            let it = &self.clients[client];
            it.wants()
                .into_iter()
                .all(|project| it.is_subscribed(project) == self.application.is_member(project, it.subject))
        })
        .await;
    }

    /// Whether the last marker of every project, or what stands for it, was read.
    fn has_heard(&self, client: usize) -> bool {
        let it = &self.clients[client];
        let marked = self.application.commits.last().unwrap();
        it.wants()
            .into_iter()
            .filter(|project| it.is_subscribed(*project))
            .all(|project| model::covers_marker(&it.book.lock().unwrap().log, project, marked.said))
    }
}
