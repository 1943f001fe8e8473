//! The official library and this one, in turn, at the same work, on the same machine.
//!
//! Each contestant does its job in a process of its own, to a server in this one that counts bytes. What counts is the
//! ratio within a round.

mod contestant;
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../../../tests/it/support/destination.rs"]
mod destination;
mod growth;
mod limits;
mod measure;
#[path = "../../../tests/it/support/null_storage.rs"]
mod null_storage;
mod ours;
mod peer;
mod plot;
#[path = "../../../tests/it/support/port.rs"]
mod port;
#[path = "../../../tests/it/support/proxy.rs"]
mod proxy;
mod stalling;
mod table;
mod workload;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use contestant::{Contestant, Job, Way};
use destination::{Mood, Raw};
use growth::Ground;
use measure::{Measured, in_child};
use proxy::{BOTH, Proxy};
use table::{COMPARISONS, Comparison, HEAD, Place, line};
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

    /// A directory in memory, for what isn't to depend on a disk
    #[arg(long, default_value = "/dev/shm")]
    memory: PathBuf,

    /// A directory on a disk [default: the system's for temporary files]
    #[arg(long)]
    disk: Option<PathBuf>,

    /// Writes everything that was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,

    /// Measures how our cost grows instead, up to this power of ten of records, and prints tables
    #[arg(long, value_name = "POWER", conflicts_with_all = ["rounds", "only", "json"])]
    growth: Option<u32>,

    /// Writes a plot of that to this file
    #[arg(long, requires = "growth")]
    svg: Option<PathBuf>,

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
    match args.growth {
        Some(most) => grow(&args, most),
        None => compare(&args),
    }
}

fn grow(args: &Args, most: u32) -> Result<(), String> {
    let stage = Stage::new(args)?;
    let (tables, plot) = growth::measure(&Ground { dir: stage.memory.path(), uri: stage.server.uri(), most });
    println!("{tables}");
    match &args.svg {
        Some(file) => std::fs::write(file, plot).map_err(|error| format!("{}: {error}", file.display())),
        None => Ok(()),
    }
}

fn compare(args: &Args) -> Result<(), String> {
    let chosen: Vec<_> = COMPARISONS.iter().filter(|comparison| comparison.what.contains(&args.only)).collect();
    let (mut stage, mut results) = (Stage::new(args)?, vec![Vec::new(); chosen.len()]);
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        let mut measured: HashMap<(Contestant, Workload, Place), Measured> = HashMap::new();
        for (comparison, rounds) in chosen.iter().zip(&mut results) {
            let Comparison { workload, place, .. } = **comparison;
            for contestant in [comparison.other, comparison.ours] {
                if let std::collections::hash_map::Entry::Vacant(entry) = measured.entry((contestant, workload, place))
                {
                    entry.insert(stage.run(contestant, workload, place)?);
                }
            }
            let of = |contestant| measured[&(contestant, workload, place)].clone();
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
    memory: tempfile::TempDir,
    disk: tempfile::TempDir,
    scale: f64,
    server: Raw,
    /// What is there to be read: who made it, of what, and how much.
    recorded: HashMap<(Contestant, Workload, u64), PathBuf>,
}

impl Stage {
    fn new(args: &Args) -> Result<Self, String> {
        let error = |error| format!("no directory to work in: {error}");
        let disk = args.disk.as_ref().map_or_else(tempfile::tempdir, tempfile::tempdir_in).map_err(error)?;
        let memory = match args.memory.is_dir() {
            true => tempfile::tempdir_in(&args.memory),
            false => {
                eprintln!("{} isn't there: all is written to the disk", args.memory.display());
                tempfile::tempdir_in(disk.path())
            }
        };
        let memory = memory.map_err(error)?;
        Ok(Self { memory, disk, scale: args.scale, server: Raw::start(Mood::Counts), recorded: HashMap::new() })
    }

    fn job(&self, workload: Workload, factor: f64, dir: PathBuf) -> Job {
        Job { workload, records: workload.records(self.scale * factor), dir, uri: self.server.uri() }
    }

    fn run(&mut self, contestant: Contestant, workload: Workload, place: Place) -> Result<Measured, String> {
        let factor = contestant.factor();
        if let Some(writer) = contestant.reads() {
            let dir = self.recorded(writer, workload, factor)?;
            let proxy = contestant.way().map(|way| self.proxy(way));
            let job = self.job(workload, factor, dir);
            let uri = proxy.as_ref().map_or(job.uri.clone(), Proxy::uri);
            return in_child(contestant, &Job { uri, ..job });
        }
        let root = match place {
            Place::Memory => self.memory.path(),
            Place::Disk => self.disk.path(),
        };
        let dir = tempfile::tempdir_in(root).map_err(|error| error.to_string())?;
        in_child(contestant, &self.job(workload, factor, dir.path().to_owned()))
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
    fn recorded(&mut self, writer: Contestant, workload: Workload, factor: f64) -> Result<PathBuf, String> {
        let job = self.job(workload, factor, PathBuf::new());
        let key = (writer, workload, job.records);
        if let Some(dir) = self.recorded.get(&key) {
            return Ok(dir.clone());
        }
        let dir = self.memory.path().join(format!("{writer:?}-{workload:?}-{}", job.records));
        std::fs::create_dir(&dir).map_err(|error| error.to_string())?;
        in_child(writer, &Job { dir: dir.clone(), ..job })?;
        self.recorded.insert(key, dir.clone());
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
            "place": comparison.place,
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
