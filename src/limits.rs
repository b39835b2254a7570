//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

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
const _: () = assert!(DECLARATIVE_ALIASES_MAX * DECLARATIVE_ANCHOR_SIZE_MAX <= 2 << 30);
