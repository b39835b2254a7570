//! KONG-CLIENTS.md §6, point 19: decK lists 25 collections at once and writes ten rows at a time.

use super::*;

#[tokio::test]
async fn twenty_five_lists_at_once_are_all_answered() {
    let address = start(memory()).await;
    let mut client = Client::connect(address).await;
    for number in 0..200 {
        client
            .have("/services", json!({"id": id(number), "host": "h.test"}))
            .await;
    }
    let mut lists = JoinSet::new();
    for _ in 0..25 {
        lists.spawn(async move {
            let mut client = Client::connect(address).await;
            let page = client.get("/services?size=1000").await.json();
            page["data"].as_array().map(Vec::len)
        });
    }
    let found = lists.join_all().await;
    assert_eq!(found, vec![Some(200); 25]);
}

#[tokio::test]
async fn what_one_connection_wrote_every_other_sees_at_once() {
    ten_writers_and_readers(start(memory()).await, 10).await;
}

/// Each plans on what it saw; the store turns away what no longer holds, and the plan is made again.
#[tokio::test]
async fn ten_writers_of_one_row_lose_no_write() {
    let store = Arc::new(Memory::default());
    let address = start(node(store.clone())).await;
    let mut client = Client::connect(address).await;
    client
        .have(
            "/services",
            json!({"id": id(1), "name": "s", "host": "h.test"}),
        )
        .await;
    let before = store.image().revision;
    let mut writers = JoinSet::new();
    let fields = [
        "retries",
        "port",
        "read_timeout",
        "write_timeout",
        "connect_timeout",
    ];
    for field in fields {
        for value in [7, 8] {
            writers.spawn(async move {
                let mut client = Client::connect(address).await;
                let patch = json!({field: value});
                let answer = client.json("PATCH", "/services/s", &patch).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert_eq!(answer.json()[field], value);
            });
        }
    }
    writers.join_all().await;
    let row = client.get("/services/s").await.json();
    for field in fields {
        let value = row[field].as_i64().expect("a number");
        assert!([7, 8].contains(&value), "{field}: {value}");
    }
    assert_eq!(store.image().revision, before + 10);
}

#[tokio::test]
async fn one_unique_value_is_given_to_one_of_many() {
    let address = start(memory()).await;
    let mut writers = JoinSet::new();
    for _ in 0..10 {
        writers.spawn(async move {
            let mut client = Client::connect(address).await;
            let body = json!({"name": "one", "host": "h.test"});
            client.json("POST", "/services", &body).await.status
        });
    }
    let mut found = writers.join_all().await;
    found.sort_unstable();
    let mut expected = vec![409; 10];
    expected[0] = 201;
    assert_eq!(found, expected);
}

/// A parent deleted while children are made: either the child is refused or the parent stays.
#[tokio::test]
async fn no_row_is_left_behind_its_parent() {
    let address = start(memory()).await;
    let mut client = Client::connect(address).await;
    for round in 0..20_u128 {
        let service = id(round);
        client
            .have("/services", json!({"id": service, "host": "h.test"}))
            .await;
        let target = format!("/services/{service}");
        let (own, child) = (
            target.clone(),
            json!({"paths": ["/"], "service": {"id": service}}),
        );
        let deleter = tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            client.send("DELETE", &own, &[], None).await.status
        });
        let made = client.json("POST", "/routes", &child).await.status;
        let deleted = deleter.await.expect("no panic");
        let there = client.get(&target).await.status;
        assert!(
            matches!((made, deleted, there), (201, 400, 200) | (400, 204, 404)),
            "{made} {deleted} {there}"
        );
    }
}

/// A disk that does not answer: commits wait until it does.
struct Hanging {
    memory: Arc<Memory>,
    answers: Arc<tokio::sync::Semaphore>,
}

impl Store for Hanging {
    fn kind(&self) -> StoreKind {
        self.memory.kind()
    }

    fn image(&self) -> Arc<Image> {
        self.memory.image()
    }

    fn commit(&self, batch: Batch) -> Committing {
        let (memory, answers) = (Arc::clone(&self.memory), Arc::clone(&self.answers));
        Box::pin(async move {
            let _answer = answers.acquire().await;
            memory.commit(batch).await
        })
    }

    fn watch(&self, from: Revision) -> Box<dyn Watch> {
        self.memory.watch(from)
    }
}

#[tokio::test]
async fn reads_and_refusals_are_answered_while_commits_hang() {
    let answers = Arc::new(tokio::sync::Semaphore::new(0));
    let address = start(node(Arc::new(Hanging {
        memory: Arc::default(),
        answers: Arc::clone(&answers),
    })))
    .await;
    let mut writers = JoinSet::new();
    for number in 0..50 {
        writers.spawn(async move {
            let mut client = Client::connect(address).await;
            let body = json!({"username": format!("c-{number}")});
            client.json("POST", "/consumers", &body).await.status
        });
    }
    let mut client = Client::connect(address).await;
    for _ in 0..20 {
        for target in ["/", "/status", "/services", "/schemas/services"] {
            assert_eq!(client.get(target).await.status, 200, "{target}");
        }
        let refused = client.json("POST", "/services", &json!({})).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
    }
    assert!(writers.try_join_next().is_none(), "not one was answered");
    let rows = client.get("/consumers").await.json();
    assert_eq!(rows["data"], json!([]), "nobody sees what is not written");
    answers.add_permits(50);
    assert_eq!(writers.join_all().await, vec![201; 50]);
}

/// The 204 of the second says that no core serves the row any more, as that of the first does.
#[tokio::test]
async fn a_row_that_another_has_just_deleted_is_gone_from_the_cores_before_anyone_hears_so() {
    let (asked, mut waiting) = tokio::sync::watch::channel(0);
    let (live, is_live) = tokio::sync::watch::channel(1);
    let mut node = memory();
    node.live = Box::new(move |revision| {
        asked.send_modify(|count| *count += u32::from(revision > 1));
        let mut is_live = is_live.clone();
        Box::pin(async move {
            let reached = is_live.wait_for(|live| *live >= revision).await;
            reached
                .map(drop)
                .map_err(|error| NotLive::Stored(error.to_string()))
        })
    });
    let address = start(node).await;
    let mut client = Client::connect(address).await;
    let row = json!({"name": "s", "host": "h.test"});
    client.have("/services", row).await;
    let mut deleters = JoinSet::new();
    for count in 1..=2 {
        deleters.spawn(async move {
            let mut client = Client::connect(address).await;
            client.send("DELETE", "/services/s", &[], None).await.status
        });
        tokio::select! {
            early = deleters.join_next() => panic!("{early:?} before the cores have it"),
            both = waiting.wait_for(|asked| *asked == count) => drop(both.expect("a node")),
        }
    }
    live.send_replace(2);
    assert_eq!(deleters.join_all().await, [204, 204]);
}
