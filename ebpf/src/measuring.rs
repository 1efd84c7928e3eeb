//! What the programs cost, by the kernel's own account of their runs.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use aya::programs::{CgroupAttachMode, CgroupSkb, CgroupSkbAttachType};
use aya::sys::{Stats, enable_stats};

use crate::program::{Program, Refused, Wanted};

/// What one program has cost since it was attached, as long as it was measured.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cost {
    pub runs: u64,
    pub time: Duration,
}

impl Cost {
    pub fn since(self, before: Cost) -> Cost {
        Cost { runs: self.runs.saturating_sub(before.runs), time: self.time.saturating_sub(before.time) }
    }

    /// Nanoseconds of a run.
    pub fn nanos(self) -> f64 {
        self.time.as_nanos() as f64 / self.runs.max(1) as f64
    }
}

/// The program, attached and measured for as long as this is held.
pub struct Measuring {
    pub program: Program,
    _stats: OwnedFd,
}

/// A program that does nothing: what is measured of it is what measuring costs.
pub const NOTHING: &str = "nothing";

impl Measuring {
    /// Needs `CAP_SYS_ADMIN` beside what the program needs.
    pub fn begin(wanted: Wanted, cgroups: Option<&Path>) -> Result<Measuring, Refused> {
        let stats = enable_stats(Stats::RunTime).map_err(|error| Refused::new("have the kernel measure", &error))?;
        let mut program = Program::attach(wanted, cgroups)?;
        if let Some(cgroups) = cgroups.and_then(|cgroups| File::open(cgroups).ok()) {
            let what = "attach a program that does nothing";
            let nothing: &mut CgroupSkb = program.program(NOTHING)?;
            nothing.load().map_err(|error| Refused::new(what, &error))?;
            let attached = nothing.attach(cgroups, CgroupSkbAttachType::Egress, CgroupAttachMode::Single);
            attached.map_err(|error| Refused::new(what, &error))?;
        }
        Ok(Measuring { program, _stats: stats })
    }

    /// What a program has cost, by its name in `bpf/`; nothing of one that is not attached.
    pub fn cost(&self, name: &str) -> Cost {
        self.program.cost(name).unwrap_or_default()
    }
}
