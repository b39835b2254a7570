//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

// ── TLS, the client's side of the gateway ──

/// Bytes of a ClientHello, record headers included. Post-quantum hellos with a large ticket stay below 8 KB.
pub const CLIENT_HELLO_SIZE_MAX: usize = 16 * 1024;
/// Bytes a plain-text HTTP method may have before the bytes count as neither TLS nor HTTP.
pub const PLAIN_METHOD_SIZE_MAX: usize = 16;
/// Certificates of one client chain that are accepted in a handshake, leaf included.
pub const CLIENT_CHAIN_COUNT_MAX: usize = 16;
/// Bytes of all certificates of one client chain (DER). rustls itself stops at 64 KiB.
pub const CLIENT_CHAIN_SIZE_MAX: usize = 32 * 1024;
/// Bytes of all CA names in one CertificateRequest; above it no names are sent, which asks for any certificate.
pub const CLIENT_CA_NAMES_SIZE_MAX: usize = 16 * 1024;
/// Decrypted bytes a session keeps before it takes no more ciphertext; one more record may exceed it.
pub const SESSION_PLAINTEXT_BUFFERED_MAX: usize = 16 * 1024;
/// Ticket keys of other cores, processes and nodes one core keeps derived (64 cores × 2 epochs × 2 processes).
pub const TICKET_KEYS_CACHED_MAX: usize = 256;
/// Seconds a ticket may be announced to live (RFC 8446 §4.6.1).
pub const TICKET_LIFETIME_SECS_MAX: u64 = 7 * 24 * 60 * 60;

const _: () = assert!(CLIENT_CHAIN_SIZE_MAX < 0xffff && CLIENT_CA_NAMES_SIZE_MAX < 0xffff);
const _: () = assert!(CLIENT_INTERMEDIATES_MAX < CLIENT_CHAIN_COUNT_MAX);
