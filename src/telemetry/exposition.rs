//! The merged counters as Prometheus' text, through prometheus-client's encoder.

use super::metrics::{Connections, CoreMetrics, ProcessFacts};
use super::series::{Histogram, KONG_BUCKETS_MS, LONG_BUCKETS_MS, OVERFLOW, RouteSeries, Table};
use crate::limits::{METRIC_CERTIFICATES_MAX, METRIC_REQUEST_COUNTERS_MAX, METRIC_ROUTES_MAX};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub(super) fn render(cores: &[CoreMetrics], process: &ProcessFacts) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        cores: cores.to_vec(),
        process: process.clone(),
    }));
    let mut text = String::with_capacity(64 * 1024);
    if prometheus_text::encode(&mut text, &registry).is_err() {
        // Writing to a String does not fail.
        text.clear();
    }
    // Kong's one counter without `_total`, which the encoder appends to every counter.
    text.replacen(
        "\n# TYPE kong_bandwidth_bytes untyped\n",
        "\n# TYPE kong_bandwidth_bytes counter\n",
        1,
    )
}

#[derive(Debug)]
struct Scrape {
    cores: Vec<CoreMetrics>,
    process: ProcessFacts,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families { encoder };
        self.kong_node(&mut out)?;
        self.kong_requests(&mut out)?;
        self.handshakes(&mut out)?;
        self.upstreams(&mut out)?;
        self.cores(&mut out)?;
        self.process(&mut out)
    }
}

impl Scrape {
    fn kong_node(&self, out: &mut Families<'_>) -> fmt::Result {
        let node = self.process.node_id.as_str();
        let connections = self
            .cores
            .iter()
            .fold(Default::default(), |sum: Connections, core| {
                sum.plus(core.connections)
            });
        let states = [
            ("accepted", connections.accepted),
            ("active", connections.active_count()),
            ("handled", connections.accepted),
            ("reading", connections.handshaking),
            ("total", self.requests()),
            ("waiting", connections.waiting_count()),
            ("writing", connections.exchanging),
        ];
        out.gauges(
            "kong_nginx_connections_total",
            "Connections of the proxy listeners by state",
            states.iter().map(|&(state, count)| {
                let labels = vec![("node_id", node), ("subsystem", "http"), ("state", state)];
                (labels, signed(count))
            }),
        )?;
        out.counters(
            "kong_nginx_requests",
            "Requests answered",
            [(
                vec![("node_id", node), ("subsystem", "http")],
                self.requests(),
            )],
        )?;
        out.gauges(
            "kong_node_info",
            "This node",
            [(vec![("node_id", node), ("version", KONG_VERSION)], 1)],
        )?;
        out.gauges(
            "kong_datastore_reachable",
            "Whether the configuration's store answers",
            [(vec![], i64::from(self.process.datastore_reachable))],
        )
    }

    fn requests(&self) -> u64 {
        self.cores.iter().map(CoreMetrics::requests).sum()
    }

    fn kong_requests(&self, out: &mut Families<'_>) -> fmt::Result {
        let counters = self.request_counters();
        out.counters(
            "kong_http_requests",
            "Requests by service, route and status",
            counters.iter().map(|(key, &count)| {
                let labels = vec![
                    ("service", key.service),
                    ("route", key.route),
                    ("code", key.code.as_str()),
                    ("source", key.source),
                    ("workspace", WORKSPACE),
                    ("consumer", key.consumer),
                ];
                (labels, count)
            }),
        )?;
        let routes = self.routes();
        out.untyped(
            "kong_bandwidth_bytes",
            "Bytes of requests (ingress) and responses (egress)",
            routes.iter().flat_map(|series| {
                [("ingress", series.bytes_in), ("egress", series.bytes_out)].map(
                    |(direction, bytes)| {
                        let labels = vec![
                            ("service", &*series.service),
                            ("route", &*series.route),
                            ("direction", direction),
                            ("workspace", WORKSPACE),
                            ("consumer", ""),
                        ];
                        (labels, bytes)
                    },
                )
            }),
        )?;
        out.histograms(
            "kong_kong_latency_ms",
            "Time spent in the gateway (milliseconds)",
            &KONG_BUCKETS_MS,
            routes.iter().map(|series| (series, &series.kong)),
        )?;
        out.histograms(
            "kong_upstream_latency_ms",
            "Time until the upstream's response head (milliseconds)",
            &LONG_BUCKETS_MS,
            routes.iter().map(|series| (series, &series.upstream)),
        )?;
        out.histograms(
            "kong_request_latency_ms",
            "Time from a request's first byte to its response's last (milliseconds)",
            &LONG_BUCKETS_MS,
            routes.iter().map(|series| (series, &series.request)),
        )
    }

