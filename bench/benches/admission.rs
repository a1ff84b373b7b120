//! Admission without HTTP and TLS: from the body of a review to the body of the response.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

use snapwatcher_admission::{ValidationMode, mutate_response, validate_response};

const REVIEW: &[u8] = include_bytes!("../review.json");

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Bytes(REVIEW.len() as u64));
    group.bench_function("mutate", |bencher| bencher.iter(|| mutate_response(black_box(REVIEW))));
    group.bench_function("validate", |bencher| {
        bencher.iter(|| validate_response(black_box(REVIEW), ValidationMode::Warn));
    });
    group.finish();
}

criterion_group!(benches, admission);
criterion_main!(benches);
