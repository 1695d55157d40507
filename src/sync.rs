//! What counts and signals between threads are made of. `tests/models` compiles some files with the parts of loom in
//! this place, and so tries every order in which the threads may meet.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, fence};

pub(crate) use tokio::sync::Notify;
