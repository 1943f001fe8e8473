//! Live streams, against real servers over real sockets.

mod auto_register;
mod basics;
mod checkpoints;
mod eviction;
mod faults;
mod finish;
mod gate;
mod homes;
mod kill;
mod leftovers;
mod line;
mod logs;
mod metrics;
mod migration;
mod observed;
mod oracle;
mod sending;
mod soak;
mod support;
mod sweeping;
