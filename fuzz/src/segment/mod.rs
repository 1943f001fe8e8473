//! Segments: made ([`Plan`]), read by the text ([`oracle`]), and read by the crate ([`readers`]).

mod model;
pub mod oracle;
pub mod readers;

pub use model::{Plan, Written, id_of};

use sift_replay::format::{AddedFlows, MarkMessage, Seal, SegmentHeader};
use uuid::Uuid;

/// [F-5]
pub const SYNC: [u8; 8] = [0xd7, 0x1c, 0x4a, 0xe9, 0x85, 0x3b, 0xf2, 0x60];
/// [F-3]
pub const MAGIC: [u8; 8] = *b"\x89SFR\r\n\x1a\n";
/// [F-4]
pub const HEADER_BYTES: usize = 72;

/// The session of the golden vectors, and of all segments here.
pub const SESSION: Uuid = Uuid::from_u128(0x0193_5f6e_1b2c_7000_8123_4567_89ab_cdef);

/// A stretch of a file, and what was found there.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub offset: u64,
    pub len: u64,
    pub what: What,
}

/// What is found in a segment: `sift_replay::segment::Event`, with everything in it.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Header(SegmentHeader),
    Records { first_seq: u64, bare: bool, times: (i64, i64), records: Vec<Vec<u8>> },
    Schema(AddedFlows),
    Mark(MarkMessage),
    Seal(Box<Seal>),
    Skipped { reason: Skipped, seqs: Option<(u64, u64)> },
    Damage { cause: &'static str, seqs: Option<(u64, u64)> },
    Torn { seqs: Option<(u64, u64)> },
}

/// Why a sound frame isn't read.
#[derive(Debug, Clone, PartialEq)]
pub enum Skipped {
    Kind(u8),
    Codec(u8),
    Flags(u16),
}

/// What a scanner finds: frames aren't opened yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    pub offset: u64,
    pub len: u64,
    pub what: Stands,
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq)]
pub enum Stands {
    Frame,
    Damage { cause: &'static str, seqs: Option<(u64, u64)> },
    Torn { seqs: Option<(u64, u64)> },
}

/// [F-38]: what was found is in the file's order, and between magic and trailer leaves nothing out and has nothing twice.
/// `sealed_at` is where SEAL ends, if the file has a sound header of one.
pub fn check_coverage(file: &[u8], found: &[(u64, u64)], seal_ends: Option<u64>) {
    let mut at = 0;
    for &(offset, len) in found {
        assert!(len > 0, "nothing at {offset}");
        let silent = if at == 0 && file.starts_with(&MAGIC) {
            MAGIC.len() as u64
        } else if Some(at) == seal_ends && offset > at {
            16
        } else {
            0
        };
        assert_eq!(offset, at + silent, "what stands at {at}?");
        at = offset + len;
    }
    let rest = file.len() as u64 - at;
    let whole = rest == 0 || (at == 0 && file == MAGIC) || (rest == 16 && Some(at) == seal_ends);
    assert!(whole, "what stands at {at}, the last {rest} bytes?");
}
