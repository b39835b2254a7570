//! Kong's Admin API (KONG.md §2, KONG-CLIENTS.md): entities over HTTP, on the control thread.
