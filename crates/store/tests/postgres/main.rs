//! The shared store: the contract of all stores, and what it does when nodes and the database fail.

mod alike;
mod beside;
mod cluster;
mod contract;
mod encrypted;
mod fight;
mod filled;
mod gifts;
mod joining;
mod late;
mod lost;
mod migrate;
mod plans;
mod proxy;
mod releases;
mod server;
mod support;
