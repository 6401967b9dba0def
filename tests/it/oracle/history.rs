//! What may happen: a random list of steps of writers, clients, daemons and their network.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::witness::Transport;

/// Projects are 1 to this, subjects and clients 0 to one less; two clients share subject 0.
pub const PROJECTS: usize = 3;
pub const SUBJECTS: usize = 4;
pub const CLIENTS: usize = 5;
pub const DAEMONS: usize = 2;
/// Transactions that are open beside the others.
pub const OPEN: usize = 2;

/// One case.
#[derive(Clone, Debug)]
pub struct History {
    /// What the transport is at first.
    pub transport: Transport,
    /// `limits.mailbox_frames`.
    pub mailbox_frames: usize,
    /// `limits.history_events`.
    pub history_events: usize,
    /// What every client asks for at first.
    pub first: Vec<Vec<Request>>,
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A transaction, committed or not.
    Write {
        writes: Vec<Write>,
        commits: bool,
    },
    /// Transactions at the same time.
    Together(Vec<Vec<Write>>),
    /// A transaction that stays open while others come and go.
    Begin {
        slot: usize,
        writes: Vec<Write>,
    },
    End {
        slot: usize,
        commits: bool,
    },
    /// Much data of one project, more than a socket holds.
    Flood {
        project: usize,
    },
    /// The client comes to this daemon, leaving where it is without a word, and goes on where it was. With `waits`, the
    /// next step comes when it has been answered.
    Connect {
        client: usize,
        daemon: usize,
        waits: bool,
    },
    /// Its socket is dropped, whatever is on its way.
    Drop {
        client: usize,
    },
    Subscribe {
        client: usize,
        request: Request,
    },
    Unsubscribe {
        client: usize,
        project: usize,
    },
    Ping {
        client: usize,
        waits: bool,
    },
    /// It stops reading, and reads again.
    Stall {
        client: usize,
    },
    Read {
        client: usize,
    },
    /// The daemon's LISTEN connection is killed, and this is committed before it has another.
    Deafen {
        daemon: usize,
        writes: Vec<Write>,
    },
    /// The daemon stands still until somebody comes to it, or it is thawed.
    Freeze {
        daemon: usize,
    },
    Thaw {
        daemon: usize,
    },
    /// `pgherald.set_transport`, with transactions open and rows in the queue.
    Switch {
        to: Transport,
    },
    /// The connections are killed by which daemons are the relay, or wait to be, or by which writers know that they are
    /// there, or both; and this is committed before they have others.
    Cut {
        relay: bool,
        presence: bool,
        writes: Vec<Write>,
    },
    /// It ends, by SIGTERM or at once, and another one takes its place.
    Restart {
        daemon: usize,
        gently: bool,
    },
}

/// One statement. Rows are picked from those that are there.
#[derive(Clone, Debug)]
pub enum Write {
    Insert {
        project: usize,
        rows: usize,
    },
    /// Rows with long keys.
    Pages {
        project: usize,
        rows: usize,
    },
    Update {
        picks: Vec<prop::sample::Index>,
    },
    Delete {
        picks: Vec<prop::sample::Index>,
    },
    Move {
        pick: prop::sample::Index,
        project: usize,
    },
    /// A payload by hand, of a project or (0) of all, by `pgherald.notify` or with nothing but the channel's name.
    Hand {
        project: usize,
        cursor: bool,
    },
    Truncate,
    Member {
        project: usize,
        subject: usize,
        joins: bool,
    },
}

/// What a client subscribes to.
#[derive(Clone, Debug)]
pub struct Request {
    pub project: usize,
    /// Empty = all.
    pub topics: Vec<&'static str>,
    pub batch: bool,
    pub resource_change: bool,
}

impl History {
    /// The same for the same seed.
    pub fn of(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        history().new_tree(&mut runner).unwrap().current()
    }

    /// The same by way of a relay from the first to the last step.
    pub fn by_relay(mut self) -> Self {
        self.transport = Transport::Relay;
        self.steps.retain(|step| !matches!(step, Step::Switch { .. }));
        self
    }
}

fn history() -> impl Strategy<Value = History> {
    let first = vec(vec(request(), 1..=3), CLIENTS..=CLIENTS);
    let mailbox_frames = prop_oneof![2 => Just(256), 2 => Just(24), 1 => Just(4)];
    let history_events = prop_oneof![4 => Just(10_000), 1 => Just(20)];
    (transport(), mailbox_frames, history_events, first, vec(step(), 30..120)).prop_map(
        |(transport, mailbox_frames, history_events, first, steps)| History {
            transport,
            mailbox_frames,
            history_events,
            first,
            steps,
        },
    )
}

fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Notify), Just(Transport::Relay)]
}

fn step() -> impl Strategy<Value = Step> {
    let (client, daemon, project, slot) = (0..CLIENTS, 0..DAEMONS, 1..=PROJECTS, 0..OPEN);
    let new = |most| vec(new_rows(), 1..most);
    prop_oneof![
        140 => (vec(write(), 1..4), prop::bool::weighted(0.9)).prop_map(|(writes, commits)| Step::Write { writes, commits }),
        12 => vec(new(3), 2..4).prop_map(Step::Together),
        12 => (slot.clone(), new(3)).prop_map(|(slot, writes)| Step::Begin { slot, writes }),
        10 => (slot, prop::bool::weighted(0.8)).prop_map(|(slot, commits)| Step::End { slot, commits }),
        8 => project.clone().prop_map(|project| Step::Flood { project }),
        50 => (client.clone(), daemon.clone(), any::<bool>())
            .prop_map(|(client, daemon, waits)| Step::Connect { client, daemon, waits }),
        25 => client.clone().prop_map(|client| Step::Drop { client }),
        20 => (client.clone(), request()).prop_map(|(client, request)| Step::Subscribe { client, request }),
        4 => (client.clone(), project).prop_map(|(client, project)| Step::Unsubscribe { client, project }),
        40 => (client.clone(), any::<bool>()).prop_map(|(client, waits)| Step::Ping { client, waits }),
        8 => client.clone().prop_map(|client| Step::Stall { client }),
        12 => client.prop_map(|client| Step::Read { client }),
        10 => (daemon.clone(), new(3)).prop_map(|(daemon, writes)| Step::Deafen { daemon, writes }),
        8 => daemon.clone().prop_map(|daemon| Step::Freeze { daemon }),
        10 => daemon.clone().prop_map(|daemon| Step::Thaw { daemon }),
        2 => (daemon, any::<bool>()).prop_map(|(daemon, gently)| Step::Restart { daemon, gently }),
        5 => transport().prop_map(|to| Step::Switch { to }),
        10 => (any::<bool>(), any::<bool>(), new(3)).prop_map(|(relay, presence, writes)| Step::Cut { relay, presence, writes }),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let picks = |most| vec(any::<prop::sample::Index>(), 1..most);
    prop_oneof![
        6 => new_rows(),
        8 => picks(4).prop_map(|picks| Write::Update { picks }),
        2 => picks(40).prop_map(|picks| Write::Update { picks }),
        3 => picks(3).prop_map(|picks| Write::Delete { picks }),
        2 => (any::<prop::sample::Index>(), 1..=PROJECTS).prop_map(|(pick, project)| Write::Move { pick, project }),
        3 => (1..=PROJECTS, 0..SUBJECTS, prop::bool::weighted(0.6))
            .prop_map(|(project, subject, joins)| Write::Member { project, subject, joins }),
        1 => prop::bool::weighted(0.3).prop_map(|all| if all { Write::Truncate } else { Write::Hand { project: 0, cursor: true } }),
    ]
}

/// What blocks no other writer.
fn new_rows() -> impl Strategy<Value = Write> {
    prop_oneof![
        5 => (1..=PROJECTS, 1..6_usize).prop_map(|(project, rows)| Write::Insert { project, rows }),
        1 => (1..=PROJECTS, 20..130_usize).prop_map(|(project, rows)| Write::Insert { project, rows }),
        1 => (1..=PROJECTS, 1..30_usize).prop_map(|(project, rows)| Write::Pages { project, rows }),
        2 => (0..=PROJECTS, any::<bool>()).prop_map(|(project, cursor)| Write::Hand { project, cursor }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    // The marker at the end is heard by all.
    let topics = prop_oneof![
        5 => Just(vec![]),
        1 => Just(vec!["task:*", "marker:*"]),
        1 => Just(vec!["page:*", "note:*", "task:3", "marker:*"]),
        1 => Just(vec!["project_members:*", "task:1", "task:2", "task:5", "task:8", "task:13", "marker:*"]),
    ];
    (1..=PROJECTS, topics, prop::bool::weighted(0.3), prop::bool::weighted(0.3))
        .prop_map(|(project, topics, batch, resource_change)| Request { project, topics, batch, resource_change })
}
