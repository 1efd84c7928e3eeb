//! A plan as running tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::task::JoinSet;
use weir_spec::memory::{Division, EDGE_BATCHES_MAX};
use weir_spec::plan::{Node, Port};
use weir_spec::{Plan, Shape};

use crate::clock::Clock;
use crate::component::{Build, BuildCx, Entry, FarEnd, Places, Progress, SinkParts, Source, SourceCx, Transform};
use crate::edge::{Limits, Receiver, edge};
use crate::fault::Fault;
use crate::ledger::{Accounts, Counts, EdgeName, Ledger};
use crate::out::{Inline, Out, Reader};
use crate::split::Split;
use crate::stop::Stop;
use crate::sync::lock;
use crate::task::{Ended, sink, source, transform};

/// A built graph, ready to start.
pub struct Graph {
    tasks: Vec<Task>,
    handle: Handle,
    drain: Duration,
}

/// What can be asked of a running graph.
#[derive(Clone)]
pub struct Handle {
    accounts: Accounts,
    pub progress: Arc<Progress>,
    pub stop: Stop,
    dead: Arc<Mutex<Vec<String>>>,
}

impl Handle {
    /// Tasks that have ended with a failure, each with what it said.
    pub fn dead(&self) -> Vec<String> {
        lock(&self.dead).clone()
    }

    pub fn ledger(&self) -> Ledger {
        self.accounts.ledger()
    }
}

/// How a run ended.
pub struct Report {
    pub ledger: Ledger,
    pub faults: Vec<Fault>,
}

enum Task {
    Source(String, Box<dyn Source>, SourceCx),
    Transform(String, Box<dyn Transform>, transform::Inputs, Out),
    Sink(String, SinkParts, Receiver, Out),
}

impl Task {
    fn name(&self) -> &str {
        match self {
            Task::Source(name, ..) | Task::Transform(name, ..) | Task::Sink(name, ..) => name,
        }
    }
}

/// What a graph is built with.
pub struct Setup<'a> {
    pub table: &'a [Entry],
    pub places: &'a Places,
    pub clock: Clock,
    /// What stands in for components, in tests.
    pub stand_ins: Option<&'a dyn StandIns>,
}

/// Components in place of those of the table. Where it has none, the table's is built.
pub trait StandIns {
    fn source(&self, _cx: &BuildCx) -> Option<Box<dyn Source>> {
        None
    }
    fn transform(&self, _cx: &BuildCx) -> Option<Box<dyn Transform>> {
        None
    }
    fn far_end(&self, _cx: &BuildCx) -> Option<FarEnd> {
        None
    }
}

struct Builder<'a> {
    plan: &'a Plan,
    setup: &'a Setup<'a>,
    division: Division,
    accounts: Accounts,
    counts: Vec<Arc<Counts>>,
    receivers: BTreeMap<usize, Vec<(usize, Receiver)>>,
    progress: Arc<Progress>,
    stop: Stop,
    /// For sources that tell of the graph itself; there once it is whole.
    whole: Arc<OnceLock<Accounts>>,
}

