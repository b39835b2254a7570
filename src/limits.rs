//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

// ── buffers of a core ──
/// Read buffer of a connection (bytes): one TLS record of 16 KiB with its overhead, and a head of the largest size.
pub const BUFFER_SIZE: usize = 18 * 1024;
/// Read buffer while content flows (bytes).
pub const BULK_BUFFER_SIZE: usize = 64 * 1024;
/// Free read buffers a core keeps.
pub const BUFFERS_KEPT: usize = 512;
pub const BULK_BUFFERS_KEPT: usize = 64;
/// Plaintext one stream may hold unread (bytes): a bulk read and one record.
pub const PLAIN_BUFFER_MAX: usize = 128 * 1024;
/// A stream's write buffer is kept between messages up to this size (bytes).
pub const OUT_BUFFER_KEPT: usize = 96 * 1024;
/// Scratch memory of requests a core keeps, and the size above which one is not kept (bytes).
pub const SCRATCH_KEPT: usize = 256;
pub const SCRATCH_SIZE_KEPT: usize = 64 * 1024;
const _: () = assert!(PLAIN_BUFFER_MAX >= BULK_BUFFER_SIZE + BUFFER_SIZE);

// ── http1: message syntax ──
/// Bytes of one head that no setting can exceed: spans are 32 bits, and a core holds one such buffer per slow client.
pub const HEAD_SIZE_CAP: usize = 1 << 20;
/// Field lines of one head that no setting can exceed: the parser's slots lie on the stack (32 bytes each).
pub const HEAD_FIELD_COUNT_CAP: usize = 256;
/// Bytes of a method token. The longest registered with IANA has 17 (`UPDATEREDIRECTREF`).
pub const METHOD_SIZE_MAX: usize = 32;
/// Options of all Connection fields of a message: each may name a field, and every field is looked for among them.
/// Clients and servers send one to three.
pub const CONNECTION_OPTIONS_MAX: usize = 32;
/// Hex digits of a chunk size: what 64 bits hold.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;
/// Bytes of the extensions of one chunk, from the first `;` to the CR.
pub const CHUNK_EXT_SIZE_MAX: usize = 256;
/// Bytes of chunk extensions of one message: one-byte chunks with long extensions cost work and carry nothing.
pub const CHUNK_EXT_TOTAL_MAX: usize = 16 * 1024;
/// Bytes of a trailer section, line ends included.
pub const TRAILER_SIZE_MAX: usize = 8 * 1024;
/// Field lines of a trailer section, those that are dropped included.
pub const TRAILER_COUNT_MAX: usize = 64;
/// Bytes of an `error_template_*` file: it is sent with every error of its format.
pub const ERROR_TEMPLATE_SIZE_MAX: u64 = 64 * 1024;
const _: () = assert!(HEAD_SIZE_CAP <= u32::MAX as usize);
const _: () = assert!(CHUNK_EXT_SIZE_MAX <= CHUNK_EXT_TOTAL_MAX);

// ── router ──
/// Text of one route regex (bytes). Before `ROUTE_REGEX_SIZE_MAX` counts, the crate holds it in full: one megabyte of `\pL`
/// is two gigabytes, and this is 40 MB.
pub const ROUTE_REGEX_TEXT_SIZE_MAX: usize = 16 * 1024;
/// Compiled size of one route regex (bytes): the regex crate's own default, said here so that it cannot drift.
pub const ROUTE_REGEX_SIZE_MAX: usize = 10 << 20;
/// Lazily built automaton of one route regex, per thread that runs it at the same time (bytes).
pub const ROUTE_REGEX_CACHE_SIZE_MAX: usize = 256 << 10;
/// `|` looked at in one regex before its literal prefix is given up.
pub const ROUTE_REGEX_ALTERNATIONS_MAX: usize = 64;
/// Places (hosts × paths) one route is indexed at; above it the route is indexed by host only and its paths are tried one by one.
pub const ROUTE_PLACES_MAX: usize = 4096;
/// Postings one route may take where it is filed under each of its server names, header values or methods besides; above it
/// that condition is checked, not filed.
pub const ROUTE_POSTINGS_MAX: usize = 1 << 16;
/// Routes that came or went since the routing table was made, before it is made anew, beside the changes that come
/// meanwhile. While there are any, a lookup asks two tables. Filing 128 routes costs a change about as much as its share of
/// filing 10,000 does (`benches/changes.rs`).
pub const ROUTE_CHANGES_MAX: usize = 128;
/// With more, making it anew has not kept up, and the change waits for it: each files all of them.
pub const ROUTE_CHANGES_BEHIND_MAX: usize = 8 * ROUTE_CHANGES_MAX;

