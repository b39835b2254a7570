//! Facts of lists that clients of the Go library rely on (KONG-CLIENTS.md §2).

use crate::support::{Setup, json};

#[test]
fn an_empty_store_serves_and_takes_a_service() {
    let gateway = Setup::admin().start();
    let mut admin = gateway.admin();
    assert!(admin.rows("/services").is_empty());
    let row = admin.have("/services", &json!({"name": "s", "host": "h.test"}));
    assert_eq!(admin.rows("/services"), [row]);
}
