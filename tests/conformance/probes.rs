//! Components of the suite's own, put around the one under test: they open tickets, cut batches, watch
//! time, and stand in for what a sink delivers to.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use weir::components::ENTRIES;
use weir_core::acks::Tally;
use weir_core::component::{Delivery, FarEnd, Outcome, Route, SinkBuild};
use weir_core::{Acks, Batch, Build, BuildCx, Entry, Fault, Finish, Out, Source, SourceCx, Time, Transform};
use weir_spec::option::OptionType;
use weir_spec::{ComponentSpec, Shape};

/// What stands behind the sinks does.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Behind {
    Delivers,
    /// Takes a payload and never answers.
    Hangs,
    /// Refuses the first payload for good.
    Fails,
    /// Is away three times for every payload, then takes it.
    Comes,
    /// Wants no more after the first payload.
    Leaves,
}

/// How the feed ends, after all its rows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Ending {
    Flush,
    Replayable,
    Panics,
}

/// One run: how it is set up, and what was seen.
pub struct Scene {
    pub behind: Behind,
    pub ending: Ending,
    pub tally: Arc<Tally>,
    pub seen: Mutex<Seen>,
}

#[derive(Default)]
pub struct Seen {
    pub tickets: u64,
    /// Rows that went in at the feeds.
    pub fed: u64,
    /// Rows that came past `watch`.
    pub watched: u64,
    pub ends: u64,
    /// What broke a rule of time, in words.
    pub broken: Vec<String>,
    pub payload: Vec<u8>,
}

thread_local! {
    /// A graph is built on the thread that asks for it, so this is how probes find their scene.
    static SCENE: RefCell<Option<Arc<Scene>>> = const { RefCell::new(None) };
}

impl Scene {
    pub fn new(behind: Behind, ending: Ending) -> Arc<Scene> {
        let scene = Arc::new(Scene { behind, ending, tally: Arc::default(), seen: Mutex::default() });
        SCENE.set(Some(scene.clone()));
        scene
    }

    fn current() -> Arc<Scene> {
        SCENE.with_borrow(|scene| scene.clone()).expect("a scene is set before its graph is built")
    }
}

/// The real table with every sink's far end replaced, and the probes.
pub fn table() -> Vec<Entry> {
    let replaced = |entry: &Entry| match (entry.spec.shape, entry.spec.name) {
        (Shape::Sink, _) => {
            let Build::Sink(build) = entry.build else { unreachable!("a sink is built as one") };
            Entry { build: Build::Sink(SinkBuild { far_end, ..build }), ..*entry }
        }
        (_, "generate") => Entry { build: Build::Source(feed), ..*entry },
        _ => *entry,
    };
    let real = ENTRIES.iter().map(replaced);
    let probe = |spec, build| Entry { spec, build: Build::Transform(build) };
    real.chain([probe(&TICKET, ticket), probe(&CUT, cut), probe(&WATCH, watch)]).collect()
}

fn real(cx: &BuildCx) -> Build {
    let name = cx.node.spec.name;
    ENTRIES.iter().find(|e| e.spec.name == name).expect("only real entries are replaced").build
}

static TICKET: ComponentSpec =
    ComponentSpec { name: "ticket", summary: "opens a ticket a batch", ..ComponentSpec::PLAIN };
static WATCH: ComponentSpec =
    ComponentSpec { name: "watch", summary: "checks what is promised of time", ..ComponentSpec::PLAIN };
static CUT: ComponentSpec = ComponentSpec {
    name: "cut",
    summary: "batches of so many rows",
    options: CutOptions::SPECS,
    ..ComponentSpec::PLAIN
};

weir_spec::options! {
    pub struct CutOptions {
        /// Rows of a batch.
        rows: i64 = (OptionType::Int { min: 1, max: 1 << 20 }, positional, required),
    }
}

fn ticket(_: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    Ok(Box::new(Ticket(Scene::current())))
}

struct Ticket(Arc<Scene>);

impl Transform for Ticket {
    fn on_batch(&mut self, mut batch: Batch, out: &mut Out) {
        let mut seen = self.0.seen.lock().unwrap();
        seen.fed += batch.len() as u64;
        let before = std::mem::replace(&mut batch.acks, Acks::new(self.0.tally.clone(), seen.tickets));
        assert!(before.is_empty(), "the feed has no tickets of its own");
        seen.tickets += 1;
        drop(seen);
        out.send(0, batch);
    }
}