    /// One series per (service, route), all cores summed, in the labels' order.
    fn routes(&self) -> Vec<RouteSeries> {
        let mut merged: BTreeMap<(&str, &str), RouteSeries> = BTreeMap::new();
        for series in self.cores.iter().flat_map(CoreMetrics::routes) {
            let mut key = (&*series.service, &*series.route);
            // Each core is bounded; the sum of cores that saw different routes is bounded here.
            if merged.len() >= METRIC_ROUTES_MAX && !merged.contains_key(&key) {
                key = (OVERFLOW, OVERFLOW);
            }
            merged
                .entry(key)
                .or_insert_with(|| RouteSeries::new(Arc::from(key.0), Arc::from(key.1)))
                .merge(series);
        }
        merged.into_values().collect()
    }

    fn request_counters(&self) -> BTreeMap<CounterLabels<'_>, u64> {
        let mut merged: BTreeMap<CounterLabels<'_>, u64> = BTreeMap::new();
        for counter in self.cores.iter().flat_map(CoreMetrics::request_counters) {
            let mut key = CounterLabels {
                service: counter.service,
                route: counter.route,
                code: counter.status.to_string(),
                source: counter.source,
                consumer: counter.consumer,
            };
            if merged.len() >= METRIC_REQUEST_COUNTERS_MAX && !merged.contains_key(&key) {
                key = CounterLabels {
                    service: OVERFLOW,
                    route: OVERFLOW,
                    code: "0".to_owned(),
                    source: counter.source,
                    consumer: "",
                };
            }
            *merged.entry(key).or_insert(0) += counter.count;
        }
        merged
    }

    fn handshakes(&self, out: &mut Families<'_>) -> fmt::Result {
        out.counters(
            "sallyport_tls_handshakes",
            "Finished TLS handshakes with clients",
            self.merged(|core| &core.handshakes)
                .into_iter()
                .map(|(key, count)| {
                    let labels = vec![
                        ("version", key.version),
                        ("group", key.group),
                        ("cipher", key.cipher),
                        ("resumed", boolean(key.resumed)),
                    ];
                    (labels, count)
                }),
        )?;
        out.counters(
            "sallyport_tls_handshake_failures",
            "TLS handshakes with clients that failed",
            self.merged_by("reason", |core| &core.handshake_failures),
        )?;
        out.counters(
            "sallyport_client_certificates",
            "Finished handshakes by what became of the client certificate",
            [("not_requested", 0), ("none", 1), ("presented", 2)].map(|(outcome, index)| {
                let count = self.sum(|core| core.client_certificates[index]);
                (vec![("outcome", outcome)], count)
            }),
        )?;
        out.counters(
            "sallyport_client_verdicts",
            "Requests judged by their client certificate",
            self.merged_by("outcome", |core| &core.client_verdicts),
        )?;
        out.counters(
            "sallyport_client_verdict_cache",
            "Look-ups of a chain's verdict",
            [
                ("hit", self.sum(|core| core.verdict_lookups.hit)),
                ("miss", self.sum(|core| core.verdict_lookups.miss)),
            ]
            .map(|(result, count)| (vec![("result", result)], count)),
        )
    }

    fn upstreams(&self, out: &mut Families<'_>) -> fmt::Result {
        out.counters(
            "sallyport_upstream_pool",
            "Upstream connections asked of the pool",
            [("hit", 0), ("miss", 1), ("stale", 2)].map(|(result, index)| {
                (vec![("result", result)], self.sum(|core| core.pool[index]))
            }),
        )?;
        let handshakes = self.merged(|core| &core.upstream_handshakes);
        let finished = |resumed: bool| {
            let counted = handshakes.iter().find(|(key, _)| *key == (resumed, ""));
            counted.map_or(0, |&(_, count)| count)
        };
        out.counters(
            "sallyport_upstream_handshakes",
            "Finished TLS handshakes with upstreams",
            [false, true].map(|resumed| (vec![("resumed", boolean(resumed))], finished(resumed))),
        )?;
        out.counters(
            "sallyport_upstream_handshake_failures",
            "TLS handshakes with upstreams that failed",
            handshakes
                .iter()
                .filter(|((_, reason), _)| !reason.is_empty())
                .map(|&((_, reason), count)| (vec![("reason", reason)], count)),
        )
    }

    fn cores(&self, out: &mut Families<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .cores
            .iter()
            .map(|core| core.core.to_string())
            .collect();
        let each = || self.cores.iter().zip(names.iter().map(String::as_str));
        out.gauges(
            "sallyport_core_connections",
            "Open connections of a core",
            each().map(|(core, name)| {
                (
                    vec![("core", name)],
                    signed(core.connections.active_count()),
                )
            }),
        )?;
        out.counters(
            "sallyport_core_requests",
            "Requests a core answered",
            each().map(|(core, name)| (vec![("core", name)], core.requests)),
        )?;
        out.counters(
            "sallyport_client_chain_signatures",
            "Signatures verified while clients' chains were judged, by core",
            each().map(|(core, name)| (vec![("core", name)], core.chain_signatures)),
        )?;
        out.gauges(
            "sallyport_snapshot_number",
            "The configuration snapshot a core serves",
            each().map(|(core, name)| (vec![("core", name)], signed(core.snapshot_number))),
        )?;
        out.gauges(
            "sallyport_snapshot_lag",
            "Published snapshots a core has not taken up yet",
            each().map(|(core, name)| {
                let lag = self
                    .process
                    .snapshot_number
                    .saturating_sub(core.snapshot_number);
                (vec![("core", name)], signed(lag))
            }),
        )?;
        out.gauges(
            "sallyport_snapshot_published_number",
            "The newest configuration snapshot",
            [(vec![], signed(self.process.snapshot_number))],
        )?;
        let panics = self.sum(|core| core.panics);
        out.counters(
            "sallyport_panics",
            "Connections closed because our code panicked",
            [(vec![], panics)],
        )?;
        out.counters(
            "sallyport_shed",
            "Connections and requests refused at a bound",
            self.merged_by("reason", |core| &core.shed),
        )?;
        let dropped = self.process.log_dropped + self.sum(|core| core.log_dropped);
        out.counters(
            "sallyport_log_lines_dropped",
            "Log lines dropped because the log thread was behind",
            [(vec![], dropped)],
        )
    }

    fn process(&self, out: &mut Families<'_>) -> fmt::Result {
        let process = &self.process;
        out.counters(
            "sallyport_log_write_errors",
            "Writes to a log that failed",
            [(vec![], process.log_write_errors)],
        )?;
        out.counters(
            "sallyport_reloads",
            "Configurations loaded after the start, by outcome",
            [
                (vec![("outcome", "ok")], process.reloads_ok),
                (vec![("outcome", "refused")], process.reloads_refused),
            ],
        )?;
        let mut certificates: Vec<_> = process.certificates.iter().collect();
        certificates.sort_by_key(|certificate| certificate.not_after);
        certificates.truncate(METRIC_CERTIFICATES_MAX);
        let now = i64::try_from(process.now).unwrap_or(i64::MAX);
        out.gauges(
            "sallyport_certificate_expiry_seconds",
            "Seconds until a certificate expires; negative once it has",
            certificates.iter().map(|certificate| {
                let labels = vec![
                    ("kind", certificate.kind),
                    ("id", certificate.id.as_str()),
                    ("name", certificate.name.as_str()),
                ];
                (labels, certificate.not_after.saturating_sub(now))
            }),
        )?;
        for (name, help, label, value) in [
            (
                "sallyport_build_info",
                "This build",
                "version",
                &process.version,
            ),
            (
                "sallyport_crypto_provider",
                "The cryptographic libraries in use",
                "name",
                &process.crypto_provider,
            ),
            (
                "sallyport_engine",
                "The event driver in use",
                "driver",
                &process.engine,
            ),
        ] {
            out.gauges(name, help, [(vec![(label, value.as_str())], 1)])?;
        }
        out.gauges(
            "process_start_time_seconds",
            "When the process started (unix seconds)",
            [(vec![], signed(process.started))],
        )?;
        if let Some(memory) = process.memory {
            let pid = std::process::id().to_string();
            out.gauges(
                "kong_memory_workers_lua_vms_bytes",
                "Resident memory of the process under Kong's name: there is no Lua here",
                [(
                    vec![
                        ("node_id", process.node_id.as_str()),
                        ("pid", pid.as_str()),
                        ("kong_subsystem", "http"),
                    ],
                    signed(memory.resident),
                )],
            )?;
            out.gauges(
                "process_resident_memory_bytes",
                "Resident memory",
                [(vec![], signed(memory.resident))],
            )?;
            out.gauges(
                "process_virtual_memory_bytes",
                "Virtual memory",
                [(vec![], signed(memory.virtual_size))],
            )?;
        }
        Ok(())
    }

    fn sum(&self, of: impl Fn(&CoreMetrics) -> u64) -> u64 {
        self.cores.iter().map(of).sum()
    }

    fn merged<K: Ord + Copy>(&self, of: impl Fn(&CoreMetrics) -> &Table<K>) -> Vec<(K, u64)> {
        let mut merged = BTreeMap::new();
        for (key, count) in self.cores.iter().flat_map(|core| &of(core).0) {
            *merged.entry(*key).or_insert(0) += count;
        }
        merged.into_iter().collect()
    }

    fn merged_by(
        &self,
        label: &'static str,
        of: impl Fn(&CoreMetrics) -> &Table<&'static str>,
    ) -> impl Iterator<Item = (Labels<'static>, u64)> {
        self.merged(of)
            .into_iter()
            .map(move |(value, count)| (vec![(label, value)], count))
    }
}

