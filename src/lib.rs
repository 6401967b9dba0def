//! pgherald tells every browser which of its cached data is stale.
//!
//! An invalidation is a hint: "ask again". Losing precision is always allowed, losing the hint never is.
//! The modules stand in reading order, and each imports only from those before it; `tests/house.rs` holds that.
//! `docs/architecture.md` is the map.

// 0: words
pub mod alarms;
pub mod backoff;
pub mod cursor;
pub mod expiry;
pub mod metrics;
pub mod quota;
pub mod resource;
pub mod row;
pub mod spread;
pub mod writers;

pub mod event;
pub mod losses;

pub mod interest;
pub mod repeats;

// 1: forms
pub mod close;
pub mod frame;

pub mod websocket;

pub mod protocol;

pub mod address;
pub mod encoding;

pub mod certificate;
pub mod tls;

pub mod connkeywords;
pub mod conntext;
pub mod pgfiles;

pub mod connsettings;
pub mod conntls;

pub mod conninfo;

pub mod settings;

pub mod config;

pub mod history;
pub mod mailbox;
pub mod query;
pub mod report;

// 2: rules
pub mod outbox;
pub mod token;

pub mod roster;

pub mod hub;
pub mod keyset;

pub mod census;
pub mod doubts;
pub mod membership;

// 3: edges
pub mod database;
pub mod keyring;
pub mod migrations;

pub mod migrate;

pub mod pgprograms;
pub mod supervisor;

pub mod scratch;

pub mod asker;

pub mod access;

pub mod claim;
pub mod heartbeat;

pub mod backlog;
pub mod link;
pub mod presence;
pub mod relay;
pub mod standing;

pub mod turn;

pub mod transport;

pub mod checks;
pub mod warden;

pub mod doctor;

pub mod dialogue;
pub mod line;
pub mod listener;

pub mod session;
pub mod upgrade;

pub mod stream;

// 4: doors
pub mod gate;

pub mod admin;
pub mod inspector;

pub mod routes;

// 5: house
pub mod duties;

pub mod app;

// 6: commands
pub mod cli;
