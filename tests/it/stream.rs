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
mod live_only;
mod logs;
mod metrics;
mod migration;
mod observed;
mod oracle;
mod runs;
mod sending;
mod soak;
mod starting;
mod support;
mod sweeping;
