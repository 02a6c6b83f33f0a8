//! The resources that a process uses, from the kernel's counters (Linux's `/proc`).

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time;

/// A process that uses less CPU than this in a second is quiet.
const QUIET: Duration = Duration::from_millis(20);

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident memory: the process's own and the pages of its program file.
    pub(crate) resident: u64,
    /// The part of it that is pages of files: the program itself.
    pub(crate) file: u64,
    /// The highest resident memory so far.
    pub(crate) peak: u64,
}

/// A process, by its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage(u32);

impl Usage {
    pub(crate) const fn of(process: u32) -> Self {
        Self(process)
    }

    pub(crate) fn memory(self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).context("the operator has ended")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let field = |name| field(name).with_context(|| format!("/proc/…/status has no {name}"));
        Ok(Memory {
            resident: field("VmRSS:")?,
            file: field("RssFile:")?,
            peak: field("VmHWM:")?,
        })
    }

    /// Returns the CPU time used so far, in user and kernel mode.
    pub(crate) fn cpu(self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).context("the operator has ended")?;
        // The name, in brackets, may contain blanks.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        let ticks = ticks
            .sum::<Result<u64, _>>()
            .context("/proc/…/stat is not as expected")?;
        Ok(Duration::from_millis(
            ticks * 1000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Waits until the process is quiet for a second. Returns the CPU time that it has used by then.
    pub(crate) async fn quiet(self) -> Result<Duration> {
        let mut before = self.cpu()?;
        loop {
            time::sleep(Duration::from_secs(1)).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) <= QUIET {
                return Ok(now);
            }
            before = now;
        }
    }
}
