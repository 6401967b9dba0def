//! The house rules, held by tests: who imports whom, who may do what, and that the docs, the example file and the
//! description for programs know every setting, metric and word of the protocol.
#![allow(clippy::unwrap_used)]

#[path = "house/description.rs"]
mod description;
#[path = "house/source.rs"]
mod source;

#[path = "house/asyncapi.rs"]
mod asyncapi;
#[path = "house/docs.rs"]
mod docs;
#[path = "house/example.rs"]
mod example;
#[path = "house/floors.rs"]
mod floors;
#[path = "house/places.rs"]
mod places;
#[path = "house/powers.rs"]
mod powers;
