//! Runs a source to its end, then says the end to everything behind it.

use crate::component::{Finish, Source, SourceCx};
use crate::task::Ended;
use crate::time::Time;

pub async fn run(name: String, source: Box<dyn Source>, mut cx: SourceCx) -> Ended {
    let finish = source.run(&mut cx).await;
    let mut faults = std::mem::take(&mut cx.faults);
    match finish {
        Ok(Finish::Flush) => cx.out.advance(Time::END),
        Ok(Finish::Replayable) => cx.out.leave_replayable(),
        // What was read before the failure is still good: it is delivered, and the run fails.
        Err(fault) => {
            faults.push(fault);
            cx.out.advance(Time::END);
        }
    }
    cx.out.check(&name, 0);
    faults.extend(cx.out.take_fault());
    Ended { faults: faults.into_iter().map(|fault| fault.of(&name)).collect() }
}
