//! The program under fire: networks and servers that fail in each way that can be made, and its own death at any moment.
//! Everything arrives, nothing of note arrives twice, and it says so.

mod faults;
mod kill;
mod oracle;
mod refusals;
mod support;
