//! The gateway as its users meet it: the real binary, real sockets, real TLS, and OpenSSL, curl and nginx as peers.
//!
//! One crate, so that it links once. `SALLYPORT_TEST_ENGINE` chooses the engine (`io_uring`, the default, or `epoll`).
//! The peers come from the distribution: `tests/setup` installs what is missing; a test whose peer is missing fails.

mod support;

mod admin_live;
mod admin_live_attacks;
mod admin_live_isolation;
mod admin_live_reload;
mod admin_live_starts;
mod admin_live_uses;
mod admin_replay;
mod attacks;
mod attacks_spelling;
mod command_line;
mod config_verbs;
mod declarative;
mod http_bodies;
mod http_flow;
mod http_leaving;
mod http_limits;
mod http_messages;
mod http_mixing;
mod http_upstream;
mod life;
mod life_drain;
mod life_engine;
mod life_reload;
mod reasons;
mod routing;
mod smuggling;
mod store_mending;
mod uc1_certificates;
mod uc1_listeners;
mod uc1_tls;
mod uc2_chains;
mod uc2_connections;
mod uc2_consumers;
mod uc3_client_pairs;
mod uc4_trust;
