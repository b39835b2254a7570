//! On the store in a file: what is answered is kept, and seen by whoever asks next.

use super::*;
use crate::store::embedded::{self, Embedded};
use std::path::PathBuf;

/// A store in a file of its own, which is removed with it.
struct Temporary {
    store: Arc<Embedded>,
    path: PathBuf,
}

impl Temporary {
    fn open() -> Temporary {
        let name = format!("sallyport-admin-{}.db", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        let (store, _) = embedded::open(&path).expect("a new store");
        Temporary { store, path }
    }

    /// As after a restart.
    fn reopen(&mut self) {
        assert!(self.store.close());
        let (store, _) = embedded::open(&self.path).expect("the store again");
        self.store = store;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.store.close();
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn every_kind_is_kept_over_a_restart() {
    let mut file = Temporary::open();
    let mut client = Client::connect(start(node(file.store.clone())).await).await;
    parents(&mut client).await;
    let mut rows = Vec::new();
    for kind in Kind::ALL {
        let (target, body) = least(kind);
        let row = client.have(target, body).await;
        let own = row["id"].as_str().expect("an id").to_owned();
        rows.push((format!("{target}/{own}"), row));
    }
    let gone = format!("/plugins/{}", id(77));
    let plugin = json!({"name": "prometheus"});
    assert_eq!(client.json("PUT", &gone, &plugin).await.status, 200);
    assert_eq!(client.send("DELETE", &gone, &[], None).await.status, 204);
    drop(client);
    file.reopen();
    let mut client = Client::connect(start(node(file.store.clone())).await).await;
    for (target, row) in rows {
        assert_eq!(client.get(&target).await.json(), row, "{target}");
    }
    assert_eq!(client.get(&gone).await.status, 404);
}

#[tokio::test]
async fn ten_writers_and_their_readers_agree() {
    let file = Temporary::open();
    ten_writers_and_readers(start(node(file.store.clone())).await, 5).await;
}

#[tokio::test]
async fn a_hundred_writers_of_one_row_are_all_heard() {
    let file = Temporary::open();
    let address = start(node(file.store.clone())).await;
    let mut client = Client::connect(address).await;
    client
        .have("/services", json!({"name": "s", "host": "h.test"}))
        .await;
    let mut writers = JoinSet::new();
    for number in 0..100 {
        writers.spawn(async move {
            let mut client = Client::connect(address).await;
            let patch = json!({"retries": number});
            client.json("PATCH", "/services/s", &patch).await.status
        });
    }
    assert_eq!(writers.join_all().await, [200; 100]);
}

#[tokio::test]
async fn a_closed_store_refuses_writes_and_is_still_read() {
    let file = Temporary::open();
    let mut client = Client::connect(start(node(file.store.clone())).await).await;
    client
        .have("/services", json!({"name": "s", "host": "h.test"}))
        .await;
    assert!(file.store.close());
    let body = json!({"host": "h.test"});
    assert_eq!(client.json("POST", "/services", &body).await.status, 503);
    assert_eq!(client.get("/services/s").await.status, 200);
}
