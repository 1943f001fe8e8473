//! Live streams, against real servers over real sockets.

mod basics;
mod live_only;
mod observed;
mod runs;
mod sending;
mod starting;
mod support;
