//! `window`: rows summed up by key, in windows of event time.

mod front;
mod groups;
mod state;

use weir_core::component::{Keyed, Worker};
use weir_core::{Build, BuildCx, Entry, Fault};
use weir_spec::component::{COMPUTED, OutputSpec, ReasonSpec};
use weir_spec::memory::Memory;
use weir_spec::plan::{Stage, Windowing};
use weir_spec::{ComponentSpec, Shape};

pub const ENTRY: Entry = Entry { spec: &SPEC, build: Build::Keyed(build) };

pub static SPEC: ComponentSpec = ComponentSpec {
    name: "window",
    summary: "sums rows up by key, in windows of event time",
    shape: Shape::Keyed,
    outputs: &[
        OutputSpec { name: "", doc: "one row a window and key" },
        OutputSpec { name: "late", doc: "rows that came after all their windows had closed" },
    ],
    drops: &[
        ReasonSpec { name: "unread_late", doc: "late rows that nobody reads" },
        ReasonSpec {
            name: "windows_full",
            doc: "rows with times so far ahead of the clock, or of all others, that they are in none of the next windows, when as many such windows were open as half of the memory for groups holds (1,024 at least)",
        },
    ],
    notes: &[
        COMPUTED,
        &[ReasonSpec {
            name: "overflow",
            doc: "rows of keys for which a window had no room; they are in its group `overflow`",
        }],
    ],
    memory: |_| Memory::share(0),
    examples: &["pcap(\"shop.pcap.gz\") | window(5m) by src.ip { packets = count() } | stdout"],
    ..ComponentSpec::PLAIN
};

fn build(cx: &BuildCx) -> Result<Keyed, Fault> {
    let Stage::Window(window) = &cx.node.stage else { return Err(Fault::bug("`window` without its plan")) };
    if matches!(window.windowing, Windowing::Session { .. }) {
        return Err(Fault::environment("session windows cannot run yet"));
    }
    let worker = |_| -> Box<dyn Worker> { Box::new(groups::Groups::new(window.clone(), cx)) };
    Ok(Keyed {
        front: Box::new(front::WindowFront::new(window.clone(), cx)),
        workers: (0..cx.workers).map(worker).collect(),
        bytes_max: cx.state_bytes as usize,
    })
}

/// The starts of the windows that a time is in, latest first.
fn starts(windowing: Windowing, time: i64) -> impl Iterator<Item = i64> {
    let (width, every) = match windowing {
        Windowing::Tumbling { width } => (width, width),
        Windowing::Hopping { width, every } => (width, every),
        Windowing::Session { gap, .. } => (gap, gap),
    };
    let last = time.div_euclid(every).saturating_mul(every);
    (0..)
        .map(move |n: i64| last.saturating_sub(n.saturating_mul(every)))
        .take_while(move |start| start.saturating_add(width) > time)
}

fn width(windowing: Windowing) -> i64 {
    match windowing {
        Windowing::Tumbling { width } | Windowing::Hopping { width, .. } => width,
        Windowing::Session { max, .. } => max,
    }
}
