//! The whole of it, against a real PostgreSQL and over real sockets.
#![allow(clippy::unwrap_used)]

mod browser;
mod world;

mod delivery;
mod scratch;
mod tls;
