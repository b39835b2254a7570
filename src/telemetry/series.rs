//! What the counters are made of: small label tables, histograms, and the sums of one route.

use super::metrics::RequestSample;
use crate::limits::METRIC_LABELS_MAX;
use std::sync::Arc;

/// The label that stands for everything beyond a bound.
pub(super) const OVERFLOW: &str = "_overflow";

/// Kong's buckets (milliseconds): KONG-CLIENTS.md §4.5.
pub(super) const KONG_BUCKETS_MS: [u64; 17] = [
    1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000,
];
pub(super) const LONG_BUCKETS_MS: [u64; 13] = [
    25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000,
];

#[derive(Clone, Debug)]
pub(super) struct RouteSeries {
    pub service: Arc<str>,
    pub route: Arc<str>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub kong: Histogram<17>,
    pub upstream: Histogram<13>,
    pub request: Histogram<13>,
}

impl RouteSeries {
    pub fn new(service: Arc<str>, route: Arc<str>) -> Self {
        RouteSeries {
            service,
            route,
            bytes_in: 0,
            bytes_out: 0,
            kong: Histogram::default(),
            upstream: Histogram::default(),
            request: Histogram::default(),
        }
    }

    pub fn merge(&mut self, other: &RouteSeries) {
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.kong.merge(&other.kong);
        self.upstream.merge(&other.upstream);
        self.request.merge(&other.request);
    }

    pub fn observe(&mut self, sample: &RequestSample<'_>) {
        self.bytes_in = self.bytes_in.saturating_add(sample.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(sample.bytes_out);
        self.kong.observe(&KONG_BUCKETS_MS, sample.kong_us);
        if let Some(upstream_us) = sample.upstream_us {
            self.upstream.observe(&LONG_BUCKETS_MS, upstream_us);
        }
        self.request.observe(&LONG_BUCKETS_MS, sample.request_us);
    }
}

/// Counts per bucket, not cumulative; what exceeds the last bound is only in `count`.
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    pub buckets: [u64; N],
    pub count: u64,
    pub sum_us: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram {
            buckets: [0; N],
            count: 0,
            sum_us: 0,
        }
    }
}

impl<const N: usize> Histogram<N> {
    fn observe(&mut self, bounds_ms: &[u64; N], value_us: u64) {
        // `le`: a value on the bound belongs to the bucket.
        let index = bounds_ms.partition_point(|bound_ms| bound_ms * 1_000 < value_us);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(value_us);
    }

    fn merge(&mut self, other: &Histogram<N>) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HitMiss {
    pub hit: u64,
    pub miss: u64,
}

impl HitMiss {
    pub fn add(&mut self, hit: bool) {
        *if hit { &mut self.hit } else { &mut self.miss } += 1;
    }
}

/// Few label sets, looked through in order.
#[derive(Clone, Debug)]
pub(super) struct Table<K>(pub Vec<(K, u64)>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Table(Vec::new())
    }
}

impl<K: PartialEq + Copy> Table<K> {
    pub fn add(&mut self, key: K, overflow: K) {
        self.add_count(key, overflow, 1);
    }

    pub fn add_count(&mut self, key: K, overflow: K, count: u64) {
        let full = self.0.len() >= METRIC_LABELS_MAX;
        if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            *sum += count;
        } else if !full {
            self.0.push((key, count));
        } else if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| *known == overflow) {
            *sum += count;
        } else {
            self.0.push((overflow, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_bound_belongs_to_its_bucket() {
        // (value in µs, index of the bucket; KONG_BUCKETS_MS.len(): only +Inf)
        let rows = [
            (0, 0),
            (1_000, 0),
            (1_001, 1),
            (6_000_000, 16),
            (6_000_001, 17),
            (u64::MAX, 17),
        ];
        for (value_us, index) in rows {
            let mut histogram = Histogram::<17>::default();
            histogram.observe(&KONG_BUCKETS_MS, value_us);
            let found = histogram.buckets.iter().position(|&count| count == 1);
            assert_eq!(found.unwrap_or(17), index, "{value_us}");
            assert_eq!(histogram.count, 1);
        }
    }

    #[test]
    fn label_tables_are_bounded() {
        let mut table = Table::<&'static str>::default();
        let leaked: Vec<&'static str> = (0..METRIC_LABELS_MAX + 9)
            .map(|i| &*Box::leak(i.to_string().into_boxed_str()))
            .collect();
        for reason in leaked {
            table.add(reason, OVERFLOW);
        }
        assert_eq!(table.0.len(), METRIC_LABELS_MAX + 1);
        assert_eq!(table.0.last(), Some(&(OVERFLOW, 9)));
    }
}
