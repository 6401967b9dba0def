//! The whole of it, against a real PostgreSQL and over real sockets.
#![allow(clippy::unwrap_used)]

#[path = "../house/description.rs"]
mod description;

mod browser;
mod event_source;
mod nginx;
mod pooler;
mod proxy;
mod relay_world;
mod twins;
mod witness;
mod world;

mod admin;
mod auth;
mod board;
#[cfg(target_os = "linux")]
mod clock;
mod commands;
mod commands_transport;
mod delivery;
mod demo;
mod doctor;
mod doctor_relay;
mod doctor_server;
mod drain;
mod hostile;
mod idle;
mod inspector;
mod keys;
mod membership;
mod migrate;
mod operator;
mod options;
mod oracle;
mod outages;
mod paths;
mod peers;
mod probes;
mod recheck;
mod relay;
mod relay_crash;
mod relay_election;
mod relay_limit;
mod relay_prepared;
mod relay_presence;
mod relay_queue;
mod relay_rights;
mod relay_rotation;
mod relay_settings;
mod relay_sleep;
mod relay_stress;
mod relay_switch;
mod relay_writers;
mod resume;
mod revoke;
mod rights;
mod rolling;
mod schemas;
mod scratch;
mod slow;
mod stream;
mod stream_peers;
mod tls;
mod watch;
mod watching;
mod writers;
mod writers_copies;
mod writers_queue;
mod writers_schema;
mod writers_settings;
mod writes;
mod writes_beneath;
mod writes_tables;
mod writes_transactions;
