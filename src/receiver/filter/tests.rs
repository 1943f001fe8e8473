//! Filters as SDKs and opponents write them.

use super::*;
use pbjson_types::{Duration, Timestamp};
use sift_rs::metadata::v1::{MetadataKey, MetadataValue, metadata_value::Value as Meta};

const FIELDS: Fields = Fields {
    of: "things",
    all: &[
        ("name", Kind::Text),
        ("tag", Kind::Text),
        ("at", Kind::Time),
        ("end", Kind::Time),
        ("took", Kind::Number),
        ("took_span", Kind::Span),
        ("done", Kind::Flag),
        ("metadata", Kind::Metadata),
    ],
};

fn thing(field: &str) -> Cell {
    let span = Some(Duration { seconds: 90, nanos: 0 });
    match field {
        "name" => Cell::text("Rover 'One'"),
        "tag" => Cell::texts(["red", "blue"].into_iter()),
        "at" => Cell::time(Some(Timestamp { seconds: 1_700_000_000, nanos: 5 })),
        "took" => Cell::seconds(span),
        "took_span" => Cell::span(span),
        "done" => Cell::flag(true),
        "metadata" => Cell::metadata(&[MetadataValue {
            key: Some(MetadataKey { name: "site".into(), ..Default::default() }),
            value: Some(Meta::StringValue("desert".into())),
            ..Default::default()
        }]),
        _ => Cell::null(),
    }
}

fn passes(filter: &str) -> bool {
    let filter = Filter::compile(filter, &FIELDS).unwrap();
    filter.passes(&thing).unwrap()
}

fn refusal(filter: &str) -> String {
    let status = match Filter::compile(filter, &FIELDS) {
        Ok(filter) => filter.passes(&thing).unwrap_err(),
        Err(status) => status,
    };
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    status.message().to_owned()
}

#[test]
fn what_the_sdks_write_is_understood() {
    for filter in [
        "",
        " ",
        "name == 'Rover \\'One\\''",
        "name==\"Rover 'One'\"",
        "name in [\"x\", \"Rover 'One'\"]",
        "name.contains('One') && !(done == false)",
        "name.startsWith('Rover') && name.endsWith(\"'\")",
        "name.matches('^Rov.r') || false",
        "at > timestamp('2023-11-14T22:13:20Z')",
        "at <= timestamp('2024-01-01T00:00:00+02:00')",
        "end == null",
        "took > 60 && took < 90.5",
        "took_span > duration('1m') && took_span < duration('1h')",
        "metadata.site == 'desert'",
        "metadata[\"site\"] == 'desert' && has(metadata.site)",
        "tag == 'blue'",
        "tag in ['blue', 'green'] && tag != 'red'",
    ] {
        assert!(passes(filter), "{filter}");
    }
    for filter in [
        "name == 'rover'",
        "tag == 'green'",
        "tag == 'red' && tag == 'blue'",
        "end > timestamp('2023-11-14T22:13:20Z')",
        "metadata.other == 'desert'",
        "has(metadata.other)",
        "at == null",
    ] {
        assert!(!passes(filter), "{filter}");
    }
}

#[test]
fn a_bad_filter_is_refused_with_the_reason() {
    assert!(refusal("nmae == 'x'").contains("things have no field \"nmae\""));
    assert!(refusal("name == 'x' && nmae == 'y'").contains("\"nmae\""));
    assert!(refusal("name == ").starts_with("bad filter:"));
    assert!(refusal("name").contains("not a condition"));
    assert!(refusal("name > 5").contains("overload"));
    assert!(refusal("name.nothing()").contains("nothing"));
    assert!(refusal("[1].all(x, true)").contains("macros"));
    assert!(refusal(&format!("name == '{}'", "x".repeat(70_000))).contains("65536"));
}

#[test]
fn costly_filters_are_refused_before_they_are_parsed() {
    assert!(refusal(&"(".repeat(30)).contains("nest"));
    assert!(refusal(&format!("took == 1{}", "+1".repeat(600))).contains("operators"));
    assert!(refusal(&format!("{}true", "!".repeat(600))).contains("operators"));
    assert!(refusal(&format!("metadata{} == 1", "['a']".repeat(600))).contains("operators"));
    assert!(refusal(&format!("1{}", " in 1".repeat(600))).contains("operators"));
}

#[test]
fn nothing_hides_operators_from_the_count() {
    for hidden in ["r'\\' +1", "'''a'b''' +1", "// '\n +1", "'a\n +1", "br\"\\\" + 1"] {
        let filter = format!("{hidden}{}", "+1".repeat(600));
        assert!(Filter::compile(&filter, &FIELDS).is_err());
        let refusal = refusal(&filter);
        let seen = ["string", "comment", "operators"].iter().any(|why| refusal.contains(why));
        assert!(seen, "{refusal}");
    }
}

#[test]
fn the_largest_filters_fit_on_half_the_stack() {
    let evaluate = || {
        let sums = format!("took == 1{}", "+1".repeat(500));
        assert!(!passes(&sums));
        let ors = vec!["name == 'x'"; 128].join(" || ");
        assert!(!passes(&ors));
        let nots = format!("{}true", "!".repeat(60));
        assert!(Filter::compile(&nots, &FIELDS).is_ok());
        let selects = format!("metadata{} == 1", ".a".repeat(500));
        assert!(!passes(&selects));
        let deep = format!("{}true{}", "(".repeat(24), ")".repeat(24));
        assert!(passes(&deep));
        let conditional = format!("{}true", "done ? false : ".repeat(200));
        assert!(Filter::compile(&conditional, &FIELDS).is_err() || !passes(&conditional));
        let indexes = format!("metadata{} == 1", "['a']".repeat(170));
        assert!(!passes(&indexes));
        let within = format!("true{}", " in [true]".repeat(170));
        assert!(passes(&within));
        let names: Vec<_> = (0..4000).map(|n| format!("'flow-{n}'")).collect();
        assert!(!passes(&format!("name in [{}]", names.join(","))));
    };
    let small = std::thread::Builder::new().stack_size(STACK / 2);
    small.spawn(evaluate).unwrap().join().unwrap();
}
