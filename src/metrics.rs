//! The names of the metrics and their help texts, in one list; `docs/operations.md` shows the same list.

/// Open sessions.
pub const SESSIONS: &str = "pgherald_sessions";
/// Subscriptions of all sessions.
pub const SUBSCRIPTIONS: &str = "pgherald_subscriptions";
/// Sessions refused before the upgrade, by `reason`.
pub const REFUSED: &str = "pgherald_sessions_refused_total";
/// Sessions ended by the daemon, by close `code`.
pub const CLOSED: &str = "pgherald_sessions_closed_total";
/// Notifications received.
pub const NOTIFICATIONS: &str = "pgherald_notifications_received_total";
/// Notifications that could not be read.
pub const MALFORMED: &str = "pgherald_notifications_malformed_total";
/// Frames that left.
pub const FRAMES_SENT: &str = "pgherald_frames_sent_total";
/// Bytes that left.
pub const BYTES_SENT: &str = "pgherald_bytes_sent_total";
/// Mailboxes that gave up precision, by `step` and `reason`.
pub const COARSENINGS: &str = "pgherald_coarsenings_total";
/// `reconnect` frames, by `reason`.
pub const RECONNECTS: &str = "pgherald_reconnect_frames_total";
/// Subscriptions that ended because their subject may see the project no more.
pub const REVOKED: &str = "pgherald_subscriptions_revoked_total";
/// Subscriptions that named a cursor, by `result`.
pub const RESUMES: &str = "pgherald_resumes_total";
/// Whether the listener hears the database.
pub const LISTENING: &str = "pgherald_listener_up";
/// Times that the listener had to connect again.
pub const LISTENER_RECONNECTS: &str = "pgherald_listener_reconnects_total";
/// Round trip of the canary.
pub const CANARY_SECONDS: &str = "pgherald_canary_round_trip_seconds";
/// From a notification's receipt until every reachable socket took its frame.
pub const DELIVERY_SECONDS: &str = "pgherald_notify_to_socket_seconds";
/// Membership queries, by `kind` and `result`.
pub const ACCESS_QUERIES: &str = "pgherald_access_queries_total";
/// Membership answers from the cache.
pub const ACCESS_CACHE_HITS: &str = "pgherald_access_cache_hits_total";
/// Tokens refused, by `reason`.
pub const AUTH_FAILURES: &str = "pgherald_auth_failures_total";
/// Fetches of the JWKS, by `result`.
pub const JWKS_FETCHES: &str = "pgherald_jwks_fetches_total";

/// Whether writers of the relay transport know that this daemon is there.
pub const RELAY_PRESENT: &str = "pgherald_relay_present";
/// Whether this daemon is the relay, and what it does: `state` is awake or asleep.
pub const RELAY_STATE: &str = "pgherald_relay_state";
/// Rows that this daemon has sent on.
pub const RELAY_ROWS: &str = "pgherald_relay_rows_total";
/// Steps that sent something on.
pub const RELAY_BATCHES: &str = "pgherald_relay_batches_total";
/// Time of such a step, without what it waited for rows, and without its commit.
pub const RELAY_SECONDS: &str = "pgherald_relay_batch_seconds";
/// Rows that were left by the last step, or do not move.
pub const RELAY_WAITING: &str = "pgherald_relay_waiting_rows";
/// How full the queue is: 1 = triggers drop what they have to tell.
pub const RELAY_FULL: &str = "pgherald_relay_queue_full_ratio";
/// Times that a writer woke the relay.
pub const RELAY_BELLS: &str = "pgherald_relay_bells_total";
/// Rows that nobody rang for.
pub const RELAY_LATE: &str = "pgherald_relay_late_rows_total";
/// Times that new rows went to another table.
pub const RELAY_ROTATIONS: &str = "pgherald_relay_rotations_total";
/// Times that this daemon became the relay.
pub const RELAY_ELECTIONS: &str = "pgherald_relay_elections_total";
/// Relays that did not move and were ended by this daemon.
pub const RELAY_ENDED: &str = "pgherald_relay_hung_ended_total";
/// Nobody relayed what was in the queue.
pub const RELAY_STALLS: &str = "pgherald_relay_stalls_total";

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds, in buckets.
    Histogram,
}

