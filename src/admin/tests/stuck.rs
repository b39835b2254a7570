//! A change that cannot be served, and a store that holds one: named, refused, and mended.

use super::*;

const REASON: &str = "plugins 0: acl: config.allow: no";

/// Consumer 1 keeps the store from being served, as long as `stuck` says so.
fn stuck_on_one(store: Arc<Memory>) -> (Node, Arc<Mutex<bool>>) {
    let stuck = Arc::new(Mutex::new(false));
    let is_stuck = Arc::clone(&stuck);
    let mut node = node(store);
    node.stuck = Box::new(move || {
        is_stuck.lock().expect("a lock").then(|| Stuck {
            rows: vec![(Kind::Consumers, id(1).parse().expect("an id"))],
            reason: REASON.to_owned(),
        })
    });
    (node, stuck)
}

#[tokio::test]
async fn only_changes_of_the_row_that_stands_in_the_way_are_taken() {
    let store = Arc::new(Memory::default());
    let (node, stuck) = stuck_on_one(store.clone());
    let mut client = Client::connect(start(node).await).await;
    let one = format!("/consumers/{}", id(1));
    let put = json!({"username": "one"});
    assert_eq!(client.json("PUT", &one, &put).await.status, 200);
    client.have("/consumers", json!({"username": "two"})).await;
    *stuck.lock().expect("a lock") = true;
    let revision = store.image().revision;
    for (method, target, body) in [
        ("POST", "/consumers", json!({"username": "three"})),
        ("PATCH", "/consumers/two", json!({"custom_id": "2"})),
        ("DELETE", "/consumers/two", json!({})),
    ] {
        let answer = client.json(method, target, &body).await;
        assert_eq!(answer.status, 503, "{method}");
        let message = answer.json()["message"].to_string();
        assert!(message.contains(REASON), "{message}");
    }
    assert_eq!(store.image().revision, revision, "nothing was written");
    assert_eq!(client.get("/consumers/two").await.status, 200);
    let mended = json!({"custom_id": "1"});
    assert_eq!(client.json("PATCH", &one, &mended).await.status, 200);
    // Deleted with what is below it.
    *stuck.lock().expect("a lock") = false;
    let group = json!({"group": "g"});
    client.have(&format!("{one}/acls"), group).await;
    *stuck.lock().expect("a lock") = true;
    assert_eq!(client.send("DELETE", &one, &[], None).await.status, 204);
}

#[tokio::test]
async fn a_change_that_cannot_be_served_is_told_by_its_row_and_reason() {
    for (reason, status, text) in [
        (
            NotLive::TakenBack(REASON.to_owned()),
            400,
            "the change cannot be served and was not kept",
        ),
        (
            NotLive::Stored(REASON.to_owned()),
            500,
            "revision 1 is stored and not live",
        ),
    ] {
        let mut node = memory();
        node.live = Box::new(move |_| Box::pin(std::future::ready(Err(reason.clone()))));
        let mut client = Client::connect(start(node).await).await;
        let body = json!({"username": "one"});
        let answer = client.json("POST", "/consumers", &body).await;
        let message = format!("{text}: {REASON}");
        assert_eq!(
            (answer.status, answer.json()),
            (status, json!({"message": message}))
        );
    }
}

/// What was not there may be there again once the change that had deleted it is taken back.
#[tokio::test]
async fn a_deletion_of_nothing_is_not_refused_for_a_change_of_another() {
    let store = Arc::new(Memory::default());
    let mut node = node(store.clone());
    let attempts = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&attempts);
    node.live = Box::new(move |_| {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        Box::pin(std::future::ready(if first {
            Err(NotLive::TakenBack(REASON.to_owned()))
        } else {
            Ok(())
        }))
    });
    let mut client = Client::connect(start(node).await).await;
    let answer = client.send("DELETE", "/consumers/one", &[], None).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(attempts.load(Ordering::Relaxed), 2, "looked at once more");
}
