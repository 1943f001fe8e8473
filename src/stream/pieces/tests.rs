use std::pin::pin;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Wake;

use sift_rs::ingestion_configs::v2::CreateIngestionConfigRequest;

use super::*;

fn leg() -> Arc<Leg> {
    Arc::new(Leg::new(Uuid::now_v7(), CreateIngestionConfigRequest::default(), None, Weak::new()))
}

/// What the record with this seq holds: its number, and as many bytes more as are asked for.
fn record(seq: u64, more: usize) -> Vec<u8> {
    let mut record = seq.to_le_bytes().to_vec();
    record.resize(8 + more, seq as u8);
    record
}

fn piece(leg: &Arc<Leg>, seqs: Range<u64>, more: usize) -> Piece {
    let mut payload = Vec::new();
    for seq in seqs.clone() {
        let record = record(seq, more);
        payload.extend_from_slice(&(record.len() as u32).to_le_bytes());
        payload.extend_from_slice(&record);
    }
    Piece::new(leg.clone(), seqs.start, seqs.end - seqs.start, true, payload)
}

fn queue(requests: u64, bytes: usize) -> Pieces {
    Pieces::new(Capacity { requests, bytes })
}

fn offer(pieces: &Pieces, leg: &Arc<Leg>, bytes: usize) -> Result<u64, OfferError> {
    pieces.offer(leg, |out| {
        out.resize(out.len() + bytes, 7);
        Ok(true)
    })
}

/// The numbers of a piece's records, which must be whole, and its seqs.
fn numbers(piece: &Piece) -> Vec<u64> {
    let numbers: Vec<_> = piece
        .records()
        .map(|bytes| {
            let seq = u64::from_le_bytes(*bytes.first_chunk().unwrap());
            assert_eq!(bytes, record(seq, bytes.len() - 8));
            seq
        })
        .collect();
    assert_eq!(numbers, piece.seqs().collect::<Vec<_>>());
    numbers
}

/// Counts how often it was woken; `then` is done each time.
struct Alarm<F>(AtomicU64, F);

impl<F: Fn() + Send + Sync> Wake for Alarm<F> {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        (self.1)();
    }
}

fn alarm() -> Arc<Alarm<fn()>> {
    Arc::new(Alarm(AtomicU64::new(0), || ()))
}

fn woken<F>(alarm: &Alarm<F>) -> u64 {
    alarm.0.load(Ordering::SeqCst)
}

fn polled<T>(future: impl Future<Output = T>, alarm: &Arc<Alarm<fn()>>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(&alarm.clone().into()))
}

fn next(pieces: &Pieces) -> Option<Piece> {
    match polled(pieces.next(), &alarm()) {
        Poll::Ready(piece) => piece,
        Poll::Pending => panic!("it is empty"),
    }
}

#[test]
fn the_oldest_requests_give_way_and_no_more_than_must() {
    let (leg, queue) = (leg(), queue(5, usize::MAX));
    assert_eq!(queue.push(piece(&leg, 0..4, 3)), []);
    assert_eq!(queue.push(piece(&leg, 4..6, 3)), [(leg.id, 0..1)]);
    // Whole pieces and a part of one, told as one range.
    assert_eq!(queue.push(piece(&leg, 6..10, 3)), [(leg.id, 1..5)]);
    assert_eq!(queue.depth(), 5);
    assert_eq!((numbers(&next(&queue).unwrap()), numbers(&next(&queue).unwrap())), (vec![5], vec![6, 7, 8, 9]));
    assert_eq!(queue.depth(), 0);
}

#[test]
fn a_piece_larger_than_the_queue_leaves_its_newest_requests() {
    let (leg, queue) = (leg(), queue(10, usize::MAX));
    assert_eq!(queue.push(piece(&leg, 0..3, 0)), []);
    assert_eq!(queue.push(piece(&leg, 3..103, 0)), [(leg.id, 0..93)]);
    assert_eq!(numbers(&next(&queue).unwrap()), (93..103).collect::<Vec<_>>());
}

#[test]
fn bytes_bound_it_too_but_a_single_request_always_has_room() {
    let (leg, queue) = (leg(), queue(100, 60));
    // 4 of prefix, 8 of number, 8 more.
    assert_eq!(queue.push(piece(&leg, 0..3, 8)), []);
    assert_eq!(queue.push(piece(&leg, 3..4, 8)), [(leg.id, 0..1)]);
    assert_eq!(queue.push(piece(&leg, 4..5, 1000)), [(leg.id, 1..4)]);
    assert_eq!(queue.depth(), 1);
    assert_eq!(queue.push(piece(&leg, 5..6, 8)), [(leg.id, 4..5)]);
    assert_eq!(numbers(&next(&queue).unwrap()), [5]);
}

