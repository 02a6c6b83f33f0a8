//! The report: one document with a column per scale.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use crate::{
    delay::Delays,
    mix::Kind,
    neighbours::Row,
    ratio::ratio,
    scale::{Figures, Phase},
    usage::Memory,
};

/// The machine and programs on which the figures were measured.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) versions: String,
}

/// All measurements.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) ground: Ground,
    pub(crate) scales: Vec<Figures>,
    /// The run with large schemas.
    pub(crate) large: Option<Figures>,
    pub(crate) measured: Vec<Delays>,
    /// Computed delays, by the number of jobs that run in an account and region.
    pub(crate) computed: [(usize, Delays); 2],
    pub(crate) neighbours: Vec<Row>,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn each(count: u64, figures: &Figures) -> f64 {
    count as f64 / figures.mix.objects as f64
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.2} s")
    } else {
        format!("{seconds:.0} s")
    }
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", ratio(usize::try_from(kib).unwrap_or(usize::MAX), 1024))
}

fn memory(memory: Memory) -> String {
    format!("{} ({})", mib(memory.resident), mib(memory.file))
}

/// A table. Each row has a title and a cell per scale.
struct Table<'a> {
    text: String,
    scales: &'a [Figures],
}

impl<'a> Table<'a> {
    fn new(title: &str, scales: &'a [Figures]) -> Self {
        let mut text = format!("\n| {title} |");
        for figures in scales {
            let _ = write!(text, " {} |", figures.mix.objects);
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(scales.len()));
        text.push('\n');
        Self { text, scales }
    }

    fn row(&mut self, title: &str, cell: impl Fn(&Figures) -> String) -> &mut Self {
        let _ = write!(self.text, "| {title} |");
        for figures in self.scales {
            let _ = write!(self.text, " {} |", cell(figures));
        }
        self.text.push('\n');
        self
    }

    /// Adds a row for each kind of request of a phase, per object.
    fn counts(&mut self, phase: impl Fn(&Figures) -> &Phase) -> &mut Self {
        let requests: BTreeSet<_> = self
            .scales
            .iter()
            .flat_map(|it| phase(it).counts.requests.keys())
            .cloned()
            .collect();
        for request in requests {
            self.row(&format!("`{request}`"), |figures| {
                let count = phase(figures)
                    .counts
                    .requests
                    .get(&request)
                    .copied()
                    .unwrap_or_default();
                format!("{:.3}", each(count, figures))
            });
        }
        let calls: BTreeSet<_> = self
            .scales
            .iter()
            .flat_map(|it| phase(it).counts.calls.keys())
            .copied()
            .collect();
        for operation in calls {
            self.row(&format!("AWS `{operation}`"), |figures| {
                format!("{:.3}", each(phase(figures).counts.calls_of(operation), figures))
            });
        }
        self
    }
}

fn cpu_each(phase: &Phase, figures: &Figures) -> String {
    format!(
        "{:.2} ms",
        phase.cpu.as_secs_f64() * 1000.0 / ratio(figures.mix.objects, 1)
    )
}

fn times(bare: Duration, operator: Duration) -> String {
    format!("{:.2}", bare.as_secs_f64() / operator.as_secs_f64().max(1e-9))
}

