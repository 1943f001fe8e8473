//! Reading segments: every byte is accounted for, all ways of reading agree with each other and with the text, and whatever
//! happens to a file, what is read was written and what wasn't touched is read.
//!
//! The first byte says what the input is: even: how to mend, how to name, how to hand over, and a file; odd: a segment's
//! parts, and what happens to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sift_replay_fuzz::segment::readers::{self, Way};
use sift_replay_fuzz::segment::{Found, Place, Plan, SESSION, What, Written, check_coverage, id_of, oracle};
use sift_replay_fuzz::{Arbitrary, Change, Growth, Unstructured, apply, keep_places, memory, mend};

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    if mode & 1 == 0 {
        raw(mode, rest);
    } else if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
        made(&case);
    }
});

/// Bytes as they are, with some of their checksums made right.
fn raw(mode: u8, rest: &[u8]) {
    let Some((&[which, a, b, c], file)) = rest.split_first_chunk::<4>() else { return };
    let mut file = file.to_vec();
    let id = id_of(SESSION, 0);
    let which = u64::from_le_bytes([which; 8]);
    let ids = if mode & 4 == 0 { None } else { Some(id) };
    if mode & 2 != 0 {
        mend(&mut file, ids, which, mode & 8 == 0);
    }
    let name = match mode >> 5 {
        0 => "unnamed".to_owned(),
        1 => format!("{SESSION}-000000.sfr.open"),
        2 => format!("{SESSION}-000001.sfr"),
        _ => format!("{SESSION}-000000.sfr"),
    };
    check(&name, &file, &Growth::new([a, b, c]));
}

/// All ways of reading find the same.
fn check(name: &str, file: &[u8], growth: &Growth) {
    let who = oracle::identify(name, file);
    for id in [who.id, None, Some(id_of(SESSION, 0))] {
        let expected = oracle::scan(file, id);
        let places: Vec<Place> = expected.iter().map(|(place, _)| place.clone()).collect();
        let seal = expected.iter().find(|(_, header)| header.is_some_and(|header| header.kind == 5));
        let covered: Vec<_> = places.iter().map(|place| (place.offset, place.len)).collect();
        check_coverage(file, &covered, seal.map(|(place, _)| place.offset + place.len));
        assert_eq!(readers::scan(file, id, growth), places, "in pieces");
        assert_eq!(readers::scan(file, id, &Growth::new([255; 3])), places, "in long pieces");
    }
    let expected: Vec<_> = oracle::read(file, who.id).into_iter().map(|f| (f.offset + f.len, f.what)).collect();
    // What follows a sealed segment's SEAL is silent, if it is as it should be.
    for way in [Way::Memory, Way::Plain, Way::File] {
        let (found_who, found) =
            memory::within(memory::for_reading(file.len()), "reading", || readers::read(name, file, way));
        // The first sound frame tells the id, if nothing else does.
        assert_eq!(found_who, who, "{way:?}");
        assert_eq!(found.len(), expected.len(), "{way:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.1, expected.1, "{way:?}");
            assert_eq!(found.0, expected.0, "{way:?}: behind {:?}", found.1);
        }
    }
}

#[derive(Debug, Arbitrary)]
struct Case {
    plan: Plan,
    changes: Vec<Change>,
    growth: Growth,
    open_name: bool,
}

/// A segment, and what happens to it.
fn made(case: &Case) {
    let written = case.plan.write(false);
    assert_eq!(oracle::read(&written.bytes, Some(written.id)), written.found, "the text's reader errs");
    let mut file = written.bytes.clone();
    if !case.changes.is_empty() {
        apply(&case.changes, &mut file, &case.plan.write(true).bytes);
    }
    let suffix = if case.open_name { "sfr.open" } else { "sfr" };
    check(&format!("{SESSION}-{:06}.{suffix}", case.plan.index()), &file, &case.growth);

    let found = oracle::read(&file, Some(written.id));
    nothing_invented(&written, &found);
    if keep_places(&case.changes) {
        nothing_else_lost(&written, &file, &found);
    }
}

fn is_read(found: &&Found) -> bool {
    !matches!(found.what, What::Damage { .. } | What::Torn { .. })
}

/// What repeats seqs can't be told from what doesn't if the frames ahead of it are lost.
fn repeats(found: &Found) -> bool {
    matches!(found.what, What::Damage { cause: "seq-backwards", .. })
}

/// What is read was written, where it stands, and in that order.
fn nothing_invented(written: &Written, found: &[Found]) {
    let mut next = 0;
    for found in found.iter().filter(is_read) {
        let known = written.found.iter().find(|known| known.offset == found.offset);
        let known = known.unwrap_or_else(|| panic!("nothing was written at {}: {found:?}", found.offset));
        assert!(known == found || repeats(known), "{known:?} was written, {found:?} is read");
        if let What::Records { first_seq, records, .. } = &found.what {
            assert!(*first_seq >= next, "seq {first_seq} behind {next}");
            next = first_seq + records.len() as u64;
        }
    }
}

/// Damage costs the frames that it touches.
fn nothing_else_lost(written: &Written, file: &[u8], found: &[Found]) {
    let same = |known: &&Found| {
        let place = known.offset as usize..(known.offset + known.len) as usize;
        file[place.clone()] == written.bytes[place]
    };
    let expected: Vec<_> = written.found.iter().filter(same).filter(is_read).collect();
    let again = |found: &&Found| written.found.iter().any(|known| known.offset == found.offset && repeats(known));
    let found: Vec<_> = found.iter().filter(is_read).filter(|found| !again(found)).collect();
    assert_eq!(found, expected);
}
