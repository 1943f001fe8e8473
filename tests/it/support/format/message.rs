//! Sift's requests and the segment's messages, encoded field by field.

use serde_json::{Value, json};

use super::{hex, sha256};

/// A protobuf message, field by field ([F-1]). Fields that hold their type's default are left out, as proto3 has it;
/// the `always` forms write them (`optional` and `oneof` fields).
#[derive(Clone, Default)]
pub struct Pb(pub Vec<u8>);

impl Pb {
    pub fn raw_varint(&mut self, mut v: u64) {
        while v > 0x7f {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }
    pub fn always_varint(mut self, field: u32, v: u64) -> Self {
        self.raw_varint(u64::from(field) << 3);
        self.raw_varint(v);
        self
    }
    pub fn varint(self, field: u32, v: u64) -> Self {
        if v == 0 { self } else { self.always_varint(field, v) }
    }
    pub fn always_fixed64(mut self, field: u32, v: u64) -> Self {
        self.raw_varint(u64::from(field) << 3 | 1);
        self.0.extend(v.to_le_bytes());
        self
    }
    pub fn sfixed64(self, field: u32, v: i64) -> Self {
        if v == 0 { self } else { self.always_fixed64(field, v as u64) }
    }
    pub fn optional_sfixed64(self, field: u32, v: Option<i64>) -> Self {
        match v {
            Some(v) => self.always_fixed64(field, v as u64),
            None => self,
        }
    }
    pub fn always_fixed32(mut self, field: u32, v: u32) -> Self {
        self.raw_varint(u64::from(field) << 3 | 5);
        self.0.extend(v.to_le_bytes());
        self
    }
    pub fn always_bytes(mut self, field: u32, v: &[u8]) -> Self {
        self.raw_varint(u64::from(field) << 3 | 2);
        self.raw_varint(v.len() as u64);
        self.0.extend(v);
        self
    }
    pub fn bytes(self, field: u32, v: &[u8]) -> Self {
        if v.is_empty() { self } else { self.always_bytes(field, v) }
    }
}

#[derive(Clone)]
pub enum V {
    Str(&'static str),
    F64(f64),
    F32(f32),
    Bool(bool),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Bits(&'static [u8]),
    Enum(u32),
    Empty,
    Bytes(&'static [u8]),
}

impl V {
    fn encode(&self) -> Vec<u8> {
        let pb = Pb::default();
        match *self {
            V::Str(s) => pb.always_bytes(1, s.as_bytes()),
            V::F64(v) => pb.always_fixed64(2, v.to_bits()),
            V::F32(v) => pb.always_fixed32(3, v.to_bits()),
            V::Bool(v) => pb.always_varint(4, v.into()),
            V::I32(v) => pb.always_varint(5, i64::from(v) as u64),
            V::U32(v) => pb.always_varint(6, v.into()),
            V::I64(v) => pb.always_varint(7, v as u64),
            V::U64(v) => pb.always_varint(8, v),
            V::Bits(v) => pb.always_bytes(9, v),
            V::Enum(v) => pb.always_varint(10, v.into()),
            V::Empty => pb.always_bytes(11, b""),
            V::Bytes(v) => pb.always_bytes(12, v),
        }
        .0
    }
    pub fn json(&self) -> Value {
        match *self {
            V::Str(s) => json!({ "string": s }),
            V::F64(v) => json!({ "double_bits": format!("{:016x}", v.to_bits()) }),
            V::F32(v) => json!({ "float_bits": format!("{:08x}", v.to_bits()) }),
            V::Bool(v) => json!({ "bool": v }),
            V::I32(v) => json!({ "int32": v }),
            V::U32(v) => json!({ "uint32": v }),
            V::I64(v) => json!({ "int64": v.to_string() }),
            V::U64(v) => json!({ "uint64": v.to_string() }),
            V::Bits(v) => json!({ "bit_field": hex(v) }),
            V::Enum(v) => json!({ "enum": v }),
            V::Empty => json!({ "empty": true }),
            V::Bytes(v) => json!({ "bytes": hex(v) }),
        }
    }
    pub fn non_finite(&self) -> bool {
        matches!(self, V::F64(v) if !v.is_finite()) || matches!(self, V::F32(v) if !v.is_finite())
    }
}

/// One record: flow, time (seconds, nanos), values; `ids` are an ingestion config's, a run's, an organization's.
#[derive(Clone)]
pub struct Rec {
    pub flow: &'static str,
    pub time: Option<(i64, i32)>,
    pub values: Vec<V>,
    pub ids: [&'static str; 3],
}

impl Rec {
    pub fn new(flow: &'static str, seconds: i64, nanos: i32, values: Vec<V>) -> Self {
        Self { flow, time: Some((seconds, nanos)), values, ids: [""; 3] }
    }
    pub fn encode(&self) -> Vec<u8> {
        let mut pb = Pb::default().bytes(1, self.ids[0].as_bytes()).bytes(2, self.flow.as_bytes());
        if let Some((seconds, nanos)) = self.time {
            pb = pb.always_bytes(3, &Pb::default().varint(1, seconds as u64).varint(2, i64::from(nanos) as u64).0);
        }
        for value in &self.values {
            pb = pb.always_bytes(4, &value.encode());
        }
        pb.bytes(5, self.ids[1].as_bytes()).bytes(7, self.ids[2].as_bytes()).0
    }
    /// [F-17]
    pub fn ns(&self) -> Option<i64> {
        self.time.map(|(s, n)| {
            let ns = i128::from(s) * 1_000_000_000 + i128::from(n);
            ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64
        })
    }
    pub fn json(&self) -> Value {
        let values: Vec<Value> = self.values.iter().map(V::json).collect();
        let ids = ["ingestion_config_id", "run_id", "organization_id"];
        let ids: serde_json::Map<_, _> = ids
            .iter()
            .zip(self.ids)
            .filter(|(_, id)| !id.is_empty())
            .map(|(k, id)| (k.to_string(), json!(id)))
            .collect();
        record_json(&self.encode(), self.flow, self.ns(), values, ids.into())
    }
}

/// How a record stands in the vectors' JSON.
pub fn record_json(bytes: &[u8], flow: &str, ns: Option<i64>, values: Vec<Value>, ids: Value) -> Value {
    let mut out = json!({
        "sha256": sha256(bytes), "flow": flow, "time_ns": ns.map(|t| t.to_string()), "values": values, "ids": ids,
    });
    if bytes.len() <= 256 {
        out["hex"] = json!(hex(bytes));
    }
    out
}

#[derive(Clone, Default)]
pub struct Chan {
    pub name: &'static str,
    pub unit: &'static str,
    pub data_type: u64,
    pub enums: Vec<(&'static str, u32)>,
    pub bits: Vec<(&'static str, u32, u32)>,
}

#[derive(Clone)]
pub struct Flow {
    pub name: &'static str,
    pub channels: Vec<Chan>,
}

impl Flow {
    pub fn encode(&self) -> Vec<u8> {
        let mut pb = Pb::default().bytes(1, self.name.as_bytes());
        for c in &self.channels {
            let mut channel = Pb::default().bytes(1, c.name.as_bytes()).bytes(2, c.unit.as_bytes());
            channel = channel.varint(4, c.data_type);
            for (name, key) in &c.enums {
                channel =
                    channel.always_bytes(5, &Pb::default().bytes(1, name.as_bytes()).varint(2, u64::from(*key)).0);
            }
            for (name, first, count) in &c.bits {
                let element = Pb::default().bytes(1, name.as_bytes());
                channel = channel.always_bytes(6, &element.varint(2, (*first).into()).varint(3, (*count).into()).0);
            }
            pb = pb.always_bytes(2, &channel.0);
        }
        pb.0
    }
    pub fn json(&self) -> Value {
        let channel = |c: &Chan| {
            let enums: Vec<_> = c.enums.iter().map(|(name, key)| json!({ "name": name, "key": key })).collect();
            let bits: Vec<_> =
                c.bits.iter().map(|(n, i, b)| json!({ "name": n, "index": i, "bit_count": b })).collect();
            json!({ "name": c.name, "unit": c.unit, "data_type": c.data_type, "enum_types": enums, "bit_field_elements": bits })
        };
        json!({ "name": self.name, "channels": self.channels.iter().map(channel).collect::<Vec<_>>() })
    }
}

/// HEADER's content ([F-18]).
#[derive(Clone)]
pub struct Header {
    pub session: [u8; 16],
    pub index: u32,
    pub first_seq: u64,
    pub flows: Vec<Flow>,
    pub run: Option<(&'static str, &'static str)>,
    pub run_id: Option<&'static str>,
    /// Appended to the message, and to the ingestion config in it: what a later version added.
    pub unknown: Vec<u8>,
    /// No request precedes the data ([F-19]).
    pub without_requests: bool,
}

impl Header {
    fn config(&self) -> Vec<u8> {
        if self.without_requests {
            return Vec::new();
        }
        let mut config = Pb::default().bytes(1, b"rover");
        for flow in &self.flows {
            config = config.always_bytes(2, &flow.encode());
        }
        let mut config = config.bytes(4, b"rover-v1").0;
        config.extend(&self.unknown);
        config
    }
    fn run_bytes(&self) -> Option<Vec<u8>> {
        let (name, key) = self.run?;
        Some(Pb::default().bytes(1, name.as_bytes()).bytes(3, b"golden").always_bytes(8, key.as_bytes()).0)
    }
    pub fn encode(&self) -> Vec<u8> {
        let pb = Pb::default().varint(1, 1).bytes(2, &self.session).varint(3, self.index.into());
        let pb = pb.varint(4, self.first_seq).sfixed64(5, 1_700_000_000_000_000_000).varint(6, 5_000_000);
        let mut pb = pb.bytes(7, b"golden").bytes(8, b"1.2.3").bytes(9, b"bench").bytes(10, &self.config());
        if let Some(run) = self.run_bytes() {
            pb = pb.always_bytes(11, &run);
        }
        if let Some(run_id) = self.run_id {
            pb = pb.always_bytes(12, run_id.as_bytes());
        }
        pb.0.extend(&self.unknown);
        pb.0
    }
    pub fn json(&self) -> Value {
        let (asset, key) = if self.without_requests { ("", "") } else { ("rover", "rover-v1") };
        let mut header = json!({
            "format_version": 1, "first_seq": self.first_seq, "wall_clock_ns": "1700000000000000000",
            "monotonic_ns": 5_000_000, "recorder": "golden", "recorder_version": "1.2.3", "host": "bench",
            "ingestion_config": {
                "asset_name": asset, "client_key": key,
                "flows": self.flows.iter().map(Flow::json).collect::<Vec<_>>(),
                "sha256": sha256(&self.config()),
            },
            "run": self.run.map(|(name, key)| json!({
                "name": name, "client_key": key, "tags": ["golden"], "sha256": sha256(&self.run_bytes().unwrap()),
            })),
        });
        if let Some(run_id) = self.run_id {
            header["run_id"] = run_id.into();
        }
        header
    }
}
