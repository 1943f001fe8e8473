//! Live streams, against real servers over real sockets.

mod basics;
mod observed;
mod sending;
mod support;