// ── tls: sessions with clients ──
/// Bytes of a ClientHello, record headers included. Post-quantum hellos with a large ticket stay below 8 KB.
pub const CLIENT_HELLO_SIZE_MAX: usize = 16 * 1024;
/// Bytes a plain-text HTTP method may have before the bytes count as neither TLS nor HTTP.
pub const PLAIN_METHOD_SIZE_MAX: usize = 16;
/// Bytes a client may send in a whole handshake (a chain of certificates among them).
pub const HANDSHAKE_SIZE_MAX: usize = 128 * 1024;
/// Certificates of one client chain that are accepted in a handshake, leaf included.
pub const CLIENT_CHAIN_COUNT_MAX: usize = 16;
/// Bytes of all certificates of one client chain (DER). rustls itself stops at 64 KiB.
pub const CLIENT_CHAIN_SIZE_MAX: usize = 32 * 1024;
/// Bytes of all CA names in one CertificateRequest; above it no names are sent, which asks for any certificate.
pub const CLIENT_CA_NAMES_SIZE_MAX: usize = 16 * 1024;
/// Decrypted bytes a session keeps before it takes no more ciphertext; one more record may exceed it.
pub const SESSION_PLAINTEXT_BUFFERED_MAX: usize = 16 * 1024;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;
/// Ticket keys of other cores, processes and nodes one core keeps derived (64 cores × 2 epochs × 2 processes).
pub const TICKET_KEYS_CACHED_MAX: usize = 256;
/// RFC 8446 §4.6.1: a ticket lives for seven days at most (seconds).
pub const TICKET_LIFETIME_MAX_S: u64 = 7 * 86_400;
const _: () = assert!(CLIENT_CHAIN_SIZE_MAX < 0xffff && CLIENT_CA_NAMES_SIZE_MAX < 0xffff);

// ── tls: certificate paths and verdicts ──
/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates behind the leaf that are parsed at all before the choice above; one costs 2 to 3 µs.
pub const CHAIN_CERTIFICATES_PARSED_MAX: usize = 16;
/// Intermediates an upstream's chain may contribute; servers send more than clients, and the operator picks them.
pub const UPSTREAM_INTERMEDIATES_MAX: usize = 8;
/// Intermediates taken from the trust set itself for one search.
pub const LISTED_INTERMEDIATES_MAX: usize = 6;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// Anchors whose name fits that one search may try.
pub const PATH_ANCHORS_MAX: usize = 64;
/// Signatures one search may verify, at about 75 µs each: a core is held for less than 2 ms.
/// The longest path takes seven; webpki's own bound is 100.
pub const PATH_SIGNATURES_MAX: u32 = 24;
/// Good verdicts a core remembers; one holds an identity, about 2 KB.
pub const VERDICTS_TRUSTED_MAX: usize = 4096;
/// Refusals a core remembers, apart from the good ones so that strangers evict only each other.
pub const VERDICTS_REFUSED_MAX: usize = 512;
/// Seconds a refusal is believed: a chain that is not valid yet, or a wrong clock, heals by itself.
pub const VERDICT_REFUSED_TTL_S: u64 = 5;
const _: () = assert!(CLIENT_INTERMEDIATES_MAX < CLIENT_CHAIN_COUNT_MAX);
const _: () = {
    assert!(CLIENT_INTERMEDIATES_MAX <= PATH_INTERMEDIATES_MAX);
    assert!(CLIENT_INTERMEDIATES_MAX <= CHAIN_CERTIFICATES_PARSED_MAX);
    assert!(PATH_SIGNATURES_MAX as usize > PATH_INTERMEDIATES_MAX);
    assert!(PATH_SIGNATURES_MAX < 100);
    assert!(VERDICTS_REFUSED_MAX < VERDICTS_TRUSTED_MAX);
};

// ── tls: sessions with upstreams ──
/// Client configurations a core keeps; losing one costs its sessions, not a connection.
pub const UPSTREAM_CONFIGS_MAX: usize = 4096;
/// Server names one upstream identity keeps sessions for; with preserve_host the client chooses them. rustls allocates
/// about 300 bytes for each at once.
pub const UPSTREAM_SESSION_NAMES_MAX: usize = 8;

