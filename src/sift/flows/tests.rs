//! Comparing flows, without a server.

use sift_rs::common::r#type::v1::{ChannelBitFieldElement, ChannelEnumType};

use super::*;

fn channel(name: &str) -> ChannelConfig {
    ChannelConfig {
        name: name.to_owned(),
        unit: "m/s".to_owned(),
        data_type: ChannelDataType::Double.into(),
        ..ChannelConfig::default()
    }
}

fn flow(channels: Vec<ChannelConfig>) -> FlowConfig {
    FlowConfig { name: "imu".to_owned(), channels }
}

fn enum_channel(entries: &[(&str, u32)]) -> ChannelConfig {
    ChannelConfig {
        data_type: ChannelDataType::Enum.into(),
        enum_types: entries
            .iter()
            .map(|(name, key)| ChannelEnumType { name: (*name).to_owned(), key: *key, is_signed: false })
            .collect(),
        ..channel("mode")
    }
}

fn bit_channel(bits: u32) -> ChannelConfig {
    ChannelConfig {
        data_type: ChannelDataType::BitField.into(),
        bit_field_elements: vec![ChannelBitFieldElement { name: "armed".to_owned(), index: 0, bit_count: bits }],
        ..channel("state")
    }
}

fn message(recorded: Vec<ChannelConfig>, present: Vec<ChannelConfig>) -> String {
    missing_flows(&[flow(recorded)], &[flow(present)]).unwrap_err().to_string()
}

#[test]
fn each_difference_is_named_with_its_flow_and_channel() {
    let int = ChannelConfig { data_type: ChannelDataType::Int32.into(), ..channel("vx") };
    let odd = ChannelConfig { data_type: 99, ..channel("vx") };
    let feet = ChannelConfig { unit: "ft/s".to_owned(), ..channel("vx") };
    let (x, y) = (|| channel("vx"), || channel("vy"));
    for (recorded, present, parts) in [
        (vec![x()], vec![int], vec!["\"vx\"", "type double", "int32 there"]),
        (vec![x()], vec![odd], vec!["\"vx\"", "number 99 there"]),
        (vec![x()], vec![feet], vec!["\"vx\"", "\"m/s\"", "\"ft/s\" there"]),
        (vec![x(), y()], vec![y(), x()], vec!["\"vx\"", "position 1", "\"vy\""]),
        (vec![x(), y()], vec![x()], vec!["2 channels", "1 there"]),
        (vec![x()], vec![x(), y()], vec!["1 channel recorded", "2 there"]),
        (
            vec![enum_channel(&[("off", 0), ("on", 1)])],
            vec![enum_channel(&[("off", 0), ("on", 2)])],
            vec!["\"mode\"", "\"on\" = 1", "\"on\" = 2"],
        ),
        (vec![bit_channel(1)], vec![bit_channel(2)], vec!["\"state\"", "1 bits at 0", "2 bits at 0"]),
    ] {
        let message = message(recorded, present);
        assert!(message.contains("\"imu\""), "{message}");
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn a_differing_flow_is_told_in_one_sentence_with_what_to_do() {
    let feet = ChannelConfig { unit: "ft/s\u{1b}".to_owned(), ..channel("vx") };
    assert_eq!(
        message(vec![channel("vx")], vec![feet]),
        "flow \"imu\" exists at the destination and differs in channel \"vx\": unit \"m/s\" recorded, \
         \"ft/s\\u{1b}\" there. The recording needs another client key (a new version of the schema)"
    );
    assert_eq!(
        message(vec![channel("vx")], vec![channel("vx"), channel("vy")]),
        "flow \"imu\" exists at the destination and differs: 1 channel recorded, 2 there. The recording needs \
         another client key (a new version of the schema)"
    );
}

#[test]
fn a_description_is_no_difference() {
    let described = ChannelConfig { description: "along the nose".to_owned(), ..channel("vx") };
    let missing = missing_flows(&[flow(vec![channel("vx")])], &[flow(vec![described])]);
    assert!(missing.unwrap().is_empty());
}

#[test]
fn one_equal_flow_of_the_name_is_enough() {
    let present = [flow(vec![channel("other")]), flow(vec![channel("vx")]), flow(vec![channel("third")])];
    let recorded = [flow(vec![channel("vx")])];
    assert!(missing_flows(&recorded, &present).unwrap().is_empty());
    assert!(missing_flows(&recorded, &present[..1]).is_err());
    assert_eq!(missing_flows(&recorded, &[]).unwrap(), recorded);
}

#[test]
fn the_order_in_which_a_server_lists_names_is_no_difference() {
    let recorded = flow(vec![enum_channel(&[("a", 0), ("b", 1)])]);
    let present = flow(vec![enum_channel(&[("b", 1), ("a", 0)])]);
    assert_eq!(missing_flows(&[recorded], &[present]).unwrap(), []);
}

#[test]
fn a_long_enum_is_shown_in_part() {
    let entries: Vec<_> = (0..100).map(|key| ("state", key)).collect();
    let message = message(vec![enum_channel(&entries)], vec![enum_channel(&[])]);
    assert!(message.contains("and 84 more"), "{message}");
}

#[test]
fn batches_keep_order_and_stay_within_the_limits() {
    let flows: Vec<_> =
        (0..2500).map(|number| FlowConfig { name: format!("f{number}"), channels: Vec::new() }).collect();
    let parts = batches(flows.clone());
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500]);
    assert_eq!(parts.concat(), flows);

    let huge = FlowConfig { name: "x".repeat(MAX_REQUEST_BYTES + 1), channels: Vec::new() };
    let parts = batches(vec![flows[0].clone(), huge.clone(), flows[1].clone()]);
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
    assert!(batches(Vec::new()).is_empty());
}
