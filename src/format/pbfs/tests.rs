use super::*;
use crate::format::range_crc::tests::HASHED;

fn put_chunk(file: &mut Vec<u8>, messages: &[&[u8]]) {
    let mut rest = Vec::new();
    let payload: Vec<u8> = messages.iter().flat_map(|m| [&(m.len() as u32).to_le_bytes()[..], m].concat()).collect();
    rest.extend((payload.len() as u64).to_le_bytes());
    rest.extend(payload);
    file.extend(crc32fast::hash(&rest).to_le_bytes());
    file.extend(rest);
}

fn scan(file: &[u8], growth: usize) -> Vec<String> {
    let mut scanner = PbfsScanner::new();
    let (mut seen, mut found, mut covered) = (0, Vec::new(), 0);
    loop {
        let begin = scanner.position() as usize;
        match scanner.step(&file[begin..seen.max(begin)], seen == file.len()) {
            PbfsStep::Chunk(chunk) => {
                assert_eq!(chunk.bytes, &file[begin..begin + PBFS_HEADER_BYTES + chunk.payload.len()]);
                assert_eq!(chunk.messages().count(), chunk.count as usize);
                covered += (PBFS_HEADER_BYTES + chunk.payload.len()) as u64;
                found.extend(chunk.messages().map(|m| String::from_utf8_lossy(m).into_owned()));
            }
            PbfsStep::Damage(damage) => {
                covered += damage.len;
                found.push(format!("{} at {} +{}", damage.cause.as_str(), damage.offset, damage.len));
            }
            PbfsStep::Torn(torn) => {
                covered += torn.len;
                found.push(format!("torn at {} +{}", torn.offset, torn.len));
            }
            PbfsStep::NeedMore(bytes) => {
                assert!(bytes <= PBFS_HEADER_BYTES + MAX_PBFS_CHUNK_BYTES as usize, "[P-2] {bytes} bytes asked for");
                assert!(seen < file.len() && scanner.position() as usize + bytes > seen);
                seen = (seen + growth).min(file.len());
            }
            PbfsStep::End => break,
        }
    }
    assert_eq!(covered, file.len() as u64, "every byte is accounted for");
    found
}

fn three() -> Vec<u8> {
    let mut file = Vec::new();
    put_chunk(&mut file, &[b"one"]);
    put_chunk(&mut file, &[b"two", b"and", b""]);
    put_chunk(&mut file, &[]);
    put_chunk(&mut file, &[b"three"]);
    file
}

#[test]
fn chunks_hold_any_number_of_messages() {
    for growth in [1, 5, 1000] {
        assert_eq!(scan(&three(), growth), ["one", "two", "and", "", "three"]);
    }
}

#[test]
fn a_damaged_chunk_costs_that_chunk_also_when_its_length_is_garbage() {
    for (at, bytes, cause) in [
        (0, &[0xff][..], "chunk-checksum"),
        (4, &[0xff; 8][..], "chunk-length"),
        (4, &[8, 0, 0, 0, 0, 0, 0, 0], "chunk-checksum"),
        (4, &[0, 0, 0, 3, 0, 0, 0, 0], "chunk-length"),
        (18, b"!", "chunk-checksum"),
    ] {
        let mut file = three();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        for growth in [1, 1000] {
            assert_eq!(scan(&file, growth), [&format!("{cause} at 0 +19"), "two", "and", "", "three"], "{at}");
        }
    }
}

#[test]
fn a_chunk_within_a_damaged_message_is_not_taken_for_one() {
    let mut nested = Vec::new();
    put_chunk(&mut nested, &[b"inner"]);
    let mut file = Vec::new();
    put_chunk(&mut file, &[b"before", &nested]);
    file[0] ^= 1;
    let end = file.len();
    for more in [&[][..], &[&b"after"[..]]] {
        let mut file = file.clone();
        put_chunk(&mut file, more);
        assert!(!scan(&file, 1000).contains(&"inner".to_owned()));
    }
    for growth in [1, 13, 1000] {
        assert_eq!(scan(&file, growth), [format!("chunk-checksum at 0 +{end}")]);
        let mut followed = file.clone();
        put_chunk(&mut followed, &[b"after"]);
        assert_eq!(scan(&followed, growth), [&format!("chunk-checksum at 0 +{end}"), "after"], "{growth}");
    }
}

#[test]
fn a_chunk_that_is_wholly_at_hand_is_found_at_once_however_the_file_is_handed_over() {
    // So long that no byte ahead of it looks like a chunk's first: nothing else has to be waited for.
    let (mut file, long) = (vec![0xff; 40], "x".repeat(300_000));
    put_chunk(&mut file, &[long.as_bytes()]);
    put_chunk(&mut file, &[b"next"]);
    for growth in [1, 1000] {
        assert_eq!(scan(&file, growth), ["chunk-length at 0 +40", &long, "next"], "{growth}");
    }
}

