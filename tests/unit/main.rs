//! What needs no server: words, forms and rules, through tables and properties.
#![allow(clippy::unwrap_used)]

mod certificate;
mod conninfo;
mod websocket;
