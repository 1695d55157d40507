//! The thread that says what the ends of the last hour have in common.
//!
//! That takes up to a third of a second where much has ended. So no worker does it, nor the thread on which the admin interface
//! answers.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::{
    access_log::endings::Endings,
    explain::{EndsOfHour, Pattern},
};

/// The time between two looks.
pub(super) const STEP: Duration = Duration::from_secs(15);
/// The most requests for a look that wait while another one goes on. One is enough: it sees the newest ends.
const WAITING: usize = 1;

/// The patterns of the last hour, and the way to the thread that finds them. The thread ends when nobody has this any more.
#[derive(Debug)]
pub(super) struct Explainer {
    way: SyncSender<oneshot::Sender<()>>,
    patterns: watch::Receiver<Arc<[Pattern]>>,
}

impl Explainer {
    /// # Errors
    /// The system has no more threads.
    pub(super) fn start(endings: Arc<Endings>) -> io::Result<Self> {
        let (way, asked) = sync_channel(WAITING);
        let (told, patterns) = watch::channel(Arc::default());
        thread::Builder::new().name("explain".into()).spawn(move || explain(&endings, &asked, &told))?;
        Ok(Self { way, patterns })
    }

    /// What was found last, most harmful first.
    pub(super) fn patterns(&self) -> Arc<[Pattern]> {
        Arc::clone(&self.patterns.borrow())
    }

    /// Tells each time something was found that is other than before.
    pub(super) fn news(&self) -> watch::Receiver<Arc<[Pattern]>> {
        self.patterns.clone()
    }

    /// Looks now. Ready when [`Self::patterns`] has what was found, or at once if another caller waits for the same.
    pub(super) async fn look(&self) {
        let (done, looked) = oneshot::channel();
        if self.way.try_send(done).is_ok() {
            // An error says that the look panicked, which the log tells.
            let _ = looked.await;
        }
    }
}

/// Looks each [`STEP`], and whenever somebody asks.
fn explain(endings: &Endings, asked: &Receiver<oneshot::Sender<()>>, told: &watch::Sender<Arc<[Pattern]>>) {
    let mut hour = EndsOfHour::default();
    loop {
        let done = match asked.recv_timeout(STEP) {
            Ok(done) => Some(done),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let look = || {
            let recent = endings.sampler.take();
            if hour.add(recent, Timestamp::now().as_millisecond()) {
                told.send_replace(hour.patterns().into());
            }
        };
        if catch_unwind(AssertUnwindSafe(look)).is_err() {
            // What the hour is then, nobody knows. So it begins anew.
            hour = EndsOfHour::default();
            told.send_replace(Arc::default());
            tracing::error!("the explanation of the last hour panicked: this is a bug of longwire");
        }
        if let Some(done) = done {
            // Nobody waits any more if this fails.
            let _ = done.send(());
        }
    }
}
