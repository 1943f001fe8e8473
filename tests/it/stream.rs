//! Live streams, against real servers over real sockets.

mod basics;
mod support;
mod sweeping;
