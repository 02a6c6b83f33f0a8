//! `make bench`: the cost of the operator at several scales, against a real API server and the simulator of AWS.
//!
//! Counts and memory have limits: a run that exceeds one fails. Times depend on the machine, so the report shows them
//! next to those of a bare load generator in the same run.

mod bare;
mod budget;
mod counts;
mod delay;
mod eyes;
mod mix;
mod neighbours;
mod ratio;
mod report;
mod scale;
mod site;
mod usage;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use crate::{
    mix::Mix,
    report::{Ground, Report},
    scale::Lengths,
    site::Site,
};

/// Number of objects in the runs with a single purpose: large schemas, delays.
const LARGE: usize = 1000;
const DELAYS: usize = 100;
/// The rate of AWS calls that computed delays assume, in calls per second: the operator's initial rate.
const RATE: f64 = 5.0;
/// Ten backends and their APIs: up to ten jobs at a time.
const FEW_DELAYS: usize = 33;

#[derive(Debug, Parser)]
#[command(about)]
struct Args {
    /// Number of objects; repeatable.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1_000, 10_000])]
    scales: Vec<usize>,
    /// Length of each API's schema, in bytes.
    #[arg(long, default_value_t = 4 * 1024)]
    schema: usize,
    /// Run only the scales: no large schemas, no measured delays, no neighbours.
    #[arg(long)]
    scales_only: bool,
    /// Run only the neighbours: how one tenant, region or client affects the others.
    #[arg(long, conflicts_with = "scales_only")]
    neighbours_only: bool,
    /// How long to watch the steady state, in seconds.
    #[arg(long, default_value_t = 60)]
    steady: u64,
    /// Interval of drift checks in the runs that measure them, in seconds.
    #[arg(long, default_value_t = 60)]
    drift: u64,
    /// File to write the report to.
    #[arg(long)]
    output: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(args: Args) -> Result<()> {
    let site = Site::start().await?;
    // With few objects the results show sooner.
    let lengths = |objects: usize| {
        let part = if objects < LARGE { 4 } else { 1 };
        Lengths {
            steady: Duration::from_secs(args.steady.div_ceil(part)),
            drift: Duration::from_secs(args.drift.div_ceil(part)),
        }
    };
    let mut scales = Vec::new();
    let scale_list = if args.neighbours_only { Vec::new() } else { args.scales };
    for objects in scale_list {
        let mix = Mix {
            objects,
            schema: args.schema,
        };
        scales.push(scale::run(&site, mix, lengths(objects)).await?);
    }
    let (mut large, mut measured, mut neighbours) = (None, Vec::new(), Vec::new());
    if !args.scales_only && !args.neighbours_only {
        let mix = Mix {
            objects: LARGE,
            schema: 64 * 1024,
        };
        let lengths = Lengths {
            steady: Duration::from_secs(5),
            ..lengths(LARGE)
        };
        large = Some(scale::run(&site, mix, lengths).await?);
        for objects in [FEW_DELAYS, DELAYS] {
            let mix = Mix {
                objects,
                schema: args.schema,
            };
            measured.push(scale::delays(&site, mix).await?);
        }
    }
    // These run last, because they leave hanging and refused requests behind.
    if !args.scales_only {
        neighbours = neighbours::run(&site).await?;
    }
    let report = Report {
        ground: ground(&site),
        scales,
        large,
        measured,
        computed: [10, 200].map(|running| (running, delay::computed(running, RATE))),
        neighbours,
    };
    site.stop().await?;
    let text = report.markdown();
    println!("{text}");
    if let Some(path) = args.output {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let all = report.scales.iter().chain(&report.large);
    let mut wrong: Vec<_> = all.flat_map(budget::violations).collect();
    let exceeded = report.neighbours.iter().filter(|row| row.is_kept == Some(false));
    wrong.extend(exceeded.map(|row| format!("{}: {}, not {}", row.what, row.measured, row.wanted)));
    if !wrong.is_empty() {
        bail!("budgets are exceeded:\n  {}", wrong.join("\n  "));
    }
    eprintln!("bench: all counts and all memory are within their budgets");
    Ok(())
}

fn ground(site: &Site) -> Ground {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    Ground {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        machine: format!("{cores} cores ({model}), memory {memory}"),
        versions: format!(
            "amplify-operator {} ({}), kube-apiserver {}",
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) {
                "debug build"
            } else {
                "release build"
            },
            site.server
        ),
    }
}
