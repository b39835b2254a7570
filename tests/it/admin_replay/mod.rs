//! What unmodified clients of Kong send to the Admin API, replayed to the real binary (KONG-CLIENTS.md §7).

mod pages;
