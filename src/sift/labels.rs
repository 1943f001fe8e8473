//! Tags and metadata: whether they say the same.

use std::collections::{BTreeMap, BTreeSet};

use sift_rs::metadata::v1::MetadataValue;
use sift_rs::metadata::v1::metadata_value::Value;

/// Whether both are the same tags, in whatever order and however often.
pub(super) fn same_tags(a: &[String], b: &[String]) -> bool {
    let set = |tags| -> BTreeSet<&String> { BTreeSet::from_iter(tags) };
    set(a) == set(b)
}

/// Whether both give the same keys the same values, in whatever order. What else the destination knows of a key (its
/// type, when it was archived) is not compared: nobody gives it.
pub(super) fn same_metadata(a: &[MetadataValue], b: &[MetadataValue]) -> bool {
    let (a, b) = (by_key(a), by_key(b));
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same_value(*value, *other)))
}

/// Of several values of a key the last one counts.
fn by_key(metadata: &[MetadataValue]) -> BTreeMap<&str, Option<&Value>> {
    metadata.iter().filter_map(|entry| Some((entry.key.as_ref()?.name.as_str(), entry.value.as_ref()))).collect()
}

fn same_value(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        // What is not a number would differ from itself, and be set again and again.
        (Some(Value::NumberValue(a)), Some(Value::NumberValue(b))) => a == b || (a.is_nan() && b.is_nan()),
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use sift_rs::metadata::v1::{MetadataKey, MetadataKeyType};

    use super::*;

    fn entry(name: &str, value: Value) -> MetadataValue {
        let key = MetadataKey { name: name.to_owned(), ..MetadataKey::default() };
        MetadataValue { key: Some(key), value: Some(value), ..MetadataValue::default() }
    }

    fn text(name: &str, value: &str) -> MetadataValue {
        entry(name, Value::StringValue(value.to_owned()))
    }

    #[test]
    fn tags_are_a_set() {
        let tags = |tags: &[&str]| -> Vec<String> { tags.iter().map(|tag| (*tag).to_owned()).collect() };
        assert!(same_tags(&[], &[]));
        assert!(same_tags(&tags(&["a", "b"]), &tags(&["b", "a", "a"])));
        assert!(!same_tags(&tags(&["a"]), &tags(&["a", "b"])));
        assert!(!same_tags(&tags(&["a", "b"]), &tags(&["a"])), "one that is to go is a difference, too");
        assert!(!same_tags(&tags(&["a"]), &tags(&["A"])));
    }

    #[test]
    fn metadata_is_a_map_from_key_to_value() {
        let both = [text("a", "1"), text("b", "2")];
        assert!(same_metadata(&both, &[text("b", "2"), text("a", "1")]));
        assert!(same_metadata(&[text("a", "0"), text("b", "2"), text("a", "1")], &both), "the last one counts");
        for other in [
            vec![],
            vec![text("a", "1")],
            vec![text("a", "1"), text("b", "3")],
            vec![text("a", "1"), text("c", "2")],
            vec![text("a", "1"), text("b", "2"), text("c", "3")],
            vec![text("a", "1"), entry("b", Value::NumberValue(2.0))],
        ] {
            assert!(!same_metadata(&both, &other) && !same_metadata(&other, &both), "{other:?}");
        }
    }

    #[test]
    fn what_only_the_destination_says_is_no_difference() {
        let mut theirs = text("a", "1");
        theirs.key.as_mut().unwrap().r#type = MetadataKeyType::String.into();
        assert!(same_metadata(&[theirs], &[text("a", "1")]));
        let nan = [entry("n", Value::NumberValue(f64::NAN))];
        assert!(same_metadata(&nan, &nan));
        assert!(!same_metadata(&nan, &[entry("n", Value::NumberValue(0.0))]));
    }
}
