//! What a client is shown: certificates by SNI, and whether its own is asked for.

/// One snapshot's server side: SNI table, default pair, SNI → request map, versions, suites, groups. Immutable.
#[derive(Debug)]
pub struct ServerPolicy {}
