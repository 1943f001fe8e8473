//! Makes checksums right, so that arbitrary bytes get past them.

use crate::segment::{HEADER_BYTES, SYNC};
use crate::{crc32, u32_at};

/// Gives what begins with a marker its own place, an id and the right checksums: the `i`-th such header if bit `i` of
/// `which` is set (of 64; then the first again). `payloads` says that those of payloads are made right, too.
pub fn mend(bytes: &mut [u8], id: Option<u64>, which: u64, payloads: bool) {
    let (mut at, mut i) = (0, 0);
    while at + HEADER_BYTES <= bytes.len() {
        if bytes[at..at + SYNC.len()] != SYNC {
            at += 1;
            continue;
        }
        if which >> (i % 64) & 1 == 1 {
            mend_header(bytes, at, id, payloads);
        }
        i += 1;
        at += SYNC.len();
    }
}

fn mend_header(bytes: &mut [u8], at: usize, id: Option<u64>, payloads: bool) {
    if let Some(id) = id {
        bytes[at + 48..at + 56].copy_from_slice(&id.to_le_bytes());
    }
    bytes[at + 56..at + 64].copy_from_slice(&(at as u64).to_le_bytes());
    let stored = u32_at(bytes, at + 12).and_then(|len| bytes.get(at + HEADER_BYTES..)?.get(..len as usize)).map(crc32);
    if let Some(crc) = stored.filter(|_| payloads) {
        bytes[at + 64..at + 68].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32(&bytes[at..at + 68]);
    bytes[at + 68..at + 72].copy_from_slice(&crc.to_le_bytes());
}