impl Graph {
    /// Builds every component. Opens files and sockets, so it can fail; starts nothing.
    pub fn build(plan: &Plan, setup: &Setup) -> Result<Graph, Vec<Fault>> {
        let division = plan
            .divide()
            .map_err(|missing| vec![Fault::environment(format!("the memory budget is {missing} bytes too small"))])?;
        let mut accounts = Accounts::default();
        let counts = plan.nodes.iter().map(|n| accounts.open(&n.name, n.spec.name)).collect();
        let mut builder = Builder {
            plan,
            setup,
            division,
            accounts,
            counts,
            receivers: BTreeMap::new(),
            progress: Arc::new(Progress::default()),
            stop: Stop::default(),
            whole: Arc::default(),
        };
        let tasks = builder.tasks()?;
        let _ = builder.whole.set(builder.accounts.clone());
        let handle =
            Handle { accounts: builder.accounts, progress: builder.progress, stop: builder.stop, dead: Arc::default() };
        let drain = Duration::from_nanos(plan.settings.drain_nanos.max(0) as u64);
        Ok(Graph { tasks, handle, drain })
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs to the end of every input, or until stopped and drained.
    pub async fn run(self) -> Report {
        let mut running = JoinSet::new();
        let mut named = Vec::new();
        for task in self.tasks {
            let name = task.name().to_string();
            let spawned = match task {
                Task::Source(name, source, cx) => running.spawn(source::run(name, source, cx)),
                Task::Transform(name, stage, inputs, out) => running.spawn(transform::run(name, stage, inputs, out)),
                Task::Sink(name, parts, receiver, out) => running.spawn(sink::run(name, parts, receiver, out)),
            };
            named.push((name, spawned));
        }
        let mut faults = Vec::new();
        let stop = self.handle.stop.clone();
        loop {
            let ended = tokio::select! {
                ended = running.join_next() => ended,
                () = drained(&stop, self.drain) => {
                    let drain = weir_spec::units::duration(self.drain.as_nanos() as i64);
                    let left = named.iter().filter(|(_, task)| !task.is_finished());
                    let left: Vec<String> = left.map(|(name, _)| format!("`{name}`")).collect();
                    // The last one may have ended just now.
                    if !left.is_empty() {
                        let fault = Fault::environment(format!("{} did not drain within {drain}", left.join(", ")));
                        let help = "what these held was not delivered; `settings(drain: …)` gives them longer";
                        faults.push(fault.help(help).of("shutdown"));
                    }
                    running.shutdown().await;
                    None
                }
            };
            match ended {
                None => break,
                Some(Ok(Ended { faults: more })) => {
                    lock(&self.handle.dead).extend(more.iter().map(ToString::to_string));
                    faults.extend(more);
                }
                Some(Err(error)) => {
                    lock(&self.handle.dead).push(error.to_string());
                    faults.push(Fault::bug(format!("a task failed: {error}")).of("engine"));
                    stop.stop();
                }
            }
        }
        Report { ledger: self.handle.ledger(), faults }
    }
}

fn unknown(cx: &BuildCx) -> Fault {
    Fault::bug(format!("nothing stands in for `{}`", cx.node.spec.name))
}

/// Returns when the graph was stopped and its deadline has passed.
async fn drained(stop: &Stop, deadline: Duration) {
    stop.stopped().await;
    tokio::time::sleep(deadline).await;
}

impl Builder<'_> {
    /// From the last node to the first, so that readers exist before who writes to them.
    fn tasks(&mut self) -> Result<Vec<Task>, Vec<Fault>> {
        let mut tasks = Vec::new();
        let mut faults = Vec::new();
        let mut readers: BTreeMap<(Port, usize, usize), Reader> = BTreeMap::new();
        for at in (0..self.plan.nodes.len()).rev() {
            let node = &self.plan.nodes[at];
            let out = self.out(at, &mut readers);
            let built = match node.is_inline() {
                true => self.transform(at).map(|stage| {
                    let counts = self.accounts.open_edge(self.edge_name(node.inputs[0], node));
                    let inline = Inline::new(node.name.clone(), stage, out, counts);
                    readers.insert((node.inputs[0], at, 0), Reader::Inline(Box::new(inline)));
                }),
                false => {
                    self.edges(at, &mut readers);
                    self.task(at, out).map(|task| tasks.push(task))
                }
            };
            if let Err(fault) = built {
                faults.push(fault.of(&node.name));
            }
        }
        tasks.reverse();
        if faults.is_empty() { Ok(tasks) } else { Err(faults) }
    }

    fn edge_name(&self, from: Port, to: &Node) -> EdgeName {
        let upstream = &self.plan.nodes[from.node];
        EdgeName {
            from: upstream.name.clone(),
            output: upstream.outputs[from.output].name.clone(),
            to: to.name.clone(),
        }
    }

    fn out(&self, at: usize, readers: &mut BTreeMap<(Port, usize, usize), Reader>) -> Out {
        let outputs = self.plan.nodes[at].outputs.iter().enumerate().map(|(output, declared)| {
            let port = Port { node: at, output };
            let keys: Vec<_> = readers.range((port, 0, 0)..=(port, usize::MAX, usize::MAX)).map(|(k, _)| *k).collect();
            let readers = keys.iter().filter_map(|key| readers.remove(key)).collect();
            (declared.name.clone(), readers)
        });
        Out::new(self.counts[at].clone(), outputs.collect())
    }

