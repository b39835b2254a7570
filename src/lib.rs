//! The floor plan, in dependency order: a module uses only what stands above it.
#![doc = include_str!("ARCHITECTURE.md")]

// ── ground floor: pure, no sockets, clocks, threads ──
pub mod http1;
pub mod limits;
pub mod router;
pub mod shards;
pub mod tls;
// ── what is configured ──
pub mod declarative;
pub mod entity;
pub mod options;
pub mod plugin;
pub mod settings;
pub mod snapshot;
// ── cellar ──
pub mod ring;
// ── what both planes tell of themselves, and what crosses between them ──
pub mod mailbox;
pub mod telemetry;
// ── data plane ──
pub mod proxy;
pub mod worker;
// ── control plane ──
pub mod admin;
pub mod control;
pub mod publish;
pub mod resolve;
pub mod store;
// ── front door ──
pub mod cli;
pub mod demo;
pub mod gateway;
