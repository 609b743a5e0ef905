//! The whole application over a real engine and store, with a channel in memory in place of the network.

mod accounts;
mod at_once;
mod audit;
mod between;
mod bins;
mod carriers;
mod contract;
mod events;
mod keys;
mod listener;
mod log;
mod mail;
mod members;
mod openapi;
mod ops;
mod pages;
mod people;
mod public_bins;
mod refusals;
mod resources;
mod rig;
mod types;
