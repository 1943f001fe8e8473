//! The layer against a real socket.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod fake_services;
mod raw;
mod support;

mod connecting;
mod destinations;
mod naming;
mod registering;
mod sending;
