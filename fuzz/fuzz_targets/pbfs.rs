//! Reading PBFS files: every byte is accounted for, the answer doesn't depend on how a file is handed over, and it is the
//! text's.
//!
//! The first byte says what the input is: even: how to mend, how to hand over, and a file; odd: chunks, and what happens
//! to them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sift_replay_fuzz::pbfs::{Found, Plan, What, mend, oracle, read, scan};
use sift_replay_fuzz::{Arbitrary, Change, Growth, Unstructured, apply, memory};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode & 1 == 1 {
        if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
            made(&case);
        }
        return;
    }
    let Some((&[which, a, b, c], file)) = rest.split_first_chunk::<4>() else { return };
    let mut file = file.to_vec();
    if mode & 2 != 0 {
        mend(&mut file, u64::from_le_bytes([which; 8]));
    }
    check(&file, &Growth::new([a, b, c]));
});

fn check(file: &[u8], growth: &Growth) -> Vec<Found> {
    let expected = oracle(file);
    let mut at = 0;
    for found in &expected {
        assert!(found.offset == at && found.len > 0, "what stands at {at}?");
        at += found.len;
    }
    assert_eq!(at, file.len() as u64, "what stands at {at}?");
    for growth in [growth, &Growth::new([255; 3])] {
        assert_eq!(scan(file, growth), expected, "in pieces");
    }
    for real in [false, true] {
        let found = memory::within(memory::for_reading(file.len()), "reading", || read(file, real));
        assert_eq!(found, expected, "a real file: {real}");
    }
    expected
}

#[derive(Debug, Arbitrary)]
struct Case {
    plan: Plan,
    changes: Vec<Change>,
    stale: Plan,
    growth: Growth,
}

fn made(case: &Case) {
    let (bytes, chunks) = case.plan.write();
    assert_eq!(oracle(&bytes), chunks, "the text's reader errs");
    let mut file = bytes;
    apply(&case.changes, &mut file, &case.stale.write().0);
    let found = check(&file, &case.growth);
    // [P-3]: a bit anywhere but in a length costs the chunk that has it.
    if let [Change::Flip { at, .. }] = case.changes[..]
        && !file.is_empty()
    {
        let at = u64::from(at) % file.len() as u64;
        let hit = chunks.iter().find(|chunk| (chunk.offset..chunk.offset + chunk.len).contains(&at));
        let hit = hit.expect("chunks fill the file");
        if !(4..12).contains(&(at - hit.offset)) {
            let missing: Vec<_> = chunks.iter().filter(|chunk| !found.contains(chunk)).collect();
            assert_eq!(missing, [hit]);
            let lost = found.iter().filter(|found| !matches!(found.what, What::Chunk(_)));
            assert_eq!(lost.map(|lost| (lost.offset, lost.len)).collect::<Vec<_>>(), [(hit.offset, hit.len)]);
        }
    }
}
