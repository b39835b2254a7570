//! (owner: http1 helper)
