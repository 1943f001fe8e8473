//! Live streams, against real servers over real sockets.

mod basics;
mod faults;
mod line;
mod support;
