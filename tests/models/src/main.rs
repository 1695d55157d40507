//! Runs each model. Exits with 101 at the first order of the threads that breaks a promise, and shows it.

mod sync;

/// The files of the crate that are modelled, at the places that they have there.
#[path = "../../../src/net"]
mod net {
    pub mod counts {
        #[allow(dead_code, reason = "the models use a part of it")]
        pub mod live;
    }
    pub mod thread {
        pub mod latch;
    }
    #[path = "../../tests/models/src/models.rs"]
    pub mod models;
}

use std::{panic, thread};

use loom::model::Builder;

use net::models::{HOLDS, MISTAKES};

fn main() {
    for (promise, model) in HOLDS {
        bounded().check(model);
        println!("ok  {promise}");
    }
    // What a model says of a mistake is not for the reader.
    panic::set_hook(Box::new(|_| {}));
    for (mistake, model) in MISTAKES {
        let found = thread::spawn(move || bounded().check(model)).join().is_err();
        assert!(found, "the model does not see that {mistake}");
        println!("ok  found: {mistake}");
    }
    println!("\n{} passed, 0 failed", HOLDS.len() + MISTAKES.len());
}

/// Every order in which no thread is interrupted more than three times. Mistakes show in orders with few interruptions.
fn bounded() -> Builder {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder
}
