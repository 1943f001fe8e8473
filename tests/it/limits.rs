//! What the program may take of a computer, however much there is to look at: bounds, not times.

#[cfg(target_os = "linux")]
mod listing;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod resuming;
