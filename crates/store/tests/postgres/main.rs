//! The shared store: the contract of all stores, and what it does when nodes and the database fail.

mod alike;
mod cluster;
mod contract;
mod fight;
mod filled;
mod migrate;
mod plans;
mod releases;
mod server;
mod support;
