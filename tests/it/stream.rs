//! Live streams, against real servers over real sockets.

mod basics;
mod logs;
mod metrics;
mod support;
