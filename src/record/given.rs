//! Values that are given by their channels' names: each once.

/// Which channels were given already. Few flows have more channels than fit without an allocation.
pub(super) struct Given {
    few: [u64; 4],
    many: Vec<u64>,
}

impl Given {
    pub(super) fn new(channels: usize) -> Self {
        let few = [0; 4];
        let beyond = channels.div_ceil(64).saturating_sub(few.len());
        Self { few, many: vec![0; beyond] }
    }

    /// Notes that the channel was given; `false` if it was before.
    pub(super) fn set(&mut self, at: usize) -> bool {
        let (word, bit) = (at / 64, 1 << (at % 64));
        let word = match self.few.get_mut(word) {
            Some(word) => Some(word),
            None => self.many.get_mut(word - self.few.len()),
        };
        word.is_some_and(|word| {
            let new = *word & bit == 0;
            *word |= bit;
            new
        })
    }
}
