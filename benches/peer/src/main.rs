//! The official library and this one, in turn, at the same work, on the same machine.
//!
//! Each contestant does its job in a process of its own, to a server in this one that counts bytes. What counts is the
//! ratio within a round.

mod contestant;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../../tests/it/support/destination.rs"]
mod destination;
mod limits;
mod measure;
#[path = "../../../tests/it/support/null_storage.rs"]
mod null_storage;
mod ours;
mod peer;
#[path = "../../../tests/it/support/port.rs"]
mod port;
#[path = "../../../tests/it/support/proxy.rs"]
mod proxy;
mod table;
mod workload;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use contestant::{Contestant, Job, Way};
use destination::{Mood, Raw};
use measure::{Measured, in_child};
use proxy::{BOTH, Proxy};
use table::{COMPARISONS, Comparison, HEAD, line};
use workload::Workload;

/// Runs the official library and this one in turn, and prints the ratios
#[derive(Debug, Parser)]
struct Args {
    /// Rounds, of which the table shows the median
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// How much each does, as a multiple of about a second's work
    #[arg(long, default_value_t = 1.0)]
    scale: f64,

    /// Only comparisons whose name contains this
    #[arg(long, default_value = "")]
    only: String,

    /// Where to write; on another file system, another result
    #[arg(long)]
    on: Option<PathBuf>,

    /// Writes everything that was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,

    /// Does one job and prints what it took
    #[arg(long, hide = true, requires_all = ["workload", "records", "dir", "uri"])]
    child: Option<Contestant>,
    #[arg(long, hide = true, ignore_case = true)]
    workload: Option<Workload>,
    #[arg(long, hide = true)]
    records: Option<u64>,
    #[arg(long, hide = true)]
    dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    uri: Option<String>,
}

fn main() -> Result<(), String> {
    let args = Args::parse();
    if let (Some(child), Some(workload), Some(records), Some(dir), Some(uri)) =
        (args.child, args.workload, args.records, args.dir.clone(), args.uri.clone())
    {
        let measured = child.run(&Job { workload, records, dir, uri });
        println!("{}", serde_json::to_string(&measured).map_err(|error| error.to_string())?);
        return Ok(());
    }
    compare(&args)
}

fn compare(args: &Args) -> Result<(), String> {
    let root = match &args.on {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let root = root.map_err(|error| format!("no directory to work in: {error}"))?;
    let chosen: Vec<_> = COMPARISONS.iter().filter(|comparison| comparison.what.contains(&args.only)).collect();
    let (mut stage, mut results) = (Stage::new(root.path(), args.scale), vec![Vec::new(); chosen.len()]);
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        let mut measured: HashMap<(Contestant, Workload), Measured> = HashMap::new();
        for (comparison, rounds) in chosen.iter().zip(&mut results) {
            for contestant in [comparison.other, comparison.ours] {
                if let std::collections::hash_map::Entry::Vacant(place) =
                    measured.entry((contestant, comparison.workload))
                {
                    place.insert(stage.run(contestant, comparison.workload)?);
                }
            }
            let of = |contestant| measured[&(contestant, comparison.workload)].clone();
            rounds.push((of(comparison.ours), of(comparison.other)));
        }
    }
    println!("{HEAD}");
    chosen.iter().zip(&results).for_each(|(comparison, rounds)| println!("{}", line(comparison, rounds)));
    match &args.json {
        Some(file) => write_json(file, &chosen, &results),
        None => Ok(()),
    }
}

/// Where jobs are done.
struct Stage {
    root: PathBuf,
    scale: f64,
    server: Raw,
    /// What is there to be read.
    recorded: HashMap<(Contestant, Workload, u64), PathBuf>,
}

impl Stage {
    fn new(root: &Path, scale: f64) -> Self {
        Self { root: root.to_owned(), scale, server: Raw::start(Mood::Counts), recorded: HashMap::new() }
    }

    fn job(&self, workload: Workload, times: u64, dir: PathBuf) -> Job {
        Job { workload, records: workload.records(self.scale) * times, dir, uri: self.server.uri() }
    }

    fn run(&mut self, contestant: Contestant, workload: Workload) -> Result<Measured, String> {
        let times = contestant.times();
        if let Some(writer) = contestant.reads() {
            let dir = self.recorded(writer, workload, times)?;
            let proxy = contestant.way().map(|way| self.proxy(way));
            let job = self.job(workload, times, dir);
            let uri = proxy.as_ref().map_or(job.uri.clone(), Proxy::uri);
            return in_child(contestant, &Job { uri, ..job });
        }
        let dir = tempfile::tempdir_in(&self.root).map_err(|error| error.to_string())?;
        in_child(contestant, &self.job(workload, times, dir.path().to_owned()))
    }

    /// What stands between a contestant and the server.
    fn proxy(&self, way: Way) -> Proxy {
        let proxy = Proxy::start(self.server.address());
        proxy.delay(&BOTH, way.each);
        if let Some(bytes_per_second) = way.bytes_per_second {
            proxy.limit(proxy::Way::Up, bytes_per_second);
        }
        proxy
    }

    /// What `writer` makes, made once.
    fn recorded(&mut self, writer: Contestant, workload: Workload, times: u64) -> Result<PathBuf, String> {
        if let Some(dir) = self.recorded.get(&(writer, workload, times)) {
            return Ok(dir.clone());
        }
        let dir = self.root.join(format!("{writer:?}-{workload:?}-{times}"));
        std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
        in_child(writer, &self.job(workload, times, dir.clone()))?;
        self.recorded.insert((writer, workload, times), dir.clone());
        Ok(dir)
    }
}

fn write_json(file: &Path, chosen: &[&Comparison], results: &[Vec<(Measured, Measured)>]) -> Result<(), String> {
    let row = |(comparison, rounds): (&&Comparison, &Vec<(Measured, Measured)>)| {
        let ratios: Vec<f64> = rounds.iter().map(|(ours, other)| comparison.ratio(ours, other)).collect();
        let [min, median, max] = table::spread(ratios);
        serde_json::json!({
            "what": comparison.what,
            "figure": comparison.figure,
            "workload": comparison.workload,
            "ours": comparison.ours,
            "other": comparison.other,
            "target": comparison.target,
            "met": comparison.is_met(median),
            "min": min,
            "median": median,
            "max": max,
            "rounds": rounds,
        })
    };
    let rows: Vec<_> = chosen.iter().zip(results).map(row).collect();
    let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
    std::fs::write(file, text + "\n").map_err(|error| format!("{}: {error}", file.display()))
}