// ── settings ──
/// A settings file larger than this is refused (bytes): Kong's own annotated file has 90 KB.
pub const SETTINGS_FILE_SIZE_MAX: u64 = 1 << 20;
/// A PEM file named by a directive may have this size (bytes): the operating system's bundles have 200 to 500 KB.
pub const PEM_FILE_SIZE_MAX: u64 = 16 << 20;
/// Elements of one listen directive.
pub const LISTENERS_MAX: usize = 64;
/// Entries of any other list directive.
pub const LIST_ENTRIES_MAX: usize = 1024;
/// Longest time a directive may ask for (seconds): ten years, far from any overflow of a clock.
pub const TIME_MAX_S: u64 = 10 * 365 * 86_400;
/// Bytes of a request head that `large_client_header_buffers` cannot raise: a stream holds less than `PLAIN_BUFFER_MAX`
/// unread.
pub const REQUEST_HEAD_SIZE_MAX: usize = PLAIN_BUFFER_MAX - 1;
/// Upper end of `large_client_header_buffers`: number of buffers.
pub const HEAD_BUFFERS_MAX: u32 = 64;
/// Upper end of `large_client_header_buffers`: size of one (bytes).
pub const HEAD_BUFFER_SIZE_MAX: u64 = 64 * 1024;
/// Upper end of `request_field_count_max`: what the parser can hold.
pub const FIELD_COUNT_MAX: u32 = HEAD_FIELD_COUNT_CAP as u32;
/// Upper end of `connections_max`, per core: Linux's default `fs.nr_open`.
pub const CONNECTIONS_PER_CORE_MAX: u32 = 1 << 20;
/// Highest CPU number a CPU list may name, so that `0-4000000000` costs nothing.
pub const CPU_MAX: usize = 4095;
const _: () = assert!(REQUEST_HEAD_SIZE_MAX <= HEAD_SIZE_CAP);
const _: () = assert!(HEAD_BUFFER_SIZE_MAX as usize <= REQUEST_HEAD_SIZE_MAX);

// ── declarative files ──
/// Bytes of a declarative file: 100,000 certificates with 4096-bit RSA keys and a chain of three take about 900 MB.
pub const DECLARATIVE_SIZE_MAX: usize = 1 << 30;
/// Scalars, sequences and maps of a YAML document: 100,000 certificates with services and routes take 3 million.
pub const DECLARATIVE_NODES_MAX: usize = 10_000_000;
/// Nesting of a YAML document. Kong's own goes to about 12.
pub const DECLARATIVE_DEPTH_MAX: usize = 64;
/// Aliases (`*x`) in a YAML document; with the next one a bound on what they expand to (2 GiB).
pub const DECLARATIVE_ALIASES_MAX: usize = 4096;
/// Bytes that anchors (`&x`) of a YAML document may hold together.
pub const DECLARATIVE_ANCHOR_SIZE_MAX: usize = 512 * 1024;
/// Nodes that all aliases of a YAML document may expand to.
pub const DECLARATIVE_ALIAS_NODES_MAX: usize = 250_000;
/// Threads that check the rows of one file.
pub const CHECK_THREADS_MAX: usize = 256;
const _: () = assert!(DECLARATIVE_ALIASES_MAX * DECLARATIVE_ANCHOR_SIZE_MAX <= 2 << 30);

// ── connections of clients ──
/// Accepts in flight per listener and core: a storm is taken in several at a time.
pub const ACCEPTS_IN_FLIGHT: usize = 8;
/// Pause after a failed accept (ms).
pub const ACCEPT_BACK_OFF_MS: u64 = 50;
/// Handshake steps a core computes in one turn of its loop; more wait for the next turn, so that established traffic
/// waits less than a millisecond (RUNTIME.md §7).
pub const HANDSHAKE_STEPS_PER_TURN: usize = 8;
/// Handshakes that may wait for their turn on one core; above it new connections are closed.
pub const HANDSHAKES_WAITING_MAX: usize = 2048;
/// How long session tickets wait for the first response to travel with (ms).
pub const TICKETS_HELD_MS: u64 = 100;
/// How long an idle connection keeps a read with a buffer in flight before it waits for readability alone (ms).
pub const QUIET_MS: u64 = 250;
/// After a refusal, how long and how much unread content is read so that the client gets to see the answer.
pub const LINGER_MS: u64 = 1000;
pub const LINGER_SIZE_MAX: usize = 256 * 1024;
/// Outcomes of the access phase one connection remembers.
pub const ADMITTED_MEMO_MAX: usize = 8;
/// What is looked at of a refused head for the log's line: a kilobyte tells which request it was.
pub const REFUSED_LINE_SIZE_MAX: usize = 1024;

