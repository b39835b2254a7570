//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

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
/// RFC 8446 §4.6.1: a ticket lives for seven days at most (seconds).
pub const TICKET_LIFETIME_MAX_S: u64 = 7 * 86_400;
/// Upper end of `large_client_header_buffers`: number of buffers.
pub const HEAD_BUFFERS_MAX: u32 = 64;
/// Upper end of `large_client_header_buffers`: size of one (bytes).
pub const HEAD_BUFFER_SIZE_MAX: u64 = 64 * 1024;
/// Upper end of `request_field_count_max`.
pub const FIELD_COUNT_MAX: u32 = 1000;
/// Upper end of `connections_max`, per core: Linux's default `fs.nr_open`.
pub const CONNECTIONS_PER_CORE_MAX: u32 = 1 << 20;
/// Highest CPU number a CPU list may name, so that `0-4000000000` costs nothing.
pub const CPU_MAX: usize = 4095;
