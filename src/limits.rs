//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

// ── http1: message syntax ──
/// Bytes of one head that no setting can exceed: spans are 32 bits, and a core holds one such buffer per slow client.
pub const HEAD_SIZE_CAP: usize = 1 << 20;
/// Field lines of one head that no setting can exceed: the parser's slots lie on the stack (32 bytes each).
pub const HEAD_FIELD_COUNT_CAP: usize = 256;
/// Bytes of a method token. The longest registered with IANA has 17 (`UPDATEREDIRECTREF`).
pub const METHOD_SIZE_MAX: usize = 32;
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

const _: () = assert!(HEAD_SIZE_CAP <= u32::MAX as usize);
const _: () = assert!(CHUNK_EXT_SIZE_MAX <= CHUNK_EXT_TOTAL_MAX);
