//! Live streams, against real servers over real sockets.

mod basics;
mod checkpoints;
mod eviction;
mod finish;
mod gate;
mod leftovers;
mod soak;
mod support;
