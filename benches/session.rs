//! The cost of a relayed message in the pure core. Run it with `cargo bench --bench session`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwire::ws::{
    Side,
    keepalive::{Secret, Settings, SideTimes},
    meter::MessageLimits,
    opcodes::OpCodeCounts,
    session::{Common, Session, SessionSettings},
};

const SETTINGS: SessionSettings = SessionSettings {
    keepalive: Settings {
        ping_interval: SideTimes::of_both(Some(Duration::from_secs(25))),
        pong_timeout: SideTimes::of_both(Some(Duration::from_secs(30))),
    },
    idle: None,
    max_lifetime: None,
    close_timeout: Duration::from_secs(5),
    limits: MessageLimits::NONE,
    extensions: false,
};

/// The calls that the driver makes for one read and one write.
fn message(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    for count in [1, 16] {
        // An unmasked text frame of 64 bytes.
        let frame = [&[0x81, 64][..], &[0x5A; 64]].concat();
        let mut bytes = frame.repeat(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} of 64 B"), |b| {
            let now = Instant::now();
            let common = Common {
                settings: SETTINGS,
                hold: None,
                resume: None,
                secret: Secret([7; 16]),
                epoch: now,
                round_trips: longwire::ws::round_trips::RoundTripTimes::default(),
            };
            let mut session = Session::new(Arc::new(common), 7, now);
            let mut counts = OpCodeCounts::default();
            b.iter(|| {
                let passed = session.handle_input(Side::Backend, black_box(&mut bytes), &mut counts, now);
                session.handle_written(Side::Client, passed.forward, 0, now);
                let due = session.poll_timeout().is_some_and(|at| at <= now);
                (passed.forward, due, session.wants_to_transmit(Side::Client), session.is_over(now))
            });
        });
    }
}

criterion_group!(benches, message);
criterion_main!(benches);
