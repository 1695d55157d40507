//! The cost of following one direction. Run it with `cargo bench --bench frame`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use longwire::ws::{
    Side,
    frame::FrameHeader,
    tracker::{Rules, Step, Tracker},
};

/// Unmasked binary frames of one size, one directly behind the other.
fn frames(payload: usize, count: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match u16::try_from(payload) {
        Ok(short @ 0..=125) => frame.push(short.to_be_bytes()[1]),
        Ok(medium) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        Err(_) => {
            frame.push(127);
            frame.extend((payload as u64).to_be_bytes());
        }
    }
    frame.resize(frame.len() + payload, 0x5A);
    frame.repeat(count)
}

fn follow(tracker: &mut Tracker, mut bytes: &[u8]) -> usize {
    let rules = Rules { sender: Side::Backend, extensions: false };
    let mut steps = 0;
    while let Ok(Step::Data { length, .. } | Step::Control { length, .. }) = tracker.step(rules, bytes) {
        bytes = &bytes[length..];
        steps += 1;
        if bytes.is_empty() {
            break;
        }
    }
    steps
}

fn header(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    for payload in [64, 1024, 65_536] {
        let bytes = frames(payload, 1);
        group.bench_function(format!("{payload} B"), |b| b.iter(|| FrameHeader::parse(black_box(&bytes))));
    }
}

fn tracker(c: &mut Criterion) {
    let mut group = c.benchmark_group("tracker");
    for (payload, count) in [(64, 1), (64, 16), (1024, 16), (65_536, 1)] {
        let bytes = frames(payload, count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} frames of {payload} B"), |b| {
            b.iter_batched_ref(Tracker::default, |tracker| follow(tracker, black_box(&bytes)), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, header, tracker);
criterion_main!(benches);