// ── connections to upstreams ──
/// Names a core keeps addresses for.
pub const NAMES_MAX: usize = 4096;
/// How long a request waits for the addresses of a name (ms): the look-up's own deadline and the way there and back.
pub const NAME_WAIT_MS: u64 = RESOLVE_DEADLINE_MS + 2000;
/// Addresses of one name that are tried in turn for one request.
pub const ADDRESSES_MAX: usize = 16;
/// Idle upstream connections of one core over all targets.
pub const POOL_IDLE_MAX: usize = 16_384;
/// Head of a response (bytes) and its fields: Kong's nginx reads 64k into proxy_buffer_size-like buffers; ours is a bound
/// on what one upstream can make a core hold.
pub const RESPONSE_HEAD_SIZE_MAX: usize = 64 * 1024;
pub const RESPONSE_FIELD_COUNT_MAX: usize = 200;
/// Interim (1xx) responses before a final one; each starts the read timeout anew, so an upstream could go on for ever.
pub const INTERIM_RESPONSES_MAX: usize = 16;
const _: () = assert!(RESPONSE_HEAD_SIZE_MAX < PLAIN_BUFFER_MAX);

// ── a core: start, clock, drain ──
/// How long an address in use is waited for, and how often it is tried (ms): the sockets of a killed process with rings go
/// a moment after it.
pub const BIND_WAIT_MS: u64 = 2000;
pub const BIND_AGAIN_MS: u64 = 20;
/// Time the engine's first operation may take at start (ms).
pub const SELF_TEST_MS: u64 = 2000;
/// One beat (ms): log chunks leave with it.
pub const BEAT_MS: u64 = 100;
/// Beats after which an exchange begins to look whether its client has left: what is answered sooner pays nothing for it.
pub const CLIENT_WATCH_BEATS: u64 = 3;
/// Beats between two looks, which begin at `CLIENT_WATCH_BEATS` and double.
pub const CLIENT_WATCH_BEATS_MAX: u64 = 12;
/// How long a scrape waits for a busy core's figures (ms); without them that core's last ones are shown.
pub const SCRAPE_WAIT_MS: u64 = 1000;
/// When a drain begins, connections the kernel has already taken are still accepted: until none came for the one time,
/// and at most for the other (ms).
pub const ACCEPT_QUIET_MS: u64 = 5;
pub const ACCEPT_LAST_MS: u64 = 100;
/// How long a drain waits for a request on an idle connection (ms), and at most a quarter of the drain's own time.
pub const DRAIN_IDLE_MS: u64 = 1000;
/// At a drain's deadline, the moment tasks get to end (ms).
pub const ABORT_MS: u64 = 20;

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

// ── metrics ──
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

// ── logs ──
/// A core hands its log buffer over when it holds this many bytes.
pub const LOG_CHUNK_SIZE: usize = 32 * 1024;
/// A buffer that grew above this is freed instead of being reused (bytes).
pub const LOG_CHUNK_KEPT_SIZE_MAX: usize = 128 * 1024;
/// Chunks that wait for the log thread; the next one is dropped and counted. 16 MiB when all are full.
pub const LOG_CHUNKS_MAX: usize = 512;
/// While fewer chunks wait, a core's error line is handed over at once; above, with others in one buffer.
pub const LOG_CHUNKS_AT_ONCE_MAX: usize = 64;
/// Empty buffers kept for reuse.
pub const LOG_BUFFERS_KEPT_MAX: usize = 64;
/// The log thread looks for chunks this often (milliseconds): cores do not wake it, for that is a system call.
pub const LOG_POLL_MS: u64 = 50;
/// And this often while chunks come: a full queue every 5 ms is 3 GB/s.
pub const LOG_POLL_BUSY_MS: u64 = 5;
/// How long `close` waits for the log thread to write what is queued (milliseconds): a pipe nobody reads must
/// not hold the process.
pub const LOG_CLOSE_MS: u64 = 3_000;
/// Subject, issuer and serial number of a client's certificate are cut at this many bytes in the access log: a stranger
/// may show 32 kB of names it made up, and each of its requests has a line. Names that CAs issue stay below a few hundred.
pub const LOG_NAME_SIZE_MAX: usize = 1024;
/// One error-log text is cut at this many bytes: it may quote what a peer sent.
pub const LOG_TEXT_SIZE_MAX: usize = 8 * 1024;
const _: () = assert!(LOG_CHUNK_KEPT_SIZE_MAX >= 2 * LOG_CHUNK_SIZE);
// Buffers of single lines are reused, and most of the queue is left to full ones.
const _: () = assert!(
    LOG_CHUNKS_AT_ONCE_MAX <= LOG_BUFFERS_KEPT_MAX && LOG_CHUNKS_AT_ONCE_MAX <= LOG_CHUNKS_MAX / 4
);
const _: () = assert!(LOG_POLL_BUSY_MS <= LOG_POLL_MS && LOG_POLL_MS < LOG_CLOSE_MS);
const _: () = assert!(LOG_TEXT_SIZE_MAX < LOG_CHUNK_SIZE);

