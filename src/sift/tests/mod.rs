//! The layer against a real socket.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod fake_services;
mod raw;
mod real;
mod support;

mod assets;
mod channels;
mod connecting;
mod destinations;
mod gzip;
mod naming;
mod registering;
mod runs;
mod sending;
