//! What stands in for the outside of a graph under test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_core::batch::Times;
use weir_core::component::{Delivery, FarEnd, Outcome, Route};
use weir_core::graph::StandIns;
use weir_core::sync::lock;
use weir_core::{Acks, Batch, BuildCx, Fault, Finish, Out, Source, SourceCx, Time, Transform};
use weir_spec::testing::{CAPTURE, FEED};

/// How soon a sink that is away is asked again, at the earliest.
const AWAY_WAIT: Duration = Duration::from_millis(100);

/// Orders that wait for a feed; each holds a batch at most.
const ORDERS_MAX: usize = 64;

/// Rows that came past a capture, with their times.
#[derive(Clone)]
pub struct Captured {
    pub rows: RecordBatch,
    pub time: Vec<i64>,
    pub seen: Vec<i64>,
}

/// What a feed is told to do.
pub enum Order {
    /// Give these rows on the output of that name.
    Give(String, Captured),
    /// Promise that nothing comes before this any more.
    Until(Time),
}

/// One test's outside.
#[derive(Default)]
pub struct Scene {
    feeds: Mutex<BTreeMap<String, mpsc::Sender<Order>>>,
    captured: Mutex<BTreeMap<String, Vec<Captured>>>,
    away: Mutex<BTreeMap<String, Instant>>,
}

impl Scene {
    pub async fn order(&self, feed: &str, order: Order) {
        let feed = lock(&self.feeds).get(feed).cloned();
        if let Some(feed) = feed {
            // A feed whose readers want no more has gone.
            let _ = feed.send(order).await;
        }
    }

    /// Tells every feed how far time has come.
    pub async fn until(&self, now: Time) {
        let feeds: Vec<_> = lock(&self.feeds).values().cloned().collect();
        for feed in feeds {
            let _ = feed.send(Order::Until(now)).await;
        }
    }

    pub fn captured(&self, capture: &str) -> Vec<Captured> {
        lock(&self.captured).get(capture).cloned().unwrap_or_default()
    }

    /// Lets a sink's far end be away until then.
    pub fn send_away(&self, sink: &str, until: Instant) {
        let mut away = lock(&self.away);
        let known = away.entry(sink.to_string()).or_insert(until);
        *known = until.max(*known);
    }

    fn is_away(&self, sink: &str) -> bool {
        lock(&self.away).get(sink).is_some_and(|until| Instant::now() < *until)
    }
}

/// The stand-ins of a graph under test.
pub struct UnderTest(pub Arc<Scene>);

impl StandIns for UnderTest {
    fn source(&self, cx: &BuildCx) -> Option<Box<dyn Source>> {
        if cx.node.spec != &FEED {
            return Some(Box::new(Silence));
        }
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        lock(&self.0.feeds).insert(cx.node.name.clone(), sender);
        let outputs = cx.node.outputs.iter().map(|o| (o.name.clone(), o.stream.schema.clone())).collect();
        Some(Box::new(Feed { orders, outputs }))
    }

    fn transform(&self, cx: &BuildCx) -> Option<Box<dyn Transform>> {
        capture(&self.0, cx)
    }

    fn far_end(&self, cx: &BuildCx) -> Option<FarEnd> {
        let memory = Memory { sink: cx.node.name.clone(), scene: self.0.clone() };
        Some(FarEnd::new(Arc::new(memory)))
    }
}

/// The stand-ins of a feed's own pipe: only its end is looked at.
pub struct Feeding(pub Arc<Scene>);

impl StandIns for Feeding {
    fn transform(&self, cx: &BuildCx) -> Option<Box<dyn Transform>> {
        capture(&self.0, cx)
    }
}

fn capture(scene: &Arc<Scene>, cx: &BuildCx) -> Option<Box<dyn Transform>> {
    let is_capture = cx.node.spec == &CAPTURE;
    is_capture.then(|| Box::new(Capture { name: cx.node.name.clone(), scene: scene.clone() }) as Box<dyn Transform>)
}

/// A source that nobody feeds: it has ended.
struct Silence;

#[async_trait]
impl Source for Silence {
    async fn run(self: Box<Self>, _cx: &mut SourceCx) -> Result<Finish, Fault> {
        Ok(Finish::Flush)
    }
}

struct Feed {
    orders: mpsc::Receiver<Order>,
    outputs: Vec<(String, Arc<weir_spec::Schema>)>,
}

#[async_trait]
impl Source for Feed {
    async fn run(mut self: Box<Self>, cx: &mut SourceCx) -> Result<Finish, Fault> {
        let mut promised = Time::START;
        while cx.ready().await {
            match self.orders.recv().await {
                None => break,
                Some(Order::Until(now)) if now > promised => {
                    promised = now;
                    cx.advance(now);
                }
                Some(Order::Until(_)) => {}
                Some(Order::Give(output, captured)) => {
                    let Some(port) = self.outputs.iter().position(|(name, _)| *name == output) else { continue };
                    let rows = select(&captured.rows, &self.outputs[port].1);
                    // What was promised before binds the rows that come now.
                    let seen: Vec<i64> = captured.seen.iter().map(|seen| (*seen).max(promised.0)).collect();
                    let times = Times::Seen { time: captured.time.into(), seen: seen.into() };
                    cx.made(port, rows, times, Acks::none());
                }
            }
        }
        Ok(Finish::Flush)
    }
}

/// The columns that somebody reads.
fn select(rows: &RecordBatch, schema: &weir_spec::Schema) -> RecordBatch {
    let at: Vec<usize> = schema.names().filter_map(|name| rows.schema().index_of(name).ok()).collect();
    match rows.project(&at) {
        Ok(rows) => rows,
        // Checking has made sure that what is fed has the columns of what it stands for.
        Err(error) => unreachable!("project: {error}"),
    }
}

struct Capture {
    name: String,
    scene: Arc<Scene>,
}

impl Transform for Capture {
    fn on_batch(&mut self, batch: Batch, out: &mut Out) {
        let (time, seen) = (batch.time.to_vec(), batch.seen.to_vec());
        let (rows, acks) = out.absorb(batch);
        lock(&self.scene.captured).entry(self.name.clone()).or_default().push(Captured {
            rows: rows.into_plain(),
            time,
            seen,
        });
        acks.delivered();
    }
}

/// Takes every payload, unless the test has sent it away.
struct Memory {
    sink: String,
    scene: Arc<Scene>,
}

#[async_trait]
impl Delivery for Memory {
    async fn deliver(&self, _: Route, _payload: Bytes) -> Outcome {
        if self.scene.is_away(&self.sink) {
            return Outcome::RetryAfter(AWAY_WAIT, Fault::environment("the test lets it fail"));
        }
        Outcome::Delivered
    }
}
