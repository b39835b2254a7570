//! Kong's Admin API (KONG.md §2, KONG-CLIENTS.md): entities over HTTP, on the control thread.
//!
//! Pure, values in and values out: `errors`, `paths`, `body` and `form`, `schemas`, `lists`, `cors`.
pub mod body;
pub mod cors;
pub mod errors;
pub mod form;
pub mod lists;
pub mod paths;
pub mod schemas;