// ── the status listener ──
/// Connections the status listener serves at once; one more is closed.
pub const STATUS_CONNECTIONS_MAX: usize = 64;
/// A status request's head must be complete within this (milliseconds).
pub const STATUS_HEAD_MS: u64 = 5_000;
/// A status connection's whole life (milliseconds).
pub const STATUS_CONNECTION_MS: u64 = 60_000;
/// How long a scrape waits for the cores (milliseconds).
pub const STATUS_SCRAPE_MS: u64 = 5_000;
/// Ciphertext that may wait for a slow reader of the status listener before more is encrypted (bytes).
pub const STATUS_TLS_OUT_MAX: usize = 64 * 1024;
const _: () =
    assert!(STATUS_HEAD_MS < STATUS_CONNECTION_MS && STATUS_SCRAPE_MS < STATUS_CONNECTION_MS);

// ── Admin API: the listener ──
/// Connections of all loopback listeners of the Admin API at once, and of all others; one more is closed.
pub const ADMIN_CONNECTIONS_MAX: usize = 1_000;
/// A TLS client's first message must be complete within this (ms).
pub const ADMIN_HELLO_MS: u64 = 5_000;
/// A request's head must be complete this long after the answer before it (ms): one time for idling and for a slow head,
/// since who sends slowly holds no more than who sends nothing.
pub const ADMIN_IDLE_MS: u64 = 60_000;
/// A request's content must be complete within this (ms).
pub const ADMIN_BODY_MS: u64 = 60_000;
/// A client that takes nothing of an answer for this long is given up (ms): a page of certificates is megabytes.
pub const ADMIN_SEND_MS: u64 = 30_000;
/// Bytes of a request's head, and of what is read ahead of a handler.
pub const ADMIN_HEAD_SIZE_MAX: usize = 64 * 1024;

// ── Admin API: content and what is asked ──
/// Bytes of a request's content, when nothing else is configured (Kong's figure).
pub const ADMIN_BODY_SIZE_MAX: usize = 10 * 1024 * 1024;
/// Content up to this size is received without more (bytes): a certificate with its chain and key is below it.
pub const ADMIN_SMALL_BODY_SIZE_MAX: u64 = 64 * 1024;
/// Requests with larger content, or of a size not said, at once; more wait. With it all content that is held is bounded:
/// 2,000 small and 32 large ones are 450 MB.
pub const ADMIN_LARGE_BODIES_MAX: usize = 32;
/// Values of an entity's JSON, as far as `{`, `[`, `,` and `:` tell. With 10 MiB of them each request would take half a
/// gigabyte; the largest thing that is one entity, a certificate of 100,000 names, has half as many.
pub const ADMIN_VALUES_MAX: usize = 250_000;
/// Errors that are told of one list, map or record; further elements are not looked at. Four bytes of a request (`",",`)
/// are an error of two hundred in its answer.
pub const ERRORS_IN_ONE_PLACE_MAX: usize = 100;
/// Bytes of a refused request that are still read, so that its answer arrives.
pub const ADMIN_DRAIN_SIZE_MAX: usize = 2 * ADMIN_BODY_SIZE_MAX;
/// Fields of a form, parts of a multipart body, members of a JSON object (Kong's figure).
pub const ADMIN_ARGUMENTS_MAX: usize = 1000;
/// Steps of one form key (`config.a[b]` has three): trees of forms are walked by recursion, and Kong's deepest field
/// (`healthchecks.active.unhealthy.http_statuses[1]`) has five.
pub const ADMIN_FORM_DEPTH_MAX: usize = 16;
/// Content up to this size is parsed on the control thread (bytes): about 0.1 ms.
pub const ADMIN_INLINE_SIZE_MAX: usize = 16 * 1024;
/// Operations that compute at once; they share the control thread's CPU.
pub const ADMIN_COMPUTING_MAX: usize = 4;
/// How often one write is planned. After its first conflict it has the turn of those that conflicted, so only writes that
/// are planned for the first time get in its way: with as many of them as can be, it loses again half of the time at most.
pub const ADMIN_PLAN_ATTEMPTS: usize = 64;
/// Rows of a page (Kong's figures): when a request names no number, and at most.
pub const PAGE_SIZE_DEFAULT: usize = 100;
pub const PAGE_SIZE_MAX: usize = 1000;
/// Tags of one filter (Kong's figure).
pub const TAGS_IN_FILTER_MAX: usize = 5;
/// CA certificates that are looked through for the issuer of a certificate that is written: each is parsed, about 20 µs.
/// With more of them nothing is said of a chain that may be incomplete.
pub const ADVICE_AUTHORITIES_MAX: usize = 64;
/// Warnings that are told of one write, or of one configuration that is posted. Were it all of them, a chain of thousands
/// out of order would fill the log's queue (`LOG_CHUNKS_MAX`), and what is lost then is the audit line of another write.
pub const ADVICE_LINES_MAX: usize = 32;
const _: () = assert!(ADMIN_INLINE_SIZE_MAX < ADMIN_BODY_SIZE_MAX);
const _: () = assert!(ADVICE_LINES_MAX <= LOG_CHUNKS_MAX / 8);