#[test]
fn what_gives_way_is_told_apart_by_leg() {
    let (one, other, queue) = (leg(), leg(), queue(2, usize::MAX));
    queue.push(piece(&one, 7..9, 0));
    assert_eq!(queue.push(piece(&other, 0..3, 0)), [(one.id, 7..9), (other.id, 0..1)]);
    assert!(Arc::ptr_eq(&next(&queue).unwrap().leg, &other));
}

#[test]
fn whatever_is_pushed_is_taken_or_gives_way_once_in_order_and_the_bounds_hold() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (leg, capacity) = (leg(), Capacity { requests: random.u64(1..20), bytes: random.usize(1..600) });
        let queue = Pieces::new(capacity);
        let (mut fate, mut seq) = (Vec::new(), 0);
        for _ in 0..100 {
            if random.bool() {
                let (count, more) = (random.u64(1..12), random.usize(0..40));
                for (id, seqs) in queue.push(piece(&leg, seq..seq + count, more)) {
                    assert_eq!(id, leg.id);
                    fate.extend(seqs.map(|seq| (seq, "gave way")));
                }
                seq += count;
            } else if queue.depth() > 0 {
                let taken = next(&queue).unwrap();
                fate.extend(numbers(&taken).into_iter().map(|seq| (seq, "taken")));
                queue.settle(taken.count, taken.bytes());
            }
            let state = queue.lock();
            let count: u64 = state.queue.iter().map(|piece| piece.count).sum();
            let bytes: usize = state.queue.iter().map(Piece::bytes).sum();
            assert_eq!((state.requests, state.bytes), (count, bytes), "seed {seed}");
            assert!(count <= capacity.requests && (bytes <= capacity.bytes || count == 1), "seed {seed}");
            assert!(state.queue.iter().all(|piece| piece.count > 0), "seed {seed}");
        }
        for piece in queue.drain() {
            fate.extend(numbers(&piece).into_iter().map(|seq| (seq, "left")));
        }
        // Each once and, whatever became of it, in order.
        assert_eq!(fate.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (0..seq).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(queue.depth(), 0);
    }
}

#[test]
fn a_closed_queue_takes_nothing_and_gives_out_what_it_has() {
    let (leg, queue) = (leg(), queue(10, usize::MAX));
    queue.push(piece(&leg, 0..2, 0));
    queue.close("the first reason");
    queue.close("another one");
    assert_eq!(queue.closed().as_deref(), Some("the first reason"));
    assert_eq!(queue.push(piece(&leg, 2..4, 0)), [(leg.id, 2..4)]);
    assert!(matches!(offer(&queue, &leg, 1), Err(OfferError::Closed)));
    assert_eq!(numbers(&next(&queue).unwrap()), [0, 1]);
    assert!(next(&queue).is_none());
}

#[test]
fn seqs_of_what_is_offered_have_no_gaps_even_where_encoding_fails() {
    let (leg, queue) = (leg(), queue(100, usize::MAX));
    let fail = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"half of it");
        Err(RecordError::Finished)
    };
    for seq in 0..6 {
        assert!(matches!(queue.offer(&leg, fail), Err(OfferError::Record(RecordError::Finished))));
        let offered = queue.offer(&leg, |out| {
            out.extend_from_slice(&record(seq, seq as usize));
            Ok(seq != 4)
        });
        assert_eq!(offered.unwrap(), seq);
    }
    assert!(queue.offer(&leg, fail).is_err());
    assert_eq!((queue.depth(), queue.received()), (6, (6, 6 * 8 + 15)));
    let piece = next(&queue).unwrap();
    assert_eq!(numbers(&piece), [0, 1, 2, 3, 4, 5]);
    assert!(!piece.bare, "one of them has ids of its own");
    assert_eq!(queue.depth(), 0);
    // An offer that fails leaves no empty piece behind.
    assert!(queue.offer(&leg, fail).is_err());
    assert!(polled(queue.next(), &alarm()).is_pending());
}

#[test]
fn a_leg_or_a_full_piece_begins_another_one() {
    let (one, other, queue) = (leg(), leg(), queue(1000, usize::MAX));
    offer(&queue, &one, 1).unwrap();
    offer(&queue, &other, PIECE_BYTES).unwrap();
    offer(&queue, &other, 1).unwrap();
    let pieces = queue.drain();
    assert_eq!(pieces.iter().map(Piece::seqs).collect::<Vec<_>>(), [0..1, 1..2, 2..3]);
    assert!(Arc::ptr_eq(&pieces[0].leg, &one) && Arc::ptr_eq(&pieces[1].leg, &other));
}

