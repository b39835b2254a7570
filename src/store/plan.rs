//! What one request wants to change, and everything it looked at.

/// Grows with the store.
pub struct Plan;

/// A rule between entities that a change would break.
pub enum Violation {}
