//! One test, step by step: each runs until nothing moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_core::clock::Virtual;
use weir_core::component::Places;
use weir_core::graph::{Handle, Setup};
use weir_core::{Clock, Entry, Fault, Graph, Time};
use weir_spec::component::Need;
use weir_spec::testing::{StepKind, TestCase};
use weir_spec::{Plan, Span};

use super::expect;
use super::scene::{Captured, Feeding, Order, Scene, UnderTest};
use crate::components::ENTRIES;

/// Virtual time that a graph is given to come to rest; longer than any batching, shorter than the
/// first retry.
const SETTLE: Duration = Duration::from_millis(40);
/// An advance is walked in so many steps, so that what happens on the way happens in its order.
const STEPS: i64 = 60;

/// How a test ended.
pub struct Outcome {
    pub took: Duration,
    pub failure: Option<Failure>,
}

/// The first statement that does not hold.
pub struct Failure {
    pub span: Span,
    pub title: String,
    /// What was seen, laid out; may be empty.
    pub seen: String,
}

/// Files that feeds name and that are not there, with where they are named.
pub fn missing_fixtures(case: &TestCase, places: &Places) -> Vec<(Span, String)> {
    let mut missing = Vec::new();
    for step in &case.steps {
        let StepKind::Feed { plan, .. } = &step.kind else { continue };
        for node in &plan.nodes {
            for need in node.needs() {
                if let Need::Read(path) = need
                    && !path.contains(['*', '?', '['])
                    && !places.to_read(&path).exists()
                {
                    missing.push((node.span, path));
                }
            }
        }
    }
    missing
}

/// Runs one test.
pub fn run(case: &TestCase, places: &Places) -> Outcome {
    let started = Instant::now();
    // Retries are spread at random; in a test the same way every time.
    fastrand::seed(1);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let failure = match builder.enable_all().start_paused(true).build() {
        Ok(runtime) => runtime.block_on(steps(case, places)).err(),
        Err(error) => Some(Failure { span: case.span, title: format!("cannot start: {error}"), seen: String::new() }),
    };
    Outcome { took: started.elapsed(), failure }
}

/// The running graph, its clock and its outside.
struct Bench<'a> {
    places: &'a Places,
    table: Vec<Entry>,
    scene: Arc<Scene>,
    clock: Arc<Virtual>,
    handle: Handle,
    /// Absent until something is fed.
    now: Option<Time>,
}

async fn steps(case: &TestCase, places: &Places) -> Result<(), Failure> {
    let scene = Arc::new(Scene::default());
    let clock = Virtual::starting_at(Time(0));
    let mut table = ENTRIES.to_vec();
    table.push(weir_sources::rows::ENTRY);
    let stand_ins = UnderTest(scene.clone());
    let setup = Setup { table: &table, places, clock: Clock::Virtual(clock.clone()), stand_ins: Some(&stand_ins) };
    let graph = Graph::build(&case.plan, &setup).map_err(|faults| broken(case.span, &faults))?;
    let handle = graph.handle();
    let running = tokio::spawn(graph.run());
    let mut stage = Bench { places, table, scene, clock, handle, now: None };
    let result = stage.all(case).await;
    running.abort();
    result
}

fn broken(span: Span, faults: &[Fault]) -> Failure {
    let title = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ");
    Failure { span, title, seen: String::new() }
}

impl Bench<'_> {
    async fn all(&mut self, case: &TestCase) -> Result<(), Failure> {
        for step in &case.steps {
            match &step.kind {
                StepKind::Feed { feed, output, plan } => self.feed(feed, output, plan, step.span).await?,
                StepKind::Advance { nanos } => self.advance(*nanos).await,
                StepKind::Fail { sink, nanos } => {
                    let until = tokio::time::Instant::now() + Duration::from_nanos(*nanos as u64);
                    self.scene.send_away(sink, until);
                }
                StepKind::Expect(expected) => {
                    let failed = expect::check(expected, &self.scene, &self.handle.ledger());
                    if let Some((title, seen)) = failed {
                        return Err(Failure { span: step.span, title, seen });
                    }
                }
            }
            tokio::time::sleep(SETTLE).await;
        }
        Ok(())
    }

    /// Runs the feed's own pipe to its end and gives its rows to the graph.
    async fn feed(&mut self, feed: &str, output: &str, plan: &Plan, span: Span) -> Result<(), Failure> {
        let scene = Arc::new(Scene::default());
        let clock = Virtual::starting_at(self.now.unwrap_or(Time(0)));
        let stand_ins = Feeding(scene.clone());
        let setup = Setup {
            table: &self.table,
            places: self.places,
            clock: Clock::Virtual(clock.clone()),
            stand_ins: Some(&stand_ins),
        };
        let graph = Graph::build(plan, &setup).map_err(|faults| broken(span, &faults))?;
        let report = tokio::select! {
            report = graph.run() => report,
            () = follow(&clock) => unreachable!("a clock is followed for ever"),
        };
        if !report.faults.is_empty() {
            return Err(broken(span, &report.faults));
        }
        let captured: Vec<Captured> = plan.nodes.iter().flat_map(|node| scene.captured(&node.name)).collect();
        if let Some(first) = captured.iter().flat_map(|c| c.time.first()).next() {
            self.move_to(Time(*first).max(self.now.unwrap_or(Time(*first)))).await;
        }
        let latest = captured.iter().flat_map(|c| c.time.iter().copied()).max();
        for rows in captured {
            self.scene.order(feed, Order::Give(output.to_string(), rows)).await;
        }
        if let Some(latest) = latest {
            self.scene.order(feed, Order::Until(Time(latest))).await;
        }
        Ok(())
    }

    async fn advance(&mut self, nanos: i64) {
        let from = self.now.unwrap_or(Time(0));
        let steps = STEPS.min(nanos.max(1));
        for step in 1..=steps {
            let part = (i128::from(nanos) * i128::from(step) / i128::from(steps)) as i64;
            let before = (i128::from(nanos) * i128::from(step - 1) / i128::from(steps)) as i64;
            self.move_to(from.plus(part)).await;
            tokio::time::sleep(Duration::from_nanos((part - before) as u64)).await;
        }
    }

    async fn move_to(&mut self, now: Time) {
        self.now = Some(now);
        self.clock.move_to(now);
        self.scene.until(now).await;
    }
}

/// Moves a clock on whenever somebody waits for it and nothing else can be done.
async fn follow(clock: &Virtual) {
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let Some(due) = clock.next_timer() {
            clock.move_to(due);
        }
    }
}