/// Name, kind, labels, help.
pub const ALL: &[(&str, Kind, &[&str], &str)] = &[
    (SESSIONS, Kind::Gauge, &[], "Open sessions"),
    (SUBSCRIPTIONS, Kind::Gauge, &[], "Subscriptions of all sessions"),
    (REFUSED, Kind::Counter, &["reason"], "Sessions refused before the upgrade"),
    (CLOSED, Kind::Counter, &["code"], "Sessions ended, by close code, or why there was nobody to send one to"),
    (NOTIFICATIONS, Kind::Counter, &[], "Notifications received from PostgreSQL"),
    (MALFORMED, Kind::Counter, &[], "Notifications that could not be read and were ignored"),
    (FRAMES_SENT, Kind::Counter, &[], "Frames written to sockets"),
    (BYTES_SENT, Kind::Counter, &[], "Bytes written to sockets"),
    (COARSENINGS, Kind::Counter, &["step", "reason"], "Mailboxes that gave up precision"),
    (RECONNECTS, Kind::Counter, &["reason"], "Reconnect frames put into mailboxes"),
    (REVOKED, Kind::Counter, &[], "Subscriptions ended because their subject may see the project no more"),
    (RESUMES, Kind::Counter, &["result"], "Subscriptions that named a cursor: found or gap"),
    (LISTENING, Kind::Gauge, &[], "1 while the listener hears the database, else 0"),
    (LISTENER_RECONNECTS, Kind::Counter, &[], "Times that the listener connected again"),
    (CANARY_SECONDS, Kind::Histogram, &[], "Round trip of the listener's canary notification"),
    (
        DELIVERY_SECONDS,
        Kind::Histogram,
        &[],
        "From a notification's receipt until its frames were offered to every socket",
    ),
    (ACCESS_QUERIES, Kind::Counter, &["kind", "result"], "Membership queries"),
    (ACCESS_CACHE_HITS, Kind::Counter, &[], "Membership answers from the cache"),
    (AUTH_FAILURES, Kind::Counter, &["reason"], "Tokens refused"),
    (JWKS_FETCHES, Kind::Counter, &["result"], "Fetches of the JWKS"),
    (RELAY_PRESENT, Kind::Gauge, &[], "1 while writers of the relay transport know that this daemon is there"),
    (
        RELAY_STATE,
        Kind::Gauge,
        &["state"],
        "1 for what this daemon does as the relay: awake or asleep; both 0 where it is not the relay",
    ),
    (RELAY_ROWS, Kind::Counter, &[], "Rows that this daemon has taken from the queue as the relay"),
    (RELAY_BATCHES, Kind::Counter, &[], "Batches in which it has sent them"),
    (RELAY_SECONDS, Kind::Histogram, &[], "Time of a batch, from finding rows to their being sent; without its commit"),
    (
        RELAY_WAITING,
        Kind::Gauge,
        &[],
        "Rows that the last batch has left in the queue, or that do not move, whoever relays",
    ),
    (RELAY_FULL, Kind::Gauge, &[], "How full the relay's queue is, 0 to 1; at 1 triggers drop what they have to tell"),
    (RELAY_BELLS, Kind::Counter, &[], "Times that writers woke the relay; those who ring at once wake it once"),
    (RELAY_LATE, Kind::Counter, &[], "Rows that nobody rang for; more than 0 is a bug, or somebody else's INSERT"),
    (RELAY_ROTATIONS, Kind::Counter, &[], "Times that new rows went to another of the queue's tables"),
    (RELAY_ELECTIONS, Kind::Counter, &[], "Times that this daemon became the relay"),
    (RELAY_ENDED, Kind::Counter, &[], "Relays that did not move and were ended by this daemon"),
    (RELAY_STALLS, Kind::Counter, &[], "Times that the queue did not move and this daemon told all its sessions"),
];

/// Histogram buckets in seconds: from a tenth of a millisecond, the best case of a local database, to the timeouts.
pub const BUCKETS_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Gives every metric its help text, and those without labels a first value, so that a dashboard finds them
/// before anything has happened.
pub fn describe() {
    for (name, kind, labels, help) in ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, metrics::Unit::Seconds, *help),
        }
        match kind {
            Kind::Counter if labels.is_empty() => metrics::counter!(*name).absolute(0),
            Kind::Gauge if labels.is_empty() => metrics::gauge!(*name).set(0.0),
            Kind::Counter | Kind::Gauge | Kind::Histogram => {}
        }
    }
}
