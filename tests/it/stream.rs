//! Live streams, against real servers over real sockets.

mod basics;
mod migration;
mod support;
