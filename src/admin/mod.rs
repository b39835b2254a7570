//! Kong's Admin API (KONG.md §2, KONG-CLIENTS.md): entities over HTTP, on the control thread.
//!
//! Pure, values in and values out: `errors`, `lists`.
pub mod errors;
pub mod lists;
