//! What the process cannot do without: threads, and tasks that run as long as it does. None of them should panic, and one that
//! did would leave sockets on which nobody answers. Here it is noted; whoever runs the process then drains and ends it, so that
//! another one is started.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    thread,
};

use tokio::sync::watch;

/// Whether everything vital runs.
#[derive(Debug)]
pub(super) struct Vitals {
    /// What failed first.
    failed: watch::Sender<Option<&'static str>>,
    /// Those that a test has asked for, by their bits.
    faults: AtomicU8,
}

/// Held by something vital while it runs. Dropped by a panic, it says so.
#[derive(Debug)]
pub(super) struct Vital<'v> {
    vitals: &'v Vitals,
    what: &'static str,
}

/// A place where a test can have the code panic. It does so in debug builds only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
pub enum Fault {
    /// The loop of the sessions of the first worker, which accepts.
    FirstWorker,
    /// That of the second one.
    SecondWorker,
    /// The accept loop of a listener, after the next connection.
    AcceptLoop,
    /// That of the admin interface.
    AdminLoop,
    /// What runs beside the workers.
    Background,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self { failed: watch::Sender::new(None), faults: AtomicU8::new(0) }
    }

    /// To be held by something vital.
    pub(super) const fn guard(&self, what: &'static str) -> Vital<'_> {
        Vital { vitals: self, what }
    }

    /// Something vital has ended.
    pub(super) fn fail(&self, what: &'static str) {
        tracing::error!(what, "failed: this process cannot go on");
        self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert(what);
            is_first
        });
    }

    pub(super) fn have_failed(&self) -> bool {
        self.failed.borrow().is_some()
    }

    /// Ready when something vital has ended, with what it was.
    pub(super) async fn failed(&self) -> &'static str {
        match self.failed.subscribe().wait_for(Option::is_some).await.map(|failed| *failed) {
            Ok(Some(what)) => what,
            // The sender is ours.
            _ => std::future::pending().await,
        }
    }

    /// From now on the code panics at this place, once.
    pub(super) fn inject(&self, fault: Fault) {
        self.faults.fetch_or(fault.bit(), Relaxed);
    }

    /// The place of a fault.
    pub(super) fn strike(&self, fault: Fault) {
        if cfg!(debug_assertions)
            && self.faults.load(Relaxed) & fault.bit() != 0
            && self.faults.fetch_and(!fault.bit(), Relaxed) & fault.bit() != 0
        {
            std::panic::panic_any(format!("a test wants it: {fault:?}"));
        }
    }
}

impl Fault {
    /// All of them, by the words of `LONGWIRE_FAULT`.
    pub const ALL: [(&'static str, Self); 5] = [
        ("first_worker", Self::FirstWorker),
        ("second_worker", Self::SecondWorker),
        ("accept_loop", Self::AcceptLoop),
        ("admin_loop", Self::AdminLoop),
        ("background", Self::Background),
    ];

    /// The one that this process was started with.
    #[must_use]
    pub fn asked_for() -> Option<Self> {
        let word = std::env::var("LONGWIRE_FAULT").ok().filter(|_| cfg!(debug_assertions))?;
        Self::ALL.iter().find(|(other, _)| *other == word).map(|(_, fault)| *fault)
    }

    pub(super) const fn of_worker(index: usize) -> Option<Self> {
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
