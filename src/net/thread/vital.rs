//! Notes when something ends that the process cannot do without: threads, and tasks that run as long as the process.
//! None of them should panic. One that did would leave sockets on which nobody answers. The process is then drained and
//! ended, so that another one is started.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    thread,
};

use tokio::sync::watch;

/// Whether everything vital runs.
#[derive(Debug)]
pub(in crate::net) struct Vitals {
    /// What failed first, if anything has.
    failed: watch::Sender<Option<&'static str>>,
    /// The faults that a test has asked for, a bit for each.
    faults: AtomicU8,
}

/// Held by something vital while it runs. If a panic drops it, it notes a failure.
#[derive(Debug)]
pub(in crate::net) struct Vital<'v> {
    vitals: &'v Vitals,
    what: &'static str,
}

/// A place where a test can make the code panic, in debug builds only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Fault {
    /// The loop of the sessions of the first worker, which accepts.
    FirstWorker,
    /// The loop of the sessions of the second worker.
    SecondWorker,
    /// The accept loop of a listener, after the next connection.
    AcceptLoop,
    /// The accept loop of the admin interface.
    AdminLoop,
    /// The work beside the workers.
    Background,
}

impl Vitals {
    pub(in crate::net) fn new() -> Self {
        Self { failed: watch::Sender::new(None), faults: AtomicU8::new(0) }
    }

    /// A guard for something vital to hold.
    pub(in crate::net) const fn guard(&self, what: &'static str) -> Vital<'_> {
        Vital { vitals: self, what }
    }

    /// Notes that something vital has ended.
    pub(in crate::net) fn fail(&self, what: &'static str) {
        tracing::error!(what, "failed: this process cannot go on");
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(what);
            is_first
        });
    }

    pub(in crate::net) fn have_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    /// Ready when something vital has ended. Returns what it was.
    pub(in crate::net) async fn failed(&self) -> &'static str {
        match self.failed.subscribe().wait_for(Option::is_some).await.map(|failed| *failed) {
            Ok(Some(what)) => what,
            // The sender is in `self`.
            _ => std::future::pending().await,
        }
    }

    /// Makes the code panic at this place, once.
    pub(in crate::net) fn inject(&self, fault: Fault) {
        self.faults.fetch_or(fault.bit(), Relaxed);
    }

    /// Stands at the place of a fault, and panics if a test has asked for it.
    pub(in crate::net) fn strike(&self, fault: Fault) {
        if cfg!(debug_assertions)
            && self.faults.load(Relaxed) & fault.bit() != 0
            && self.faults.fetch_and(!fault.bit(), Relaxed) & fault.bit() != 0
        {
            std::panic::panic_any(format!("a test wants it: {fault:?}"));
        }
    }
}

impl Fault {
    /// All faults, by their words in `LONGWIRE_FAULT`.
    pub const ALL: [(&'static str, Self); 5] = [
        ("first_worker", Self::FirstWorker),
        ("second_worker", Self::SecondWorker),
        ("accept_loop", Self::AcceptLoop),
        ("admin_loop", Self::AdminLoop),
        ("background", Self::Background),
    ];

    /// The fault that this process was started with.
    #[must_use]
    pub fn asked_for() -> Option<Self> {
        let word = std::env::var("LONGWIRE_FAULT").ok().filter(|_| cfg!(debug_assertions))?;
        Self::ALL.iter().find(|(other, _)| *other == word).map(|(_, fault)| *fault)
    }

    pub(in crate::net) const fn of_worker(index: usize) -> Option<Self> {
        match index {
            0 => Some(Self::FirstWorker),
            1 => Some(Self::SecondWorker),
            _ => None,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Drop for Vital<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.vitals.fail(self.what);
        }
    }
}