impl Report {
    /// Renders the report as Markdown.
    #[expect(clippy::too_many_lines, reason = "the page from top to bottom")]
    pub(crate) fn markdown(&self) -> String {
        let scales = &self.scales;
        let ground = &self.ground;
        let mut text = format!(
            "{HEAD}\nMeasured on {}, {}; {}.\n\n## Figures\n",
            ground.date, ground.machine, ground.versions
        );
        let mut table = Table::new("objects", scales);
        table
            .row("of these AmplifyBackend / BackendApi / BackendEnvironment", |it| {
                Kind::ALL.map(|kind| it.mix.count(kind).to_string()).join(" / ")
            })
            .row("apps; regions", |it| format!("{}; {}", it.mix.apps(), it.mix.regions()))
            .row("**from apply to all Ready**", |it| seconds(it.create.time))
            .row("the same writes by the bare load generator", |it| {
                seconds(it.bare_create)
            })
            .row("**share of its rate** (budget: 0.5)", |it| {
                times(it.bare_create, it.create.time)
            })
            .row("**from delete to all gone**", |it| seconds(it.delete.time))
            .row("the same writes by the bare load generator", |it| {
                seconds(it.bare_delete)
            })
            .row("**share of its rate**", |it| times(it.bare_delete, it.delete.time))
            .row("writes per object until Ready; to delete (Events apart)", |it| {
                let (create, delete) = (it.create.counts.writes(), it.delete.counts.writes());
                format!("{:.2}; {:.2}", each(create, it), each(delete, it))
            })
            .row(
                "of these, while APIs wait for backends; while backends wait for APIs to go",
                |it| format!("{:.2}; {:.2}", each(it.extra.create, it), each(it.extra.delete, it)),
            )
            .row("AWS calls per object until Ready; to delete", |it| {
                let (create, delete) = (it.create.counts.calls(), it.delete.counts.calls());
                format!("{:.2}; {:.2}", each(create, it), each(delete, it))
            })
            .row("CPU per object until Ready; to delete", |it| {
                format!("{}; {}", cpu_each(&it.create, it), cpu_each(&it.delete, it))
            })
            .row(
                "**RSS idle**, before (of that, pages of the program) (budget: 16 MiB)",
                |it| memory(it.idle),
            )
            .row("**RSS with all Ready**, after the creates (budget: 64 MiB)", |it| {
                memory(it.ready)
            })
            .row("RSS at its peak until then", |it| mib(it.ready.peak))
            .row("**RSS with all Ready**, after a restart (budget: 64 MiB)", |it| {
                memory(it.restarted)
            })
            .row("RSS at its peak until then", |it| mib(it.restarted.peak))
            .row("RSS after a drift check of each", |it| memory(it.drifted))
            .row("**restart with all Ready**: until quiet", |it| seconds(it.restart.time))
            .row("its CPU", |it| seconds(it.restart.cpu))
            .row("its Kubernetes reads; writes; AWS calls but for STS", |it| {
                let counts = &it.restart.counts;
                format!(
                    "{}; {}; {}",
                    counts.requests() - counts.writes(),
                    counts.writes(),
                    counts.calls()
                )
            })
            .row("**steady state**: for", |it| seconds(it.steady.time))
            .row("its Kubernetes reads; writes; AWS calls", |it| {
                let counts = &it.steady.counts;
                format!(
                    "{}; {}; {}",
                    counts.requests() - counts.writes(),
                    counts.writes(),
                    counts.calls()
                )
            })
            .row("its CPU", |it| format!("{:.2} s", it.steady.cpu.as_secs_f64()))
            .row("**drift checks** of all: AWS calls", |it| {
                it.drift.counts.calls().to_string()
            })
            .row("their writes; CPU", |it| {
                format!("{}; {}", it.drift.counts.writes(), seconds(it.drift.cpu))
            })
            .row(
                "**a new object** when all others have been applied: these not Ready yet",
                |it| it.late.behind.to_string(),
            )
            .row("it waits; they take", |it| {
                format!("{}; {}", seconds(it.late.wait), seconds(it.late.backlog))
            })
            .row("it waits behind more drift checks than AWS takes calls", |it| {
                it.behind_drift.map_or_else(|| "–".to_owned(), seconds)
            });
        text.push_str(&table.text);
        text.push_str("\n## Requests per object\n\nFrom apply to all Ready:\n");
        text.push_str(&Table::new("request", scales).counts(|it| &it.create).text);
        text.push_str("\nFrom delete to all gone:\n");
        text.push_str(&Table::new("request", scales).counts(|it| &it.delete).text);
        text.push_str("\nAfter a restart, until quiet:\n");
        text.push_str(&Table::new("request", scales).counts(|it| &it.restart).text);
        self.apart(&mut text);
        text
    }

    /// Adds the runs with a single purpose.
    fn apart(&self, text: &mut String) {
        self.large(text);
        self.neighbours(text);
        self.delays(text);
    }

    fn large(&self, text: &mut String) {
        if let Some(it) = &self.large {
            let _ = write!(
                text,
                "\n## Large schemas\n\nWith schemas of {} KiB, {} objects: RSS {} with all Ready after the creates (peak {}), {} after a \
                 restart (peak {}), {} after a drift check of each.\n",
                it.mix.schema / 1024,
                it.mix.objects,
                mib(it.ready.resident),
                mib(it.ready.peak),
                mib(it.restarted.resident),
                mib(it.restarted.peak),
                mib(it.drifted.resident),
            );
        }
    }

    fn delays(&self, text: &mut String) {
        text.push_str("\n## From the end of a job to Ready\n\n| jobs | number | p50 | p95 | polls per job |\n|---|---:|---:|---:|---:|\n");
        let mut row = |title: &str, it: &Delays| {
            let _ = writeln!(
                text,
                "| {title} | {} | {:.1} s | {:.1} s | {:.1} |",
                it.jobs, it.p50, it.p95, it.polls
            );
        };
        for measured in &self.measured {
            row("measured: 30 to 60 s long, default flags", measured);
        }
        for (running, computed) in &self.computed {
            let title = format!(
                "computed: the poll schedule alone at 5 calls/s with {running} jobs running, of a median of 5 min and a 95th \
                 percentile of 15 min (lognormal; an assumption)"
            );
            row(&title, computed);
        }
    }

    fn neighbours(&self, text: &mut String) {
        if self.neighbours.is_empty() {
            return;
        }
        text.push_str("\n## Neighbours\n\nDefault flags; each row is a run of its own.\n\n| | wanted | measured |\n|---|---|---|\n");
        for Row {
            what, wanted, measured, ..
        } in &self.neighbours
        {
            let _ = writeln!(text, "| {what} | {wanted} | {measured} |");
        }
    }
}

const HEAD: &str = include_str!("head.md");
