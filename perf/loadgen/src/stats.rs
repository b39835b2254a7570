//! What was counted, and its line of JSON.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Counts of the measured part.
#[derive(Default)]
pub struct Stats {
    /// Operations that ended as they should.
    pub ops: u64,
    /// Operations that did not, by what went wrong.
    pub errors: BTreeMap<String, u64>,
    pub full: u64,
    pub resumed: u64,
    /// Full handshakes that took a HelloRetryRequest, counted in `full` too.
    pub retried: u64,
    /// Keep-alive connections opened again after the server had closed them.
    pub reconnects: u64,
    /// Bytes of content received.
    pub bytes: u64,
    /// Minted or listed client certificates used again because there were not enough.
    pub certs_reused: u64,
    pub latency: Histogram,
}

impl Stats {
    pub fn error(&mut self, kind: &str) {
        match self.errors.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(kind.to_owned(), 1);
            }
        }
    }

    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// CPU and time over the measured part.
pub struct Elapsed {
    pub wall: Duration,
    pub client_cpu_ns: u64,
    /// Of the watched processes, when there are any.
    pub watched_cpu_ns: Option<u64>,
    pub core_busy_us: Option<u64>,
}

/// One line: times in µs, sizes in bytes.
pub fn json(mode: &str, stats: &Stats, elapsed: &Elapsed) -> String {
    let seconds = elapsed.wall.as_secs_f64();
    let per_op = |ns: u64| ns as f64 / 1000.0 / stats.ops.max(1) as f64;
    let mut line = String::new();
    let mut field = |name: &str, value: String| {
        let separator = if line.is_empty() { '{' } else { ',' };
        let _ = write!(line, "{separator}\"{name}\":{value}");
    };
    field("mode", quoted(mode));
    field("ops", stats.ops.to_string());
    field("errors", stats.errors_total().to_string());
    let kinds: Vec<String> = stats
        .errors
        .iter()
        .map(|(kind, count)| format!("{}:{count}", quoted(kind)))
        .collect();
    field("errors_by_kind", format!("{{{}}}", kinds.join(",")));
    field("full", stats.full.to_string());
    field("resumed", stats.resumed.to_string());
    field("retried", stats.retried.to_string());
    field("reconnects", stats.reconnects.to_string());
    field("certs_reused", stats.certs_reused.to_string());
    field("seconds", format!("{seconds:.4}"));
    field(
        "ops_per_s",
        format!("{:.1}", stats.ops as f64 / seconds.max(1e-9)),
    );
    field("bytes", stats.bytes.to_string());
    let latency = format!(
        "{{\"p50\":{},\"p90\":{},\"p99\":{},\"max\":{}}}",
        stats.latency.quantile(0.50),
        stats.latency.quantile(0.90),
        stats.latency.quantile(0.99),
        stats.latency.max_us
    );
    field("latency_us", latency);
    field(
        "client_cpu_us_per_op",
        format!("{:.2}", per_op(elapsed.client_cpu_ns)),
    );
    if let Some(ns) = elapsed.watched_cpu_ns {
        field("watched_cpu_us", format!("{:.1}", ns as f64 / 1000.0));
        field("watched_cpu_us_per_op", format!("{:.3}", per_op(ns)));
    }
    if let Some(busy) = elapsed.core_busy_us {
        field("core_busy_us", busy.to_string());
    }
    line.push('}');
    line
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Buckets per power of two: a quantile is at most 1/32 above the true value.
const STEPS: usize = 32;
const BUCKETS: usize = STEPS * 32;

/// Durations in µs, in buckets that widen with the value; fixed size.
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    pub max_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: Box::new([0; BUCKETS]),
            count: 0,
            max_us: 0,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(us)] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(us);
    }

    /// Upper edge of the bucket that holds the quantile; 0 when nothing was recorded.
    pub fn quantile(&self, q: f64) -> u64 {
        let rank = (self.count as f64 * q).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return upper_edge(index).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn bucket_of(us: u64) -> usize {
    let steps = STEPS as u64;
    if us < steps {
        return us as usize;
    }
    // The highest bit picks the group, the five below it the step.
    let shift = us.ilog2() - STEPS.ilog2();
    let step = (us >> shift) - steps;
    (((u64::from(shift) + 1) * steps + step) as usize).min(BUCKETS - 1)
}

fn upper_edge(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let shift = index / STEPS - 1;
    let step = (index % STEPS + STEPS) as u64;
    ((step + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_the_edge_is_within_a_thirty_second() {
        for us in (0..5000).chain([65_535, 65_536, 1_000_000, 3_600_000_000]) {
            let edge = upper_edge(bucket_of(us));
            assert!(edge >= us, "{us} is above its edge {edge}");
            assert!(edge <= us + us / 32, "{us} has the edge {edge}");
            assert!(
                us == 0 || upper_edge(bucket_of(us) - 1) < us || us < 32,
                "{us}"
            );
        }
    }

    #[test]
    fn quantiles_of_a_hundred_values() {
        let mut histogram = Histogram::default();
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }
        let rows = [
            (0.5, 50..=51),
            (0.9, 90..=91),
            (0.99, 99..=99),
            (1.0, 100..=100),
        ];
        for (q, expected) in rows {
            let got = histogram.quantile(q);
            assert!(expected.contains(&got), "{q}: {got}");
        }
        assert_eq!(Histogram::default().quantile(0.5), 0);
    }

    #[test]
    fn error_kinds_are_escaped() {
        let mut stats = Stats::default();
        stats.error("a \"b\"\n");
        let elapsed = Elapsed {
            wall: Duration::from_secs(1),
            client_cpu_ns: 0,
            watched_cpu_ns: Some(5_000),
            core_busy_us: None,
        };
        let line = json("full", &stats, &elapsed);
        assert!(
            line.contains(r#""errors_by_kind":{"a \"b\"\u000a":1}"#),
            "{line}"
        );
        assert!(line.contains(r#""watched_cpu_us":5.0"#), "{line}");
    }
}