#[test]
fn what_is_taken_out_counts_until_it_is_settled() {
    let (leg, queue) = (leg(), queue(3, usize::MAX));
    for _ in 0..3 {
        offer(&queue, &leg, 10).unwrap();
    }
    assert!(matches!(offer(&queue, &leg, 10), Err(OfferError::Full)));
    let piece = next(&queue).unwrap();
    assert!(matches!(offer(&queue, &leg, 10), Err(OfferError::Full)), "it is in memory still");
    let alarm = alarm();
    assert!(polled(std::future::poll_fn(|cx| queue.poll_room(cx)), &alarm).is_pending());
    queue.settle(piece.count, piece.bytes());
    assert_eq!(woken(&alarm), 1);
    assert!(polled(std::future::poll_fn(|cx| queue.poll_room(cx)), &alarm).is_ready());
    assert_eq!(offer(&queue, &leg, 10).unwrap(), 3);
    // Settling more than there is takes nothing from what is to come.
    queue.settle(100, 1 << 40);
    assert_eq!(queue.depth(), 1);
}

#[test]
fn bytes_bound_what_is_offered_and_one_request_may_be_larger() {
    let (leg, queue) = (leg(), queue(100, 50));
    offer(&queue, &leg, 1000).unwrap();
    assert!(matches!(offer(&queue, &leg, 1), Err(OfferError::Full)));
    let piece = next(&queue).unwrap();
    assert_eq!(piece.bytes(), 1004);
    queue.settle(piece.count, piece.bytes());
    // Each takes 4 bytes more than it has; the one that goes beyond the bound is the last.
    for _ in 0..3 {
        offer(&queue, &leg, 16).unwrap();
    }
    assert!(matches!(offer(&queue, &leg, 1), Err(OfferError::Full)));
}

#[test]
fn a_queue_for_nothing_holds_one() {
    let (leg, queue) = (leg(), queue(0, 0));
    offer(&queue, &leg, 10).unwrap();
    assert!(matches!(offer(&queue, &leg, 10), Err(OfferError::Full)));
    assert_eq!(queue.drain().len(), 1);
    assert_eq!(queue.push(piece(&leg, 1..3, 0)), [(leg.id, 1..2)]);
}

#[test]
fn all_who_wait_for_room_are_woken_once_by_whatever_makes_some() {
    type Change = fn(&Pieces);
    let changes: [Change; 3] = [|queue| queue.settle(1, 14), |queue| queue.close("over"), |queue| drop(queue.drain())];
    for change in changes {
        let (leg, queue) = (leg(), queue(1, usize::MAX));
        offer(&queue, &leg, 10).unwrap();
        let alarms = [alarm(), alarm(), alarm()];
        for alarm in &alarms {
            // Who asks twice is woken once.
            assert!(polled(std::future::poll_fn(|cx| queue.poll_room(cx)), alarm).is_pending());
            assert!(polled(std::future::poll_fn(|cx| queue.poll_room(cx)), alarm).is_pending());
        }
        change(&queue);
        change(&queue);
        assert_eq!(alarms.each_ref().map(|alarm| woken(alarm)), [1, 1, 1]);
    }
}

#[test]
fn who_is_woken_may_ask_for_room_at_once() {
    let (leg, queue) = (leg(), Arc::new(queue(1, usize::MAX)));
    offer(&queue, &leg, 10).unwrap();
    let (again, inner) = (queue.clone(), leg.clone());
    // A test that fails must not hang: if the lock is held, so says it.
    let alarm = Arc::new(Alarm(AtomicU64::new(0), move || {
        assert!(again.state.try_lock().is_ok(), "woken under the lock");
        assert!(matches!(offer(&again, &inner, 10), Err(OfferError::Closed)));
    }));
    assert!(queue.poll_room(&mut Context::from_waker(&alarm.clone().into())).is_pending());
    queue.close("over");
    assert_eq!(woken(&alarm), 1);
}

#[test]
fn the_sender_is_woken_by_the_first_request_and_by_the_end() {
    let (leg, queue) = (leg(), queue(10, usize::MAX));
    let alarm = alarm();
    let waker = alarm.clone().into();
    let mut context = Context::from_waker(&waker);
    {
        let mut waiting = pin!(queue.next());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        offer(&queue, &leg, 10).unwrap();
        assert_eq!(woken(&alarm), 1);
        // What comes before it looks comes along.
        offer(&queue, &leg, 10).unwrap();
        assert!(matches!(waiting.poll(&mut context), Poll::Ready(Some(piece)) if piece.count == 2));
    }
    let mut waiting = pin!(queue.next());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let before = woken(&alarm);
    queue.close("over");
    assert_eq!(woken(&alarm), before + 1);
    assert!(matches!(waiting.poll(&mut context), Poll::Ready(None)));
}

#[test]
fn a_sender_that_stops_waiting_loses_nothing() {
    let (leg, queue) = (leg(), queue(10, usize::MAX));
    let alarm = alarm();
    {
        let mut waiting = pin!(queue.next());
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&alarm.clone().into())).is_pending());
        offer(&queue, &leg, 10).unwrap();
        assert_eq!(woken(&alarm), 1);
        // It was told, and goes without having looked.
    }
    assert_eq!(next(&queue).unwrap().count, 1);
}
