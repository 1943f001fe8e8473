//! Windows of a PBFS file that were acknowledged out of order, and how far the file is done without a hole.

use std::collections::BTreeMap;

use super::checkpoint::PbfsMark;
use super::deliver::Delivered;

/// How far a PBFS file is done.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// The window that comes next.
    next: u64,
    /// Windows that are acknowledged, and one before them isn't.
    early: BTreeMap<u64, Delivered>,
    /// Windows that are acknowledged, with all before them, and end within a chunk.
    within: Vec<Delivered>,
    dead_lettered: u64,
}

impl Watermark {
    /// Of a file for which there are these marks.
    pub(super) fn new(marks: &[PbfsMark]) -> Self {
        let dead_lettered = marks.iter().map(|mark| mark.dead_lettered).max().unwrap_or(0);
        Self { dead_lettered, ..Self::default() }
    }

    /// Takes what became of a window. Returns how far the file is done now, if that is further than before, and the
    /// windows that it is owed to.
    pub(super) fn add(&mut self, number: u64, delivered: Delivered) -> Option<(Vec<Delivered>, PbfsMark)> {
        self.early.insert(number, delivered);
        let mut mark = None;
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() == self.next) {
            if !entry.get().is_settled() {
                break;
            }
            let delivered = entry.remove();
            self.next += 1;
            self.dead_lettered += delivered.refused.len() as u64;
            if let Some(reached) = delivered.window.reached {
                let (end, hash, messages) = (reached.end, reached.hash, reached.messages);
                mark = Some(PbfsMark { end, hash, messages, dead_lettered: self.dead_lettered });
            }
            self.within.push(delivered);
        }
        mark.map(|mark| (std::mem::take(&mut self.within), mark))
    }

    /// Windows of which no mark tells; the next replay sends them again.
    pub(super) fn rest(&mut self) -> Vec<Delivered> {
        let early = std::mem::take(&mut self.early).into_values();
        std::mem::take(&mut self.within).into_iter().chain(early).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::window::{Reached, Window};

    fn window(end: Option<u64>, settled: bool) -> Delivered {
        let reached = end.map(|end| Reached { end, hash: [0; 32], messages: end });
        let seqs = std::iter::once(0..1).collect();
        let window = Window { records: 1, seqs, reached, ..Window::default() };
        let acknowledged = if settled { window.seqs.clone() } else { Vec::new() };
        Delivered { window, acknowledged, refused: Vec::new(), left_out: Vec::new(), stop: None }
    }

    #[test]
    fn a_file_is_done_as_far_as_there_is_no_hole() {
        let mut watermark = Watermark::new(&[]);
        let mut add = |number, end, settled| {
            let done = watermark.add(number, window(end, settled));
            done.map(|(windows, mark)| (windows.len(), mark.end))
        };
        assert_eq!(add(1, Some(20), true), None);
        assert_eq!(add(0, Some(10), true), Some((2, 20)));
        // It ends within a chunk: it counts with the window in which the chunk ends.
        assert_eq!(add(2, None, true), None);
        assert_eq!(add(4, Some(50), true), None);
        assert_eq!(add(3, Some(40), true), Some((3, 50)));
        assert_eq!(add(5, Some(60), false), None);
        assert_eq!(add(6, Some(70), true), None, "one before it isn't acknowledged");
        assert_eq!(watermark.rest().len(), 2);
    }
}