// ── store ──
/// Commits kept for who watches from an image read a moment ago.
pub const STORE_HISTORY_MAX: usize = 256;
/// Commits that wait for one watcher; with one more it takes the whole image instead.
pub const STORE_WATCH_QUEUE_MAX: usize = 1024;
/// Batches that wait for the store's thread: the Admin API serves 1,000 requests at once.
pub const STORE_QUEUE_MAX: usize = 1024;
/// Batches that share one transaction and one sync.
pub const STORE_GROUP_MAX: usize = STORE_QUEUE_MAX;
/// What redb keeps of the file in memory (bytes): reads come from the image, so it is for the pages a write touches.
pub const STORE_CACHE_SIZE: usize = 64 * 1024 * 1024;
/// Rows that are read from the file before they are parsed, all cores together.
pub const STORE_LOAD_ROWS: usize = 8192;
/// How long `close` waits for the disk (milliseconds).
pub const STORE_CLOSE_MS: u64 = 10_000;
const _: () = assert!(STORE_HISTORY_MAX <= STORE_WATCH_QUEUE_MAX);
const _: () = assert!(STORE_GROUP_MAX <= STORE_WATCH_QUEUE_MAX);

// ── publishing ──
/// Orders that wait for the publishing thread. Commits beyond it wait in the store's own queue, which ends in one whole
/// compilation; a reload that finds it full is refused.
pub const PUBLISH_ORDERS_MAX: usize = 1024;
/// Changes taken back that are remembered for who waits for them: as many as can wait.
pub const TAKEN_BACK_MAX: usize = STORE_QUEUE_MAX;
/// How often taking a change back may meet with other changes, and how long the store may take for it (milliseconds): what
/// compiles waits meanwhile.
pub const TAKE_BACK_ATTEMPTS: usize = 4;
pub const TAKE_BACK_MS: u64 = 5_000;
/// After a panic publishing is tried again, first so much later (milliseconds), each time twice as late as before, up to a
/// minute; after so many times only with the next change or reload.
pub const PUBLISH_AGAIN_MS: u64 = 1_000;
pub const PUBLISH_AGAIN_MS_MAX: u64 = 60_000;
pub const PUBLISH_AGAIN_MAX: u32 = 10;

// ── demo ──
/// One message between the demo's own client, gateway and upstream (bytes).
pub const DEMO_MESSAGE_SIZE_MAX: usize = 256 * 1024;
/// Field lines of such a message: what the gateway lets through, and what it adds.
pub const DEMO_FIELD_COUNT_MAX: usize = 128;
/// Connections of the demo's upstream, a thread each; more are closed when accepted.
pub const DEMO_UPSTREAM_CONNECTIONS_MAX: usize = 64;
/// Lines of a log shown when the demo fails.
pub const DEMO_LOG_LINES_SHOWN_MAX: usize = 20;
