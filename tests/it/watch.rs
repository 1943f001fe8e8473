//! The program while it watches, when it is interrupted, and what it does with files that are delivered.

mod appear;
pub(crate) mod desk;
mod grow;
mod idle;
mod interrupt;
mod vanish;
