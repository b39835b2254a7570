//! The floor plan, in dependency order: a module uses only what stands above it.
#![doc = include_str!("ARCHITECTURE.md")]

// ── ground floor: pure, no sockets, clocks, threads ──
pub mod http1;
pub mod limits;
pub mod router;
pub mod tls;
// ── what is configured ──
pub mod declarative;
pub mod entity;
pub mod plugin;
pub mod settings;
pub mod snapshot;
// ── between the two planes ──
pub mod mailbox;
// ── cellar ──
pub mod ring;
// ── data plane ──
pub mod proxy;
pub mod worker;
// ── control plane ──
pub mod publish;
pub mod resolve;
pub mod telemetry;
// ── front door ──
pub mod cli;
pub mod demo;
