//! What a session leaves open is chosen by whoever searches.

use shuttle::rand::RngCore;

/// One of two ways.
pub(crate) fn flip() -> bool {
    shuttle::rand::thread_rng().next_u64() & 1 == 1
}

/// A number below `most`. Not for exhaustive searches, which know two ways only.
pub(crate) fn below(most: u64) -> u64 {
    shuttle::rand::thread_rng().next_u64() % most
}

/// One of these.
pub(crate) fn one_of<T: Copy>(of: &[T]) -> T {
    of[below(of.len() as u64) as usize]
}
