//! What the doctor looks at, a kind a file. Each check is one question, asked in a transaction that only reads.
//!
//! Their SQL runs with an empty `search_path`: names of tables come back with their schema.

pub mod commits;
pub mod listener;
pub mod membership;
pub mod queue;
pub mod relay;
pub mod schema;
pub mod server;
pub mod tables;
pub mod triggers;