#[test]
fn damage_does_not_end_where_the_first_message_would_not_fit() {
    // [P-3]: what begins there has a length and a checksum that hold, and isn't a chunk that anybody wrote.
    for payload in [&[9, 0, 0, 0, 1, 2, 3, 4][..], &[5, 0, 0, 0, 1, 2, 3, 4], &[0; 3], &[0; 1]] {
        let mut rest = (payload.len() as u64).to_le_bytes().to_vec();
        rest.extend(payload);
        let mut file = vec![0xff; 40];
        file.extend(crc32fast::hash(&rest).to_le_bytes());
        file.extend(rest);
        let end = file.len();
        put_chunk(&mut file, &[b"found"]);
        for growth in [1, 1000] {
            assert_eq!(scan(&file, growth), [&format!("chunk-length at 0 +{end}"), "found"], "{payload:?}");
        }
    }
}

#[test]
fn damage_ends_at_a_chunk_that_holds_nothing_too() {
    for first in [&[][..], &[&b""[..]], &[&b""[..], b""]] {
        let mut file = vec![0xff; 40];
        put_chunk(&mut file, first);
        put_chunk(&mut file, &[b"next"]);
        for growth in [1, 1000] {
            let found = scan(&file, growth);
            assert_eq!((&*found[0], found.len()), ("chunk-length at 0 +40", first.len() + 2), "{found:?}");
        }
    }
}

#[test]
fn the_greatest_length_is_a_length_and_the_next_is_garbage() {
    let begin = |len: u64| [&[0; 4][..], &len.to_le_bytes(), &[0; 4]].concat();
    let (most, beyond) = (begin(MAX_PBFS_CHUNK_BYTES), begin(MAX_PBFS_CHUNK_BYTES + 1));
    let whole = PBFS_HEADER_BYTES + MAX_PBFS_CHUNK_BYTES as usize;
    assert_eq!((plausible_len(&most), plausible_len(&beyond)), (Some(whole), None));
    assert!(matches!(PbfsScanner::new().step(&most, false), PbfsStep::NeedMore(needed) if needed == whole));
    assert_eq!(scan(&most, 1), ["torn at 0 +16"]);
    assert_eq!(scan(&beyond, 1), ["chunk-length at 0 +16"]);
}

#[test]
fn a_torn_chunk_is_not_damage() {
    let file = three();
    assert_eq!(scan(&file[..file.len() - 2], 3).last().unwrap(), "torn at 61 +19");
    assert_eq!(scan(&file[..63], 3).last().unwrap(), "torn at 61 +2");
    assert_eq!(scan(b"", 1), Vec::<String>::new());
}

#[test]
fn a_first_message_that_does_not_fit_does_not_make_a_chunk_of_a_message() {
    let mut nested = Vec::new();
    put_chunk(&mut nested, &[b"inner"]);
    let mut file = Vec::new();
    put_chunk(&mut file, &[b"before", &nested]);
    // The length of the first message, which is longer than the chunk then; what tells the chunk's own still stands.
    file[14] = 1;
    let end = file.len();
    put_chunk(&mut file, &[b"after"]);
    for growth in [1, 13, 1000] {
        assert_eq!(scan(&file, growth), [&format!("chunk-checksum at 0 +{end}"), "after"], "{growth}");
        assert_eq!(scan(&file[..end], growth), [format!("chunk-checksum at 0 +{end}")], "{growth}");
    }
}

/// How many bytes are summed to scan this so many times over.
fn hashed(piece: &[u8], times: usize) -> usize {
    HASHED.set(0);
    scan(&piece.repeat(times), usize::MAX >> 1);
    HASHED.get()
}

#[test]
fn hostile_bytes_take_linear_time() {
    // Each begins a chunk that could be 64 KiB long: a reader that sums each takes 64 KiB × the file.
    let word = [0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    // The same with a sound chunk behind each: each is damage of its own, with a search of its own.
    let mut between = Vec::from([0xff; 12]);
    between.extend([1, 2, 3, 4, 0, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    put_chunk(&mut between, &[]);
    // Each is damaged, and 256 KiB long by its length.
    let mut damaged = vec![1, 2, 3, 4, 0, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    put_chunk(&mut damaged, &[]);
    for (piece, times) in [(&word[..], 50_000), (&between, 60_000), (&damaged, 60_000)] {
        let (small, large) = (hashed(piece, times), hashed(piece, 2 * times));
        let most = 2 * times * piece.len() * 3 * RangeCrc::BLOCK as usize;
        assert!(small > 0 && large < small * 5 / 2 && large < most, "{small}, and for twice the file {large}");
    }
}
