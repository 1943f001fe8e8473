//! Order and pages of list calls.

use super::error::clipped;
use pbjson_types::Timestamp;
use std::{
    cmp::Ordering,
    hash::{DefaultHasher, Hash, Hasher},
};
use tonic::Status;

/// The size of a page when a call doesn't say.
const DEFAULT_PAGE: u32 = 50;
/// The largest page; calls that ask for more get this.
const LARGEST_PAGE: u32 = 1000;

/// What things are ordered by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SortKey {
    /// Absent values come first.
    Time(Option<(i64, i32)>),
    Text(String),
}

impl SortKey {
    pub(super) fn time(time: Option<Timestamp>) -> Self {
        Self::Time(time.map(|time| (time.seconds, time.nanos)))
    }
}

/// A parsed `order_by`: fields, and whether each is descending.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order<'a>(Vec<(&'a str, bool)>);

impl<'a> Order<'a> {
    /// Parses `FIELD[ desc],…`; empty means newest first.
    pub(super) fn parse(order_by: &'a str, fields: &[&str]) -> Result<Self, Status> {
        if order_by.trim().is_empty() {
            return Ok(Self(vec![("created_date", true)]));
        }
        let terms = order_by.split(',').map(|term| {
            let mut words = term.split_whitespace();
            let term = match (words.next(), words.next(), words.next()) {
                (Some(field), None, None) => Some((field, false)),
                (Some(field), Some(way), None) if way.eq_ignore_ascii_case("desc") => Some((field, true)),
                (Some(field), Some(way), None) if way.eq_ignore_ascii_case("asc") => Some((field, false)),
                _ => None,
            };
            term.filter(|(field, _)| fields.contains(field)).ok_or_else(|| {
                Status::invalid_argument(format!(
                    "bad order_by {:?}: give a comma-separated list of FIELD or `FIELD desc`; the fields are {}",
                    clipped(order_by),
                    fields.join(", ")
                ))
            })
        });
        terms.collect::<Result<_, _>>().map(Self)
    }

    /// Sorts things; those that are equal in all fields keep the order of their creation.
    pub(super) fn sort<T>(&self, things: &mut [T], number: impl Fn(&T) -> u64, key: impl Fn(&T, &str) -> SortKey) {
        things.sort_by(|a, b| {
            for (field, descending) in &self.0 {
                let order = key(a, field).cmp(&key(b, field));
                let order = if *descending { order.reverse() } else { order };
                if order != Ordering::Equal {
                    return order;
                }
            }
            // Two things of the same instant: the one made later is the newer one.
            let order = number(a).cmp(&number(b));
            match self.0.first() {
                Some(("created_date", true)) => order.reverse(),
                _ => order,
            }
        });
    }
}

/// One page of things, and the token for the next one (empty: there is none).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: String,
}

/// Cuts a page out of all things that pass. `call` identifies the call by its other arguments:
/// a token is good only for the call that it came from.
pub(super) fn page<T>(things: Vec<T>, page_size: u32, page_token: &str, call: impl Hash) -> Result<Page<T>, Status> {
    let mut hasher = DefaultHasher::new();
    call.hash(&mut hasher);
    let call = hasher.finish();
    let start = start_of(page_token, call).ok_or_else(|| {
        Status::invalid_argument(
            "bad page_token: pass the next_page_token of the page before, with the same filter and order; or none, to start again",
        )
    })?;
    let size = match page_size {
        0 => DEFAULT_PAGE,
        size => size.min(LARGEST_PAGE),
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let total = things.len();
    let items: Vec<T> = things.into_iter().skip(start).take(size).collect();
    let end = start.saturating_add(items.len());
    let next_page_token =
        if end < total && !items.is_empty() { format!("{end:016x}{call:016x}") } else { String::new() };
    Ok(Page { items, next_page_token })
}

fn start_of(token: &str, call: u64) -> Option<usize> {
    if token.is_empty() {
        return Some(0);
    }
    let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (start, of) = token.split_at_checked(16).filter(|_| is_token)?;
    let of = u64::from_str_radix(of, 16).ok()?;
    let start = u64::from_str_radix(start, 16).ok()?;
    usize::try_from(start).ok().filter(|_| of == call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_one_another_without_gaps_and_end() {
        let things: Vec<u32> = (0..120).collect();
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = page(things.clone(), 0, &token, "call").unwrap();
            seen.extend(page.items);
            pages += 1;
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, things);
        assert_eq!(pages, 3);
    }

    #[test]
    fn a_page_has_at_most_a_thousand_things() {
        let page = page((0..2500).collect(), u32::MAX, "", ()).unwrap();
        assert_eq!(page.items.len(), 1000);
    }

    #[test]
    fn garbage_and_the_tokens_of_other_calls_are_refused() {
        let other = page(vec![1, 2], 1, "", "other").unwrap().next_page_token;
        let long = "f".repeat(32);
        for token in ["x", "ffff", "\u{e9}\u{e9}", long.as_str(), other.as_str()] {
            let status = page(vec![1, 2], 1, token, "call").unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{token}");
        }
    }

    #[test]
    fn order_by_is_parsed_as_sift_documents_it() {
        let fields = ["name", "created_date"];
        let order = Order::parse("created_date desc,name", &fields).unwrap();
        assert_eq!(order, Order(vec![("created_date", true), ("name", false)]));
        for bad in ["nothing", "name up", "name desc desc", "name,,name"] {
            let status = Order::parse(bad, &fields).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn things_are_sorted_by_all_fields_then_by_creation() {
        let mut things = vec![(1, "b"), (2, "a"), (3, "b")];
        let key = |thing: &(u64, &str), _: &str| SortKey::Text(thing.1.to_owned());
        Order::parse("name desc", &["name"]).unwrap().sort(&mut things, |thing| thing.0, key);
        assert_eq!(things, [(1, "b"), (3, "b"), (2, "a")]);
        let same = |_: &(u64, &str), _: &str| SortKey::Time(None);
        Order::parse("", &[]).unwrap().sort(&mut things, |thing| thing.0, same);
        assert_eq!(things, [(3, "b"), (2, "a"), (1, "b")]);
    }
}
