//! Every bound of the gateway: its unit, its reason, its default and its hard cap.

/// Intermediate certificates of one client chain that are looked at (DESIGN.md, "Chains").
pub const CLIENT_INTERMEDIATES_MAX: usize = 4;
/// Intermediates with one subject that are looked at: same-named ones multiply the paths webpki tries.
pub const CLIENT_INTERMEDIATES_PER_SUBJECT_MAX: usize = 2;
/// Certificates a path may hold between leaf and anchor: what webpki follows.
pub const PATH_INTERMEDIATES_MAX: usize = 6;
/// A ticket larger than this is not sent (bytes).
pub const TICKET_SIZE_MAX: usize = 4096;
