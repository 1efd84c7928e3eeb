//! Runs a sink: batching, payloads in flight, retry with jitter and a budget, acks, health.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::batch::Batch;
use crate::component::{Delivery, Encoded, Outcome, Retry, SinkParts};
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
    fn delivered(self) {
        self.batches.into_iter().for_each(|batch| batch.acks.delivered());
    }
}

/// A payload's end.
enum Landed {
    Delivered(Cargo),
    Rejected(Cargo, Vec<u32>, Reason),
    Closed(Cargo),
    Down(Cargo, Fault),
}

type Flight = Pin<Box<dyn Future<Output = Landed> + Send>>;

struct Driver {
    name: String,
    parts: SinkParts,
    out: Out,
    /// Encoded, or held by the encoder, and not yet sent.
    pending: Cargo,
    payload: BytesMut,
    encoded: Encoded,
    since: Option<Instant>,
    flights: FuturesUnordered<Flight>,
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
    let mut driver = Driver {
        name,
        parts,
        out,
        pending: Cargo::default(),
        payload: BytesMut::new(),
        encoded: Encoded::All,
        since: None,
        flights: FuturesUnordered::new(),
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
        self.flights.len() < self.parts.far_end.delivery.in_flight_max().max(1)
    }

    fn is_full(&self) -> bool {
        let batching = &self.parts.far_end.batching;
        self.encoded == Encoded::All
            && (self.payload.len() >= batching.bytes_max || self.pending.rows >= batching.rows_max)
    }

    async fn next(&mut self, receiver: &mut Receiver) -> Event {
        if self.is_full() && self.may_fly() {
            return Event::Quiet;
        }
        let room = !self.is_full();
        let waiting = self.encoded == Encoded::All && self.pending.rows > 0 && self.may_fly();
        let age = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        // Downstream is idle: what is here goes as soon as nothing more is queued.
        let patience = match self.flights.is_empty() {
            true => Duration::ZERO,
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
        self.since.get_or_insert_with(Instant::now);
        self.encoded = self.parts.encoder.encode(&batch.rows, &mut self.payload);
        self.pending.rows += batch.len();
        self.pending.batches.push(batch);
        self.account();
    }

    /// Lets the pending payload fly.
    fn send(&mut self) {
        let cargo = std::mem::take(&mut self.pending);
        let payload = self.payload.split().freeze();
        self.since = None;
        self.flying_rows += cargo.rows;
        let delivery = self.parts.far_end.delivery.clone();
        let counts = self.out.counts().clone();
        self.flights.push(Box::pin(fly(delivery, self.parts.far_end.retry, payload, cargo, counts)));
    }

    async fn land(&mut self, landed: Landed) {
        let down = matches!(landed, Landed::Down(..));
        self.out.counts().set_health(if down { Health::Down } else { Health::Fine });
        match landed {
            Landed::Delivered(cargo) => {
                self.flying_rows -= cargo.rows;
                self.out.counts().add_out(cargo.rows);
                cargo.delivered();
            }
            Landed::Rejected(cargo, rows, why) => self.reject(cargo, &rows, why).await,
            Landed::Closed(cargo) => {
                self.closed = true;
                self.flying_rows -= cargo.rows;
                self.out.counts().add_dropped(reason::CLOSED, cargo.rows);
                cargo.delivered();
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
        self.parts.encoder.flush(&mut self.payload);
        self.encoded = Encoded::All;
        loop {
            let more = self.pending.rows > 0 || !self.payload.is_empty();
            if more && self.may_fly() && !self.closed {
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
        let left = std::mem::take(&mut self.pending);
        let why = if self.faults.is_empty() { reason::CLOSED } else { reason::UNDELIVERED };
        self.out.counts().add_dropped(why, left.rows);
        if why == reason::CLOSED {
            left.delivered();
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
        let held = self.pending.rows + self.flying_rows;
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

async fn fly(delivery: Arc<dyn Delivery>, retry: Retry, payload: Bytes, cargo: Cargo, counts: Arc<Counts>) -> Landed {
    let started = Instant::now();
    let mut wait = retry.first;
    loop {
        let (at_least, fault) = match delivery.deliver(payload.clone()).await {
            Outcome::Delivered => return Landed::Delivered(cargo),
            Outcome::Rejected { rows, why } => return Landed::Rejected(cargo, rows, why),
            Outcome::Closed => return Landed::Closed(cargo),
            Outcome::Down(fault) => return Landed::Down(cargo, fault),
            Outcome::RetryAfter(at_least, fault) => (at_least, fault),
        };
        counts.add_noted("retries", 1);
        counts.set_trouble(&fault.message);
        counts.set_health(Health::Retrying);
        if started.elapsed() >= retry.budget {
            let spent = weir_spec::units::duration(retry.budget.as_nanos() as i64);
            let message = format!("gave up after trying for {spent}: {}", fault.message);
            return Landed::Down(cargo, Fault { message, ..fault });
        }
        // Half fixed, half random: retries of many sinks do not fall on one moment.
        let jittered = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        let left = retry.budget.saturating_sub(started.elapsed());
        tokio::time::sleep(jittered.max(at_least).min(left)).await;
        wait = (wait * 2).min(retry.longest);
    }
}
