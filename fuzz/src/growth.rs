//! How a file comes: in pieces.

use crate::Arbitrary;

/// The sizes of the pieces in which a file is handed to a scanner, over and over.
#[derive(Debug, Clone, Arbitrary)]
pub struct Growth {
    pieces: [u8; 3],
}

impl Growth {
    /// From bytes of an input.
    pub fn new(pieces: [u8; 3]) -> Self {
        Self { pieces }
    }

    /// How much of a file of `len` bytes is there, again and again, until it is all.
    pub fn sizes(&self, len: usize) -> impl Iterator<Item = usize> {
        // Single bytes as well as long pieces; some progress each time.
        let piece = |byte: u8| if byte < 200 { usize::from(byte) + 1 } else { usize::from(byte - 199) * 97 };
        let mut pieces = self.pieces.map(piece).into_iter().cycle();
        std::iter::successors(Some(0usize), move |&seen| Some((seen + pieces.next().unwrap_or(1)).min(len)))
    }
}
