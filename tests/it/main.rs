//! The whole of it, against a real PostgreSQL and over real sockets.
#![allow(clippy::unwrap_used)]

mod browser;
mod proxy;
mod world;

mod auth;
mod delivery;
mod drain;
mod hostile;
mod migrate;
mod outages;
mod probes;
mod scratch;
mod slow;
mod tls;
mod watch;