    /// Opens the queues that end at this node.
    fn edges(&mut self, at: usize, readers: &mut BTreeMap<(Port, usize, usize), Reader>) {
        let node = &self.plan.nodes[at];
        let limits = Limits { batches_max: EDGE_BATCHES_MAX, bytes_max: self.division.edge_bytes as usize };
        for (input, from) in node.inputs.iter().enumerate() {
            let counts = self.accounts.open_edge(self.edge_name(*from, node));
            let (sender, receiver) = edge(limits, node.on_full, counts, self.counts[at].clone());
            readers.insert((*from, at, input), Reader::Edge(sender));
            self.receivers.entry(at).or_default().push((input, receiver));
        }
    }

    fn task(&mut self, at: usize, out: Out) -> Result<Task, Fault> {
        let name = self.plan.nodes[at].name.clone();
        let mut receivers = self.receivers.remove(&at).unwrap_or_default();
        receivers.sort_by_key(|(input, _)| *input);
        let mut receivers: Vec<Receiver> = receivers.into_iter().map(|(_, r)| r).collect();
        match self.build(at)? {
            Build::Source(build) => {
                let stand_in = self.setup.stand_ins.and_then(|s| s.source(&self.cx(at)));
                let source = stand_in.map_or_else(|| build(&self.cx(at)), Ok)?;
                let cx = SourceCx {
                    out,
                    clock: self.setup.clock.clone(),
                    stop: self.stop.clone(),
                    progress: self.progress.clone(),
                    faults: Vec::new(),
                    accounts: self.whole.clone(),
                };
                Ok(Task::Source(name, source, cx))
            }
            Build::Sink(build) => {
                let cx = self.cx(at);
                let stand_in = self.setup.stand_ins.and_then(|s| s.far_end(&cx));
                let far_end = stand_in.map_or_else(|| (build.far_end)(&cx), Ok)?;
                let parts = SinkParts { encoder: (build.encoder)(&cx)?, far_end };
                let receiver = receivers.pop().ok_or_else(|| Fault::bug("a sink without input"))?;
                Ok(Task::Sink(name, parts, receiver, out))
            }
            Build::Transform(_) | Build::Keyed(_) => {
                let inputs = transform::Inputs::new(receivers);
                Ok(Task::Transform(name, self.transform(at)?, inputs, out))
            }
        }
    }

    fn transform(&self, at: usize) -> Result<Box<dyn Transform>, Fault> {
        if let Some(stand_in) = self.setup.stand_ins.and_then(|s| s.transform(&self.cx(at))) {
            return Ok(stand_in);
        }
        match self.build(at)? {
            Build::Transform(build) => build(&self.cx(at)),
            Build::Keyed(build) => Ok(Box::new(Split::new(build(&self.cx(at))?))),
            _ => Err(Fault::bug("a source or sink stands where a transform belongs")),
        }
    }

    /// How a node is built; what only a stand-in can be is of its shape, and cannot be built.
    fn build(&self, at: usize) -> Result<Build, Fault> {
        let spec = self.plan.nodes[at].spec;
        if let Some(entry) = self.setup.table.iter().find(|e| e.spec.name == spec.name) {
            return Ok(entry.build);
        }
        match (self.setup.stand_ins.is_some(), spec.shape) {
            (true, Shape::Source) => Ok(Build::Source(|cx| Err(unknown(cx)))),
            (true, Shape::Stateful) => Ok(Build::Transform(|cx| Err(unknown(cx)))),
            _ => Err(Fault::bug(format!("`{}` is not in the table of components", spec.name))),
        }
    }

    fn cx(&self, at: usize) -> BuildCx<'_> {
        let node = &self.plan.nodes[at];
        let schema = |p: &Port| self.plan.nodes[p.node].schema(p.output).clone();
        // In a test the next row may come at any time.
        let ends = self.setup.stand_ins.is_none();
        let bounded = ends && node.inputs.iter().all(|p| self.plan.nodes[p.node].outputs[p.output].stream.bounded);
        BuildCx {
            node,
            inputs: node.inputs.iter().map(schema).collect(),
            outputs: node.outputs.iter().map(|o| o.stream.schema.clone()).collect(),
            state_bytes: self.division.state_bytes[at],
            workers: self.plan.settings.workers.max(1),
            places: self.setup.places,
            clock: &self.setup.clock,
            bounded,
            counts: &self.counts[at],
        }
    }
}
