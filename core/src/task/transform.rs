//! Runs a transform: waits for room, takes what is there, gives up what is due a batch at a time.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::component::Transform;
use crate::edge::{Item, Receiver, Stopped};
use crate::fault::Fault;
use crate::ledger::reason;
use crate::out::Out;
use crate::task::Ended;
use crate::time::Time;

/// The inputs of one task. Takes whatever is there, in turn; waiting for the slowest would deadlock
/// where a stream and a window over it meet again.
pub struct Inputs {
    inputs: Vec<Input>,
    next: usize,
}

struct Input {
    receiver: Receiver,
    watermark: Time,
}

impl Inputs {
    pub fn new(receivers: Vec<Receiver>) -> Inputs {
        let input = |receiver| Input { receiver, watermark: Time::START };
        Inputs { inputs: receivers.into_iter().map(input).collect(), next: 0 }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Item, Stopped>> {
        let n = self.inputs.len();
        for turn in 0..n {
            let at = (self.next + turn) % n;
            let input = &mut self.inputs[at];
            if input.watermark == Time::END {
                continue;
            }
            if let Poll::Ready(item) = input.receiver.poll_next(cx) {
                self.next = (at + 1) % n;
                if let Ok(item) = &item {
                    input.watermark = item.watermark;
                }
                return Poll::Ready(item);
            }
        }
        Poll::Pending
    }

    /// How far all of them have come.
    fn watermark(&self) -> Time {
        self.inputs.iter().map(|i| i.watermark).min().unwrap_or(Time::END)
    }

    fn close(&mut self, why: &'static str) {
        self.inputs.iter_mut().for_each(|i| i.receiver.close(why));
    }
}

pub async fn run(name: String, mut transform: Box<dyn Transform>, mut inputs: Inputs, mut out: Out) -> Ended {
    let mut faults = Vec::new();
    let stopped = drive(&name, transform.as_mut(), &mut inputs, &mut out).await;
    match stopped {
        Ok(()) => out.advance(Time::END),
        Err(Stopped::Replayable) => out.leave_replayable(),
        // The task that failed reports itself; this one only must not pass a half state as whole.
        Err(Stopped::Failed) => {}
    }
    faults.extend(out.take_fault().map(|fault: Fault| fault.of(&name)));
    inputs.close(if stopped.is_ok() { reason::FINISHED } else { reason::UNDELIVERED });
    Ended { faults }
}

async fn drive(name: &str, transform: &mut dyn Transform, inputs: &mut Inputs, out: &mut Out) -> Result<(), Stopped> {
    let mut reached = Time::START;
    loop {
        out.ready().await;
        if transform.finished() {
            return Ok(());
        }
        match out.closed() {
            None => {}
            Some(reason::UNDELIVERED) => return Err(Stopped::Failed),
            // Nobody wants what it has gathered, and nothing was lost: it is given out all the same, so
            // that what is counted and acknowledged is what would have come.
            Some(_) => {
                transform.stop_waiting();
                transform.on_watermark(Time::END);
                settle(name, transform, out).await;
                return Ok(());
            }
        }
        let Some(item) = next(transform, inputs).await? else {
            emit_due(name, transform, out).await;
            out.advance(transform.watermark(reached));
            continue;
        };
        if let Some(batch) = item.batch {
            transform.on_batch(batch, out);
            out.check(name, transform.held());
            emit_due(name, transform, out).await;
        }
        let watermark = inputs.watermark();
        if watermark > reached {
            reached = watermark;
            transform.on_watermark(watermark);
            if watermark == Time::END {
                settle(name, transform, out).await;
                return Ok(());
            }
            emit_due(name, transform, out).await;
        }
        // What was given up may have held time back.
        if reached > Time::START {
            out.advance(transform.watermark(reached));
        }
    }
}

/// What comes next; nothing if the transform was woken by something else.
async fn next(transform: &mut dyn Transform, inputs: &mut Inputs) -> Result<Option<Item>, Stopped> {
    poll_fn(|cx| match transform.poll_woken(cx) {
        Poll::Ready(()) => Poll::Ready(Ok(None)),
        Poll::Pending => inputs.poll_next(cx).map_ok(Some),
    })
    .await
}

/// Gives out all that is owed at the end, also what others have to say something of first.
async fn settle(name: &str, transform: &mut dyn Transform, out: &mut Out) {
    emit_due(name, transform, out).await;
    while transform.held() > 0 {
        poll_fn(|cx| transform.poll_woken(cx)).await;
        emit_due(name, transform, out).await;
    }
}

async fn emit_due(name: &str, transform: &mut dyn Transform, out: &mut Out) {
    while transform.due().is_some() {
        out.ready().await;
        transform.emit(out);
        out.check(name, transform.held());
    }
}
