//! What it says is so.
