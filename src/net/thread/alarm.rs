//! A deadline that moves more often than it passes.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::time::Sleep;

/// A deadline that is cheap to move. When the deadline moves away, the timer stays where it is, and is set anew when it
/// rings too early. So a deadline for each request of a connection costs a look at the clock, and only now and then a
/// timer of the runtime.
#[derive(Debug, Default)]
pub(in crate::net) struct Alarm {
    due: Option<Instant>,
    /// The timer of the runtime. It is made when the alarm is first polled.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(in crate::net) fn set(&mut self, due: Option<Instant>) {
        self.due = due;
    }

    pub(in crate::net) const fn is_set(&self) -> bool {
        self.due.is_some()
    }

    /// Ready from the deadline on. Never ready without a deadline.
    pub(in crate::net) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due.map(Into::into) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

/// The output of `work`, or `None` if `work` takes longer than until `due`. `alarm` belongs to the caller, who uses it
/// for one work after another.
pub(in crate::net) async fn before<T>(alarm: &Mutex<Alarm>, due: Instant, work: impl Future<Output = T>) -> Option<T> {
    let alarm = || alarm.lock().unwrap_or_else(PoisonError::into_inner);
    alarm().set(Some(due));
    let mut work = pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => alarm().poll(cx).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout_at;

    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_at_the_deadline_that_was_set_last() {
        let mut alarm = Alarm::default();
        let (soon, late) = (Instant::now() + Duration::from_millis(20), Instant::now() + Duration::from_secs(3600));
        alarm.set(Some(soon));
        // The timer is made now, and may have rung already.
        let _ = poll_fn(|cx| Poll::Ready(alarm.poll(cx))).await;
        alarm.set(Some(late));
        assert!(!rings(&mut alarm, soon + Duration::from_millis(5)).await, "it was moved away");
        alarm.set(Some(Instant::now() + Duration::from_millis(5)));
        assert!(rings(&mut alarm, late).await, "it was moved near");
        alarm.set(None);
        assert!(!rings(&mut alarm, Instant::now()).await, "there is none");
        alarm.set(Some(soon));
        assert!(rings(&mut alarm, late).await, "it has passed");
    }

    async fn rings(alarm: &mut Alarm, before: Instant) -> bool {
        let before = before.min(Instant::now() + Duration::from_secs(60));
        timeout_at(before.into(), poll_fn(|cx| alarm.poll(cx))).await.is_ok()
    }
}
