//! Live streams, against real servers over real sockets.

mod auto_register;
mod basics;
mod checkpoints;
mod eviction;
mod gate;
mod migration;
mod observed;
mod sending;
mod support;
mod sweeping;
