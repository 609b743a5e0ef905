//! Black box: the real program, as a process of its own, in a temporary directory, on a free port.
//!
//! Nothing here knows the inside: what is asserted is what a user, a client or a receiver can see. Whatever a test starts ends with it.

mod cli;
mod contract;
mod database;
mod first_minute;
mod http;
mod isolation;
mod kill;
mod load;
mod matrix;
mod migrate;
mod nodes;
mod own_bins;
mod process;
mod receiver;
mod serve;
mod server;
