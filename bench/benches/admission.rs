//! The pure part of admission: from the bytes of a review to the answer, without HTTP and TLS.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use snapwatcher_admission::{ValidationMode, answer_to_mutate, answer_to_validate};

const REVIEW: &[u8] = include_bytes!("../review.json");

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Bytes(REVIEW.len() as u64));
    group.bench_function("mutate", |bencher| bencher.iter(|| answer_to_mutate(black_box(REVIEW))));
    group.bench_function("validate", |bencher| {
        bencher.iter(|| answer_to_validate(black_box(REVIEW), ValidationMode::Warn));
    });
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
