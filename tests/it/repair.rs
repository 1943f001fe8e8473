//! Repair: what is made of a damaged file is sound and holds all that was sound in it, and nothing else happens to any file.

mod crash;
mod pbfs;
#[cfg(feature = "cli")]
mod program;
mod segments;
mod surroundings;
