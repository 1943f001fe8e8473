//! The demo proves what it says, and says so.

use serde_json::Value;

use crate::support::cli::Home;

#[test]
fn the_demo_adds_up() {
    let home = Home::new();
    let into = home.path().join("demo");
    let ran = home.run(&["demo", "--records", "5000", "--json", "--into", into.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let summary = ran.summary();
    let lines = ran.json();
    let demo = lines.iter().find(|line| line["event"] == "demo").unwrap();
    assert_eq!(demo["adds_up"], true);
    let parts = demo["parts"].as_array().unwrap();
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or_else(|| panic!("{name} in {value}"));
    let sum = |name: &str| parts.iter().map(|part| number(part, name)).sum::<u64>();
    assert_eq!(parts.len(), 2);
    assert!(parts.iter().all(|part| part["checks"].as_object().unwrap().values().all(|holds| holds == true)));
    assert!(number(&parts[0], "kept") >= number(&parts[0], "durable") && number(&parts[0], "durable") >= 5000);
    assert_eq!((number(&parts[1], "kept"), number(&parts[1], "reported")), (5000, 5000));
    assert!(number(&parts[1], "damaged") > 0);
    for (total, part) in [("records_found", "found"), ("records_acknowledged", "acknowledged")] {
        assert_eq!(number(&summary, total), sum(part), "{total}");
    }
    assert_eq!(sum("arrived"), sum("acknowledged"));
    assert_eq!(number(&summary, "records_missing"), number(&parts[1], "damaged"));
    assert_eq!(sum("kept") - sum("damaged"), sum("found"));
    assert_eq!((number(&summary, "sessions"), number(&summary, "damaged_places")), (2, 1));
}

#[test]
fn the_demo_touches_no_directory_that_has_something_in_it() {
    let home = Home::new();
    let precious = home.file("precious", "data");
    let ran = home.run(&["demo", "--records", "1000", "--into", home.path().to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("isn't empty"), "{ran:?}");
    assert_eq!(std::fs::read_to_string(precious).unwrap(), "data");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
}
