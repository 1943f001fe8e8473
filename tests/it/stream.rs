//! Live streams, against real servers over real sockets.

mod basics;
mod faults;
mod kill;
mod leftovers;
mod line;
mod oracle;
mod support;
