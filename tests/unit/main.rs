//! What needs no server: words, forms and rules, through tables and properties.
#![allow(clippy::unwrap_used)]

#[path = "../house/description.rs"]
mod description;

mod alarms;
mod backoff;
mod census;
mod certificate;
mod config;
mod conninfo;
mod duties;
mod event;
mod expiry;
mod history;
mod hub;
mod losses;
mod mailbox;
mod protocol;
mod query;
mod quota;
mod repeats;
mod report;
mod resource;
mod spread;
mod token;
mod websocket;
mod writers;
