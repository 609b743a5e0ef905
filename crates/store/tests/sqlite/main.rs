//! The embedded store: the contract of all stores, and what it does when files, disks and processes fail.

mod backup;
mod bugs;
mod chilled;
mod cold;
mod contract;
mod files;
mod full;
mod lock;
mod many;
mod retention;
mod support;
mod tally;
mod torn;
mod upgrade;
