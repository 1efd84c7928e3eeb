//! Runs a sink: batching, payloads in flight, retry with jitter and a budget, acks, health.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::columns;
use crate::component::{Batching, Delivery, Encoded, Outcome, Retry, Route, SinkParts};
use crate::edge::{Item, Receiver, Stopped};
use crate::fault::Fault;
use crate::ledger::{Counts, Health, Reason, reason};
use crate::out::Out;
use crate::task::Ended;
use crate::time::Time;

/// Rows in one payload, as the batches they came in.
#[derive(Default)]
struct Cargo {
    batches: Vec<Batch>,
    rows: usize,
}

impl Cargo {
    fn push(&mut self, batch: Batch) {
        self.rows += batch.len();
        self.batches.push(batch);
    }

    /// Two halves, in order.
    fn halve(self) -> [Cargo; 2] {
        let first = self.rows / 2;
        let mut halves = [Cargo::default(), Cargo::default()];
        for batch in self.batches {
            let left = first - halves[0].rows;
            if batch.len() <= left {
                halves[0].push(batch);
            } else if left == 0 {
                halves[1].push(batch);
            } else {
                halves[0].push(batch.slice(0, left));
                halves[1].push(batch.slice(left, batch.len() - left));
                batch.acks.delivered();
            }
        }
        halves
    }

    fn delivered(self) {
        self.batches.into_iter().for_each(|batch| batch.acks.delivered());
    }
}

/// What is encoded, or held by the encoder, and not yet sent, of one route.
#[derive(Default)]
struct Pending {
    cargo: Cargo,
    payload: BytesMut,
    is_held: bool,
    since: Option<Instant>,
}

impl Pending {
    fn is_full(&self, batching: &Batching) -> bool {
        !self.is_held && (self.payload.len() >= batching.bytes_max || self.cargo.rows >= batching.rows_max)
    }

    fn may_leave(&self) -> bool {
        !self.is_held && self.cargo.rows > 0
    }
}

/// A payload's end.
enum Landed {
    Delivered(Cargo),
    TooLarge(Route, Cargo),
    Rejected(Cargo, Vec<u32>, Reason),
    Closed(Cargo),
    /// The time for trying is over, and the sink goes on.
    GivenUp(Cargo, Fault),
    Down(Cargo, Fault),
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// What payloads on their way know of each other.
#[derive(Default)]
struct Far {
    /// The far end asked to be left alone until then, whichever payload it answered.
    quiet_until: Mutex<Option<Instant>>,
    /// Payloads that have to be tried again.
    retrying: AtomicUsize,
}

impl Far {
    fn quiet(&self) -> MutexGuard<'_, Option<Instant>> {
        self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_alone(&self, time: Duration) {
        let (until, mut quiet) = (Instant::now() + time, self.quiet());
        *quiet = Some(quiet.map_or(until, |before| before.max(until)));
    }