/// What clients of Kong read as this node's version (KONG.md §0); ours is in `sallyport_build_info`.
const KONG_VERSION: &str = "3.9.1";
/// Kong's only workspace here (KONG.md §1.13).
const WORKSPACE: &str = "default";

type Labels<'a> = Vec<(&'static str, &'a str)>;

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct CounterLabels<'a> {
    service: &'a str,
    route: &'a str,
    code: String,
    source: &'static str,
    consumer: &'a str,
}

/// Gauges are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// A family's head and its samples. The encoder appends `_total` to a counter's name.
struct Families<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Families<'_> {
    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        self.integers(name, help, MetricType::Counter, samples)
    }

    fn untyped<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        self.integers(name, help, MetricType::Unknown, samples)
    }

    fn integers<'a>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, count) in samples {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, i64)>,
    ) -> fmt::Result {
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in samples {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histograms<'a, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        bounds_ms: &[u64; N],
        samples: impl IntoIterator<Item = (&'a RouteSeries, &'a Histogram<N>)>,
    ) -> fmt::Result {
        let mut family = self
            .encoder
            .encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (series, histogram) in samples {
            let labels = vec![
                ("service", &*series.service),
                ("route", &*series.route),
                ("workspace", WORKSPACE),
            ];
            let mut buckets = [(0.0, 0); N];
            let pairs = bounds_ms.iter().zip(&histogram.buckets);
            for (bucket, (&bound_ms, &count)) in buckets.iter_mut().zip(pairs) {
                *bucket = (bound_ms as f64, count);
            }
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(
                    histogram.sum_us as f64 / 1_000.0,
                    histogram.count,
                    &buckets,
                    None,
                )?;
        }
        Ok(())
    }
}
