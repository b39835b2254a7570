//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;

// ── router ──
/// Compiled size of one route regex (bytes): the regex crate's own default, said here so that it cannot drift.
pub const ROUTE_REGEX_SIZE_MAX: usize = 10 << 20;
/// Lazily built automaton of one route regex, per thread that runs it at the same time (bytes).
pub const ROUTE_REGEX_CACHE_SIZE_MAX: usize = 256 << 10;
/// Places (hosts × paths) one route is indexed at; above it the route is indexed by host only and its paths are tried one by one.
pub const ROUTE_PLACES_MAX: usize = 4096;
/// Postings one route may take where it is filed under each of its server names, header values or methods besides; above it
/// that condition is checked, not filed.
pub const ROUTE_POSTINGS_MAX: usize = 1 << 16;
/// `|` looked at in one regex before its literal prefix is given up.
pub const ROUTE_REGEX_ALTERNATIONS_MAX: usize = 64;
