//! Windows of a PBFS file that were acknowledged out of order, and how far the file is done without a hole.

use std::collections::BTreeMap;

use super::checkpoint::PbfsMark;
use super::deliver::Delivered;
use super::window::Reached;

/// How far a PBFS file is done.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    /// The window that comes next.
    next: u64,
    /// Windows that are done, and one before them isn't yet.
    early: BTreeMap<u64, Delivered>,
    /// Windows that are done, with all before them, and end within a chunk.
    within: Vec<Delivered>,
    /// The first window that won't be done. No mark reaches beyond it.
    hole: Option<u64>,
    /// Bytes of the file that a mark tells of.
    marked: u64,
    /// Dead letters in windows that are done.
    dead_lettered: u64,
}

/// What a window that came brings about.
#[derive(Debug, Default)]
pub(super) struct Reckoned {
    /// How far the file is done now, if that is further than before, and the windows that it is owed to.
    pub(super) marked: Option<(Vec<Delivered>, PbfsMark)>,
    /// Windows of which no mark will ever tell; the next replay sends them again.
    pub(super) unmarked: Vec<Delivered>,
}

impl Watermark {
    /// Takes what became of a window.
    pub(super) fn add(&mut self, number: u64, delivered: Delivered) -> Reckoned {
        if !delivered.is_settled() {
            self.hole = Some(self.hole.map_or(number, |hole| hole.min(number)));
        }
        self.early.insert(number, delivered);
        let (mut mark, mut done) = (None, 0);
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() == self.next) {
            if self.hole == Some(self.next) {
                break;
            }
            let mut delivered = entry.remove();
            self.next += 1;
            self.dead_lettered += delivered.refused.len() as u64;
            // It waits for the end of its chunk, which may be many windows away: they must have their turn.
            delivered.window.flight = None;
            let reached = delivered.window.reached.filter(|reached| reached.end > self.marked);
            self.within.push(delivered);
            if let Some(Reached { end, hash, messages, dead_lettered }) = reached {
                self.marked = end;
                done = self.within.len();
                let dead_lettered = dead_lettered + self.dead_lettered;
                mark = Some(PbfsMark { end, hash, messages, dead_lettered });
            }
        }
        let marked = mark.map(|mark| (self.within.drain(..done).collect(), mark));
        let mut unmarked: Vec<_> = match self.hole {
            Some(hole) => self.early.split_off(&hole).into_values().collect(),
            None => Vec::new(),
        };
        if self.hole == Some(self.next) {
            unmarked.append(&mut self.within);
        }
        Reckoned { marked, unmarked }
    }

    /// Windows of which no mark tells yet.
    pub(super) fn rest(&mut self) -> Vec<Delivered> {
        let early = std::mem::take(&mut self.early).into_values();
        std::mem::take(&mut self.within).into_iter().chain(early).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::slots::Slots;
    use crate::replay::window::Window;

    fn window(end: Option<u64>, settled: bool) -> Delivered {
        let reached = end.map(|end| Reached { end, hash: [0; 32], messages: end, dead_lettered: 0 });
        let seqs = std::iter::once(0..1).collect();
        let window = Window { records: 1, seqs, reached, ..Window::default() };
        let acknowledged = if settled { window.seqs.clone() } else { Vec::new() };
        Delivered { window, acknowledged, refused: Vec::new(), left_out: Vec::new(), stop: None }
    }

    fn add(watermark: &mut Watermark, number: u64, end: Option<u64>, settled: bool) -> (Option<(usize, u64)>, usize) {
        let reckoned = watermark.add(number, window(end, settled));
        (reckoned.marked.map(|(windows, mark)| (windows.len(), mark.end)), reckoned.unmarked.len())
    }

    #[test]
    fn a_file_is_done_as_far_as_there_is_no_hole() {
        let mut watermark = Watermark::default();
        let mut add = |number, end, settled| add(&mut watermark, number, end, settled);
        assert_eq!(add(1, Some(20), true), (None, 0));
        assert_eq!(add(0, Some(10), true), (Some((2, 20)), 0));
        // It ends within a chunk: it counts with the window in which the chunk ends.
        assert_eq!(add(2, Some(20), true), (None, 0));
        assert_eq!(add(4, Some(50), true), (None, 0));
        assert_eq!(add(3, Some(40), true), (Some((3, 50)), 0));
        assert_eq!(add(7, Some(80), true), (None, 0));
        assert_eq!(add(6, Some(70), false), (None, 2), "no mark will tell of what is behind it");
        assert_eq!(add(8, Some(90), true), (None, 1));
        assert_eq!(add(5, Some(60), true), (Some((1, 60)), 0));
        assert_eq!(watermark.rest().len(), 0);
    }

    #[test]
    fn a_hole_within_a_chunk_leaves_the_chunk_to_the_next_replay() {
        let mut watermark = Watermark::default();
        let mut add = |number, end, settled| add(&mut watermark, number, end, settled);
        assert_eq!(add(0, None, true), (None, 0));
        assert_eq!(add(3, Some(10), false), (None, 1));
        assert_eq!(add(2, None, false), (None, 1));
        assert_eq!(add(1, None, true), (None, 2));
        assert_eq!(watermark.rest().len(), 0);
    }

    #[test]
    fn a_chunk_of_many_windows_keeps_no_others_from_their_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _in = runtime.enter();
        let slots = Slots::new(1, 1);
        let mut watermark = Watermark::default();
        for number in 0..10 {
            let flight = std::thread::scope(|scope| scope.spawn(|| slots.take_flight().unwrap()).join().unwrap());
            let mut delivered = window((number == 9).then_some(100), true);
            delivered.window.flight = Some(flight);
            assert_eq!(watermark.add(number, delivered).marked.is_some(), number == 9);
        }
    }
}
