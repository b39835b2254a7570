//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

// ── telemetry ──

/// Distinct (service, route) pairs one core counts apart; more are counted under `_overflow`. One pair is about
/// 700 bytes per core and 48 lines of a scrape.
pub const METRIC_ROUTES_MAX: usize = 1_000;
/// Distinct (route, status, source, consumer) counters of one core; more are counted under `_overflow`.
pub const METRIC_REQUEST_COUNTERS_MAX: usize = 20_000;
/// Distinct consumers one core counts apart.
pub const METRIC_CONSUMERS_MAX: usize = 2_000;
/// Distinct label sets of a small table (handshake kinds, reasons). Their labels are constants of the code, so
/// this only guards against a caller that leaks formatted text.
pub const METRIC_LABELS_MAX: usize = 256;
/// Certificates whose expiry is shown, the soonest first.
pub const METRIC_CERTIFICATES_MAX: usize = 1_000;
const _: () = assert!(METRIC_REQUEST_COUNTERS_MAX >= METRIC_ROUTES_MAX);

/// A core hands its log buffer over when it holds this many bytes.
pub const LOG_CHUNK_SIZE: usize = 32 * 1024;
/// A buffer that grew above this is freed instead of being reused (bytes).
pub const LOG_CHUNK_KEPT_SIZE_MAX: usize = 128 * 1024;
/// Chunks that wait for the log thread; the next one is dropped and counted. 16 MiB when all are full.
pub const LOG_CHUNKS_MAX: usize = 512;
/// Empty buffers kept for reuse.
pub const LOG_BUFFERS_KEPT_MAX: usize = 64;
/// The log thread looks for chunks this often (milliseconds): cores do not wake it, for that is a system call.
pub const LOG_POLL_MS: u64 = 50;
/// And this often while chunks come: a full queue every 5 ms is 3 GB/s.
pub const LOG_POLL_BUSY_MS: u64 = 5;
/// How long `close` waits for the log thread to write what is queued (milliseconds): a pipe nobody reads must
/// not hold the process.
pub const LOG_CLOSE_MS: u64 = 3_000;
/// One error-log text is cut at this many bytes: it may quote what a peer sent.
pub const LOG_TEXT_SIZE_MAX: usize = 8 * 1024;
const _: () = assert!(LOG_CHUNK_KEPT_SIZE_MAX >= 2 * LOG_CHUNK_SIZE);
const _: () = assert!(LOG_POLL_BUSY_MS <= LOG_POLL_MS && LOG_POLL_MS < LOG_CLOSE_MS);
const _: () = assert!(LOG_TEXT_SIZE_MAX < LOG_CHUNK_SIZE);

/// Connections the status listener serves at once; one more is closed.
pub const STATUS_CONNECTIONS_MAX: usize = 64;
/// A status request's head must be complete within this (milliseconds).
pub const STATUS_HEAD_MS: u64 = 5_000;
/// A status connection's whole life (milliseconds).
pub const STATUS_CONNECTION_MS: u64 = 60_000;
/// How long a scrape waits for the cores (milliseconds).
pub const STATUS_SCRAPE_MS: u64 = 5_000;
const _: () =
    assert!(STATUS_HEAD_MS < STATUS_CONNECTION_MS && STATUS_SCRAPE_MS < STATUS_CONNECTION_MS);

// ── names ──

/// Names whose answers are kept (Kong's dns_cache_size).
pub const RESOLVE_NAMES_MAX: usize = 10_000;
/// Names asked for at the same time; the next waits.
pub const RESOLVE_FLIGHTS_MAX: usize = 128;
/// Addresses kept of one answer.
pub const RESOLVE_ADDRESSES_MAX: usize = 64;
/// Targets of one SRV answer whose addresses are asked for.
pub const RESOLVE_SRV_TARGETS_MAX: usize = 8;
/// An answer is kept at least this long, whatever its TTL (seconds): a TTL of 0 must not mean a query per request.
pub const RESOLVE_TTL_MIN_S: u64 = 1;
/// And at most this long (seconds), so that a TTL of years does not outlive a move.
pub const RESOLVE_TTL_MAX_S: u64 = 86_400;
/// One query to one name server (milliseconds).
pub const RESOLVE_QUERY_MS: u64 = 2_000;
/// Tries per name server after the first.
pub const RESOLVE_RETRIES: usize = 1;
/// Everything one name may take (milliseconds).
pub const RESOLVE_DEADLINE_MS: u64 = 10_000;
/// The hosts file is looked at again at most this often (milliseconds).
pub const HOSTS_CHECK_MS: u64 = 3_000;
/// A hosts file above this is refused (bytes).
pub const HOSTS_SIZE_MAX: u64 = 4 * 1024 * 1024;
const _: () = assert!(RESOLVE_TTL_MIN_S > 0 && RESOLVE_TTL_MIN_S < RESOLVE_TTL_MAX_S);
const _: () = assert!(RESOLVE_QUERY_MS < RESOLVE_DEADLINE_MS);
