//! `SniTable::lookup` with 1, 10,000 and 100,000 names: an exact name, a wildcard, a name no row covers. And what a change
//! of one name costs.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sallyport::tls::sni::SniTable;
use std::hint::black_box;
use std::sync::Arc;

const SIZES: [usize; 3] = [1, 10_000, 100_000];
/// Names asked for in turn, so that the table does not stay in the first cache.
const ASKED: usize = 1024;

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("sni/lookup");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let mut table = SniTable::with_capacity(size);
        for i in 0..size {
            table.insert(&format!("host-{i}.tenant-{}.example.com", i % 97), i);
        }
        table.insert("*.wild.example.com", size);
        let step = (size / ASKED).max(1);
        let exact: Vec<String> = (0..ASKED)
            .map(|i| (i * step) % size)
            .map(|i| format!("host-{i}.tenant-{}.example.com", i % 97))
            .collect();
        let asked = [
            ("exact", exact),
            (
                "wildcard",
                (0..ASKED)
                    .map(|i| format!("h{i}.wild.example.com"))
                    .collect(),
            ),
            (
                "none",
                (0..ASKED)
                    .map(|i| format!("h{i}.other.example.org"))
                    .collect(),
            ),
        ];
        for (kind, names) in &asked {
            let found = names
                .iter()
                .filter(|name| table.lookup(name).is_some())
                .count();
            assert_eq!(found, if *kind == "none" { 0 } else { names.len() });
            let mut names = names.iter().cycle();
            group.bench_function(BenchmarkId::new(*kind, size), |b| {
                b.iter(|| {
                    let name = names.next().map(String::as_str).unwrap_or_default();
                    black_box(table.lookup(black_box(name)))
                });
            });
        }
    }
    group.finish();
}

/// One name of 100,000 changed in a copy, by the number of names that the table was laid out for.
fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("sni/change one of 100,000");
    for capacity in [50_000, 100_000, 200_000, 400_000, 800_000] {
        let mut table = SniTable::with_capacity(capacity);
        for i in 0..100_000 {
            table.insert(
                &format!("host-{i}.tenant-{}.example.com", i % 97),
                Arc::new(i),
            );
        }
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("laid out for", capacity), |b| {
            b.iter(|| {
                turn = (turn + 7_919) % 100_000;
                let mut changed = table.clone();
                let name = format!("host-{turn}.tenant-{}.example.com", turn % 97);
                assert!(changed.insert(&name, Arc::new(turn)).is_some());
                table = changed;
            });
        });
        let names: Vec<String> = (0..ASKED)
            .map(|i| i * 97)
            .map(|i| format!("host-{i}.tenant-{}.example.com", i % 97))
            .collect();
        let mut names = names.iter().cycle();
        group.bench_function(BenchmarkId::new("lookup, laid out for", capacity), |b| {
            b.iter(|| {
                let name = names.next().map(String::as_str).unwrap_or_default();
                black_box(table.lookup(black_box(name)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, change);
criterion_main!(benches);
