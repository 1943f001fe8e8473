//! Dead letters: records that a destination refused for good, kept with the reason and with where they came from ([F-41]),
//! to be looked at, and delivered after all. They stand in segments of sessions of their own, below a state directory.

mod group;
mod origin;
mod read;
mod retry;
mod survey;
mod write;

use std::path::{Path, PathBuf};

pub use group::DeadLetterGroup;
pub use origin::{Refusal, RefusedRange};
pub use read::{
    DeadLetter, DeadLetterList, DeadLetterSession, Trouble, catalog, list, list_where, origins, read, sessions_for,
};
pub use retry::{Retried, WaitingLetters, retry_dead_letters, undelivered, waiting_dead_letters};
pub use write::{DeadLetters, RefusedRecord};

/// Directory of the dead letters in a state directory.
pub const DEAD_LETTERS_DIR: &str = "dead-letters";

/// Most bytes of a text that somebody else chose: a reason, a path.
const MAX_TEXT_BYTES: usize = 4096;

/// Where the dead letters of a state directory are.
fn dir_in(state_dir: &Path) -> PathBuf {
    state_dir.join(DEAD_LETTERS_DIR)
}

/// As much of a text as is kept of it, whole characters.
fn bounded(text: &str) -> &str {
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let end = (0..=MAX_TEXT_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(bounded("short"), "short");
        for (head, kept) in [(0, 4095), (1, 4096), (2, 4094)] {
            // Characters of three bytes, which meet the bound differently.
            let text = "x".repeat(head) + &"\u{20ac}".repeat(2000);
            assert_eq!(bounded(&text).len(), kept);
            assert!(text.starts_with(bounded(&text)));
        }
    }
}