fn cut(cx: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    let options = CutOptions::read(&cx.values()).map_err(Fault::bug)?;
    Ok(Box::new(Cut(options.rows as usize)))
}

struct Cut(usize);

impl Transform for Cut {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        for from in (0..batch.len()).step_by(self.0) {
            out.send(0, batch.slice(from, self.0.min(batch.len() - from)));
        }
        batch.acks.delivered();
    }
}

fn watch(_: &BuildCx) -> Result<Box<dyn Transform>, Fault> {
    Ok(Box::new(Watch { scene: Scene::current(), promised: Time::START }))
}

struct Watch {
    scene: Arc<Scene>,
    promised: Time,
}

impl Transform for Watch {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let mut seen = self.scene.seen.lock().unwrap();
        seen.watched += batch.len() as u64;
        for (time, input) in batch.time.iter().zip(&batch.seen) {
            // A row from before what was promised is fine if it can be told to be late.
            if Time(*time) <= self.promised && Time(*input) < self.promised && seen.broken.len() < 5 {
                let promised = self.promised;
                seen.broken.push(format!("a row of {} after {promised} was promised", Time(*time)));
            }
        }
        drop(seen);
        out.send(0, batch);
    }

    fn on_watermark(&mut self, now: Time) {
        let mut seen = self.scene.seen.lock().unwrap();
        if now < self.promised {
            seen.broken.push(format!("time went back from {} to {now}", self.promised));
        }
        seen.ends += u64::from(now == Time::END);
        self.promised = now;
    }
}

fn feed(cx: &BuildCx) -> Result<Box<dyn Source>, Fault> {
    let Build::Source(build) = real(cx) else { return Err(Fault::bug("not a source")) };
    Ok(Box::new(Feed { inner: build(cx)?, ending: Scene::current().ending }))
}

struct Feed {
    inner: Box<dyn Source>,
    ending: Ending,
}

#[async_trait]
impl Source for Feed {
    async fn run(self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let finish = self.inner.run(cx).await?;
        match self.ending {
            Ending::Flush => Ok(finish),
            Ending::Replayable => Ok(Finish::Replayable),
            Ending::Panics => panic!("the feed panics, as this test wants it to"),
        }
    }
}

fn far_end(cx: &BuildCx) -> Result<FarEnd, Fault> {
    let Build::Sink(build) = real(cx) else { return Err(Fault::bug("not a sink")) };
    // A far end that needs a key or a port of its own is not approached at all.
    let is_elsewhere = ["http", "datadog", "prometheus"].contains(&cx.node.spec.name);
    let real = match is_elsewhere {
        true => FarEnd::new(Arc::new(Taken)),
        false => (build.far_end)(cx)?,
    };
    let put = Put { scene: Scene::current(), times: Mutex::new(0), inner: real.delivery.clone() };
    Ok(FarEnd { delivery: Arc::new(put), ..real })
}

/// Takes everything.
struct Taken;

#[async_trait]
impl Delivery for Taken {
    async fn deliver(&self, _: Route, _: Bytes) -> Outcome {
        Outcome::Delivered
    }
}

struct Put {
    scene: Arc<Scene>,
    times: Mutex<u64>,
    inner: Arc<dyn Delivery>,
}

#[async_trait]
impl Delivery for Put {
    fn in_flight_max(&self) -> usize {
        self.inner.in_flight_max()
    }

    async fn deliver(&self, _: Route, payload: Bytes) -> Outcome {
        let times = {
            let mut times = self.times.lock().unwrap();
            *times += 1;
            *times
        };
        match self.scene.behind {
            Behind::Hangs => std::future::pending().await,
            Behind::Fails => return Outcome::Down(Fault::environment("this test wants it to fail")),
            Behind::Comes if times % 4 != 0 => {
                return Outcome::RetryAfter(Duration::from_secs(1), Fault::environment("away"));
            }
            Behind::Leaves if times > 1 => return Outcome::Closed,
            _ => {}
        }
        self.scene.seen.lock().unwrap().payload.extend_from_slice(&payload);
        Outcome::Delivered
    }
}
