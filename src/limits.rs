//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

// ── certificate paths and verdicts: tls/trust, tls/client_auth, tls/upstream ──

/// Certificates behind the leaf that are parsed at all before the choice above; one costs 2 to 3 µs.
pub const CHAIN_CERTIFICATES_PARSED_MAX: usize = 16;
/// Intermediates an upstream's chain may contribute; servers send more than clients, and the operator picks them.
pub const UPSTREAM_INTERMEDIATES_MAX: usize = 8;
/// Intermediates taken from the trust set itself for one search.
pub const LISTED_INTERMEDIATES_MAX: usize = 6;
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
/// Client configurations a core keeps; losing one costs its sessions, not a connection.
pub const UPSTREAM_CONFIGS_MAX: usize = 4096;
/// Server names one upstream identity keeps sessions for; with preserve_host the client chooses them. rustls allocates
/// about 300 bytes for each at once.
pub const UPSTREAM_SESSION_NAMES_MAX: usize = 8;

const _: () = {
    assert!(CLIENT_INTERMEDIATES_MAX <= PATH_INTERMEDIATES_MAX);
    assert!(CLIENT_INTERMEDIATES_MAX <= CHAIN_CERTIFICATES_PARSED_MAX);
    assert!(PATH_SIGNATURES_MAX as usize > PATH_INTERMEDIATES_MAX);
    assert!(PATH_SIGNATURES_MAX < 100);
    assert!(VERDICTS_REFUSED_MAX < VERDICTS_TRUSTED_MAX);
};
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
