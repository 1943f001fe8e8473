//! A reader of PBFS files, written from `format-spec/README.md` (section 8) alone: each checksum is summed anew.

use super::{Found, What};
use crate::{crc32, u32_at, u64_at};

const MOST_BYTES: u64 = 64 << 20;

/// A chunk whose length the file has room for and whose checksum holds [P-1], [P-2]: where it ends.
fn whole_at(file: &[u8], at: usize) -> Option<usize> {
    let len = u64_at(file, at + 4).filter(|&len| len <= MOST_BYTES)?;
    let end = at + 12 + len as usize;
    (crc32(file.get(at + 4..end)?) == u32_at(file, at)?).then_some(end)
}

/// [P-1]: the messages fill it exactly.
fn messages(payload: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut at, mut messages) = (0, Vec::new());
    while at < payload.len() {
        let len = u32_at(payload, at)? as usize;
        messages.push(payload.get(at + 4..at + 4 + len)?.to_vec());
        at += 4 + len;
    }
    Some(messages)
}

/// [P-3]: whether the first message fits, in the search for a beginning.
fn first_fits(file: &[u8], at: usize) -> bool {
    match u64_at(file, at + 4) {
        Some(0) => true,
        Some(len) => u32_at(file, at + 12).is_some_and(|first| u64::from(first) + 4 <= len),
        None => false,
    }
}

/// All of a file.
pub fn oracle(file: &[u8]) -> Vec<Found> {
    let (mut at, mut all) = (0, Vec::new());
    while at < file.len() {
        let found = |end: usize, what| Found { offset: at as u64, len: (end - at) as u64, what };
        if let Some(end) = whole_at(file, at) {
            let what = messages(&file[at + 12..end]).map_or(What::Damage("malformed"), What::Chunk);
            all.push(found(end, what));
            at = end;
            continue;
        }
        let stated = u64_at(file, at + 4);
        let possible = stated.is_none_or(|len| len <= MOST_BYTES);
        let end = stated.and_then(|len| (at as u64 + 12).checked_add(len)).filter(|&end| end <= file.len() as u64);
        let cause = if possible && end.is_some() { "chunk-checksum" } else { "chunk-length" };
        // Its length can be believed.
        if let Some(end) = end.filter(|_| possible).map(|end| end as usize)
            && (end == file.len() || whole_at(file, end).is_some())
        {
            all.push(found(end, What::Damage(cause)));
            at = end;
            continue;
        }
        let next = (at + 1..file.len()).find(|&next| first_fits(file, next) && whole_at(file, next).is_some());
        let torn = next.is_none() && possible && end.is_none();
        let end = next.unwrap_or(file.len());
        all.push(found(end, if torn { What::Torn } else { What::Damage(cause) }));
        at = end;
    }
    all
}
