//! Over real sockets, with real clients.

mod api;
mod ingest;
mod sdk;
mod support;