    /// Until when the far end may not be asked, `deadline` at the latest; nothing if it may be.
    fn left_alone(&self, deadline: Instant) -> Option<Instant> {
        self.quiet().map(|until| until.min(deadline)).filter(|until| *until > Instant::now())
    }
}

/// One of the payloads that have to be tried again, as long as it lives.
struct Retrying(Arc<Far>);

impl Retrying {
    fn new(far: &Arc<Far>) -> Retrying {
        far.retrying.fetch_add(1, Ordering::Relaxed);
        Retrying(far.clone())
    }
}

impl Drop for Retrying {
    fn drop(&mut self) {
        self.0.retrying.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Driver {
    name: String,
    parts: SinkParts,
    out: Out,
    /// By route.
    pending: Vec<Pending>,
    /// What is beyond a payload's rows, in order.
    backlog: VecDeque<(Route, Batch)>,
    /// Halves of what was too large: they go before anything else.
    halves: VecDeque<(Route, Cargo)>,
    flights: FuturesUnordered<Flight>,
    far: Arc<Far>,
    flying_rows: usize,
    closed: bool,
    faults: Vec<Fault>,
}

/// What the driver waits for.
enum Event {
    Item(Result<Item, Stopped>),
    Landed(Landed),
    Quiet,
}

pub async fn run(name: String, parts: SinkParts, mut receiver: Receiver, out: Out) -> Ended {
    let routes = parts.encoder.routes().max(1);
    let mut driver = Driver {
        name,
        parts,
        out,
        pending: (0..routes).map(|_| Pending::default()).collect(),
        backlog: VecDeque::new(),
        halves: VecDeque::new(),
        flights: FuturesUnordered::new(),
        far: Arc::default(),
        flying_rows: 0,
        closed: false,
        faults: Vec::new(),
    };
    driver.out.counts().set_health(Health::Fine);
    driver.drive(&mut receiver).await;
    receiver.close(if driver.faults.is_empty() { reason::CLOSED } else { reason::UNDELIVERED });
    driver.end().await
}

impl Driver {
    async fn drive(&mut self, receiver: &mut Receiver) {
        loop {
            self.account();
            if self.closed {
                return;
            }
            match self.next(receiver).await {
                Event::Item(Ok(item)) => {
                    if let Some(batch) = item.batch {
                        self.take(batch);
                    }
                    if item.watermark == Time::END {
                        return self.flush().await;
                    }
                }
                // Nothing more will come, and what is here is still to be delivered.
                Event::Item(Err(_)) => return self.flush().await,
                Event::Landed(landed) => self.land(landed).await,
                Event::Quiet => self.send(),
            }
        }
    }

    /// Whether another payload may fly.
    fn may_fly(&self) -> bool {
        self.flights.len() < self.in_flight_max()
    }

    fn in_flight_max(&self) -> usize {
        self.parts.far_end.delivery.in_flight_max().max(1)
    }

    fn is_full(&self) -> bool {
        let batching = &self.parts.far_end.batching;
        self.pending.iter().any(|pending| pending.is_full(batching))
    }

    async fn next(&mut self, receiver: &mut Receiver) -> Event {
        if (self.is_full() || !self.halves.is_empty()) && self.may_fly() {
            return Event::Quiet;
        }
        let room = !self.is_full() && self.backlog.is_empty();
        let waiting = self.may_fly() && self.pending.iter().any(Pending::may_leave);
        let oldest = self.pending.iter().filter_map(|pending| pending.since).min();
        let age = oldest.map_or(Duration::ZERO, |since| since.elapsed());
        // Downstream is idle: what is here goes as soon as nothing more is queued.
        let patience = match self.flights.is_empty() {
            true => self.parts.far_end.batching.linger.saturating_sub(age),
            false => self.parts.far_end.batching.age_max.saturating_sub(age),
        };
        tokio::select! {
            biased;
            Some(landed) = self.flights.next(), if !self.flights.is_empty() => Event::Landed(landed),
            item = poll_fn(|cx| receiver.poll_next(cx)), if room => Event::Item(item),
            () = quiet(patience), if waiting => Event::Quiet,
        }
    }

    fn take(&mut self, batch: Batch) {
        let batch = batch.plain();
        let parts = match self.pending.len() {
            1 => vec![Some(batch)],
            routes => {
                let of_rows = self.parts.encoder.route(&batch.rows);
                batch.partition(&of_rows, routes)
            }
        };
        // Nothing waits while more is taken in.
        let parts = parts.into_iter().enumerate().filter_map(|(route, part)| Some((route, part?)));
        self.backlog.extend(parts);
        self.refill();
        self.account();
    }

    /// Adds rows to their payload, as far as it takes more; gives back the rest, which waits its turn.
    fn add(&mut self, route: Route, batch: Batch) -> Option<Batch> {
        let mut batch = batch;
        loop {
            let (pending, batching) = (&self.pending[route], &self.parts.far_end.batching);
            if pending.is_full(batching) {
                return Some(batch);
            }
            let room = batching.rows_max.saturating_sub(pending.cargo.rows);
            let bytes = (PAYLOADS * batching.bytes_max).saturating_sub(pending.payload.len());
            let room = room.min(rows_within(&batch, bytes)).max(1);
            // What lays rows out together decides itself how many it wants.
            if pending.is_held || batch.len() <= room {
                self.encode(route, batch);
                return None;
            }
            let (first, rest) = (batch.slice(0, room), batch.slice(room, batch.len() - room));
            batch.acks.delivered();
            self.encode(route, first);
            batch = rest;
        }
    }

    /// Takes up what waited for its turn. Rows of one route stay in their order.
    fn refill(&mut self) {
        let mut waits = vec![false; self.pending.len()];
        for (route, batch) in std::mem::take(&mut self.backlog) {
            let rest = if waits[route] { Some(batch) } else { self.add(route, batch) };
            if let Some(rest) = rest {
                waits[route] = true;
                self.backlog.push_back((route, rest));
            }
        }
    }

    fn encode(&mut self, route: Route, batch: Batch) {
        let pending = &mut self.pending[route];
        pending.since.get_or_insert_with(Instant::now);
        pending.is_held = self.parts.encoder.encode(route, &batch.rows, &mut pending.payload) == Encoded::Held;
        pending.cargo.push(batch);
    }

    /// Lets fly what may.
    fn send(&mut self) {
        while self.may_fly() {
            let Some((route, cargo)) = self.halves.pop_front() else { break };
            let mut payload = BytesMut::new();
            for batch in &cargo.batches {
                let _ = self.parts.encoder.encode(route, &batch.rows, &mut payload);
            }
            self.parts.encoder.flush(&mut payload);
            self.fly(route, cargo, payload);
        }
        for route in 0..self.pending.len() {
            if self.may_fly() && self.pending[route].may_leave() {
                let pending = std::mem::take(&mut self.pending[route]);
                self.fly(route, pending.cargo, pending.payload);
            }
        }
        self.refill();
    }

    fn fly(&mut self, route: Route, cargo: Cargo, mut payload: BytesMut) {
        self.parts.encoder.close(route, &mut payload);
        self.flying_rows += cargo.rows;
        let delivery = self.parts.far_end.delivery.clone();
        let counts = self.out.counts().clone();
        let retry = self.parts.far_end.retry;
        let far = self.far.clone();
        self.flights.push(Box::pin(fly(delivery, retry, route, payload.freeze(), cargo, counts, far)));
    }

    async fn land(&mut self, landed: Landed) {
        let health = match landed {
            Landed::Down(..) => Health::Down,
            Landed::GivenUp(..) => Health::Retrying,
            // One that got through says nothing of those that did not.
            _ if self.far.retrying.load(Ordering::Relaxed) > 0 => Health::Retrying,
            _ => Health::Fine,
        };
        self.out.counts().set_health(health);
        match landed {
            Landed::Delivered(cargo) => {
                self.flying_rows -= cargo.rows;
                self.out.counts().add_out(cargo.rows);
                cargo.delivered();
            }
            Landed::TooLarge(_, cargo) if cargo.rows <= 1 => self.reject(cargo, &[0], reason::TOO_LARGE.into()).await,
            Landed::TooLarge(route, cargo) => {
                self.flying_rows -= cargo.rows;
                cargo.halve().into_iter().rev().for_each(|half| self.halves.push_front((route, half)));
            }
            Landed::Rejected(cargo, rows, why) => self.reject(cargo, &rows, why).await,
            Landed::Closed(cargo) => {
                self.closed = true;
                self.flying_rows -= cargo.rows;
                self.out.counts().add_dropped(reason::CLOSED, cargo.rows);
                cargo.delivered();
            }
            Landed::GivenUp(cargo, fault) => {
                self.flying_rows -= cargo.rows;
                self.out.counts().add_dropped(reason::UNDELIVERED, cargo.rows);
                self.out.counts().warn(fault.with_help());
            }
            Landed::Down(cargo, fault) => {
                self.closed = true;
                self.flying_rows -= cargo.rows;
                self.out.counts().add_dropped(reason::UNDELIVERED, cargo.rows);
                self.faults.push(fault);
            }
        }
        self.account();
    }

    /// Some rows are refused for good: they go to `.rejected`, the others are delivered.
    async fn reject(&mut self, cargo: Cargo, rejected: &[u32], why: Reason) {
        self.flying_rows -= cargo.rows;
        let mut first = 0u32;
        for batch in cargo.batches {
            let next = first + batch.len() as u32;
            let here = rejected.iter().filter(|r| (first..next).contains(r)).map(|r| r - first);
            let here: Vec<u32> = here.collect();
            first = next;
            self.out.counts().add_out(batch.len() - here.len());
            if here.is_empty() {
                batch.acks.delivered();
                continue;
            }
            let refused = batch.take(&here);
            batch.acks.delivered();
            if self.out.is_read(0) {
                self.out.ready().await;
                self.out.send(0, refused);
            } else {
                // Nobody asked for them, so nobody has them: the source is told.
                self.out.counts().add_dropped(why.clone(), refused.len());
            }
        }
    }

    /// Sends everything and waits until it has landed.
    async fn flush(&mut self) {
        // Only an encoder with one route holds anything back.
        self.parts.encoder.flush(&mut self.pending[0].payload);
        self.pending.iter_mut().for_each(|pending| pending.is_held = false);
        let text = std::mem::take(&mut self.pending[0]);
        if text.cargo.rows == 0 && !text.payload.is_empty() {
            self.fly(0, text.cargo, text.payload);
        } else {
            self.pending[0] = text;
        }
        loop {
            if !self.closed {
                self.send();
            }
            match self.flights.next().await {
                Some(landed) => self.land(landed).await,
                None => return,
            }
        }
    }

    async fn end(mut self) -> Ended {
        while let Some(landed) = self.flights.next().await {
            self.land(landed).await;
        }
        let why = if self.faults.is_empty() { reason::CLOSED } else { reason::UNDELIVERED };
        let halves = std::mem::take(&mut self.halves).into_iter().map(|(_, cargo)| cargo);
        for (_, batch) in std::mem::take(&mut self.backlog) {
            self.out.counts().add_dropped(why, batch.len());
            if why == reason::CLOSED {
                batch.acks.delivered();
            }
        }
        for left in std::mem::take(&mut self.pending).into_iter().map(|pending| pending.cargo).chain(halves) {
            self.out.counts().add_dropped(why, left.rows);
            if why == reason::CLOSED {
                left.delivered();
            }
        }
        if !self.closed
            && let Err(fault) = self.parts.far_end.delivery.finish().await
        {
            self.faults.push(fault);
        }
        self.out.advance(Time::END);
        self.account();
        self.faults.extend(self.out.take_fault());
        Ended { faults: self.faults.into_iter().map(|fault| fault.of(&self.name)).collect() }
    }

    fn account(&mut self) {
        let pending: usize = self.pending.iter().map(|pending| pending.cargo.rows).sum();
        let halves: usize = self.halves.iter().map(|(_, cargo)| cargo.rows).sum();
        let backlog: usize = self.backlog.iter().map(|(_, batch)| batch.len()).sum();
        let held = pending + halves + backlog + self.flying_rows;
        self.out.check(&self.name, held);
    }
}

/// Waits a moment; a moment of nothing still lets everything else that is ready go first.
async fn quiet(patience: Duration) {
    if patience.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(patience).await;
    }
}

async fn fly(
    delivery: Arc<dyn Delivery>,
    retry: Retry,
    route: Route,
    payload: Bytes,
    cargo: Cargo,
    counts: Arc<Counts>,
    far: Arc<Far>,
) -> Landed {
    let started = Instant::now();
    let mut wait = retry.first;
    let mut retrying = None;
    loop {
        // Others may be answered meanwhile, and ask for more.
        while let Some(until) = far.left_alone(started + retry.budget) {
            retrying.get_or_insert_with(|| Retrying::new(&far));
            counts.set_health(Health::Retrying);
            tokio::time::sleep_until(until).await;
        }
        let (at_least, fault) = match delivery.deliver(route, payload.clone()).await {
            Outcome::Delivered => return Landed::Delivered(cargo),
            Outcome::Rejected { rows, why } => return Landed::Rejected(cargo, rows, why),
            Outcome::Refused(fault) => {
                counts.set_trouble(&fault.message);
                counts.warn_once(&fault.message);
                let rows = (0..cargo.rows as u32).collect();
                return Landed::Rejected(cargo, rows, reason::REFUSED.into());
            }
            Outcome::TooLarge => return Landed::TooLarge(route, cargo),
            Outcome::Closed => return Landed::Closed(cargo),
            Outcome::Down(fault) => return Landed::Down(cargo, fault),
            Outcome::RetryAfter(at_least, fault) => (at_least, fault),
        };
        counts.add_noted("retries", 1);
        counts.set_trouble(fault.with_help());
        counts.set_health(Health::Retrying);
        retrying.get_or_insert_with(|| Retrying::new(&far));
        if !at_least.is_zero() {
            far.leave_alone(at_least);
        }
        if started.elapsed() >= retry.budget {
            let spent = weir_spec::units::duration(retry.budget.as_nanos() as i64);
            let message = format!("gave up after trying for {spent}: {}", fault.message);
            let fault = Fault { message, ..fault };
            return if retry.goes_on { Landed::GivenUp(cargo, fault) } else { Landed::Down(cargo, fault) };
        }
        // Half fixed, half random: retries of many sinks do not fall on one moment.
        let jittered = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        let left = retry.budget.saturating_sub(started.elapsed());
        tokio::time::sleep(jittered.min(left)).await;
        wait = (wait * 2).min(retry.longest);
    }
}

/// How many rows of a batch to lay out before its payload is looked at again: all, unless they are so long that they
/// would make it several times as large as it is to be.
fn rows_within(batch: &Batch, bytes_max: usize) -> usize {
    let bytes = columns::expanded_bytes(&batch.rows);
    if bytes <= bytes_max {
        return batch.len();
    }
    let fits = |rows: usize| columns::expanded_bytes(&batch.rows.slice(0, rows)) <= bytes_max;
    // Rows are mostly of about one length; where the first ones are longer, halving finds how many fit.
    let average = batch.len() * bytes_max / bytes;
    if fits(average) {
        return average;
    }
    let (mut fit, mut too_many) = (0, average);
    while fit + 1 < too_many {
        let middle = fit.midpoint(too_many);
        if fits(middle) { fit = middle } else { too_many = middle }
    }
    fit
}

/// Payloads that a batch may fill at once, going by the bytes of its columns; as text it takes more.
const PAYLOADS: usize = 2;
