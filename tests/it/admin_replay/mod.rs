//! What unmodified clients of Kong send to the Admin API, replayed to the real binary (KONG-CLIENTS.md §7).

mod deck;
mod defaults;
mod file;
mod forms;
mod ingress;
mod manager;
mod manager_pages;
mod pages;
mod pitfalls;
mod real_deck;
mod replay;
mod rows;
mod terraform;
mod types;
