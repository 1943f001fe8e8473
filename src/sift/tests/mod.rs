//! The layer against a real socket.

mod fake_services;
mod raw;
mod support;

mod connecting;
mod destinations;
mod registering;
mod sending;
