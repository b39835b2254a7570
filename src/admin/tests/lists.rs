//! KONG.md §2.4, over HTTP: pages end where the rows end, and filters reach nested lists.

use super::*;

async fn with_routes(count: u128) -> Client {
    let mut client = Client::connect(start(memory()).await).await;
    client
        .have(
            "/services",
            json!({"id": id(1), "name": "s", "host": "h.test"}),
        )
        .await;
    for number in 0..count {
        let tags = if number % 2 == 0 {
            json!(["even", "n"])
        } else {
            json!(["n"])
        };
        let body = json!({"id": id(100 + number), "paths": [format!("/{number}")], "tags": tags});
        client.have("/services/s/routes", body).await;
    }
    client
}

/// Follows `next` to the end: the ids of each page.
async fn pages(client: &mut Client, first: &str) -> Vec<Vec<String>> {
    let mut target = first.to_owned();
    let mut pages = Vec::new();
    loop {
        let answer = client.get(&target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text);
        let page = answer.json();
        let ids = page["data"].as_array().expect("a list").iter();
        pages.push(
            ids.map(|row| row["id"].as_str().expect("an id").to_owned())
                .collect(),
        );
        match page["next"].as_str() {
            None => {
                assert_eq!(page["next"], Value::Null);
                assert_eq!(page.get("offset"), None, "{page}");
                return pages;
            }
            Some(next) => {
                assert!(!page["offset"].as_str().expect("an offset").is_empty());
                target = next.to_owned();
            }
        }
    }
}

fn numbers(range: impl Iterator<Item = u128>) -> Vec<String> {
    range.map(|number| id(100 + number)).collect()
}

#[tokio::test]
async fn pages_go_by_id_and_end_where_the_rows_end() {
    let mut client = with_routes(6).await;
    for (section, target, expected) in [
        ("2.4", "/routes", vec![numbers(0..6)]),
        ("2.4", "/routes?size=4", vec![numbers(0..4), numbers(4..6)]),
        (
            "CLIENTS 6.7: no offset on a full last page",
            "/routes?size=3",
            vec![numbers(0..3), numbers(3..6)],
        ),
        (
            "CLIENTS 2: pages of one",
            "/routes?size=1",
            (0..6).map(|n| numbers(n..n + 1)).collect(),
        ),
        (
            "2.4 nested",
            "/services/s/routes?size=4",
            vec![numbers(0..4), numbers(4..6)],
        ),
        (
            "2.4 tags",
            "/routes?tags=even,n&size=2",
            vec![vec![id(100), id(102)], vec![id(104)]],
        ),
        (
            "2.4 any tag",
            "/routes?tags=even/none",
            vec![vec![id(100), id(102), id(104)]],
        ),
        (
            "11.11 tags nested",
            "/services/s/routes?tags=even&size=2",
            vec![vec![id(100), id(102)], vec![id(104)]],
        ),
        (
            "CLIENTS 6.11: unknown arguments",
            "/routes?name=x&sort_by=y",
            vec![numbers(0..6)],
        ),
        ("2.4", "/consumers", vec![vec![]]),
    ] {
        assert_eq!(
            pages(&mut client, target).await,
            expected,
            "{section}: {target}"
        );
    }
}

#[tokio::test]
async fn a_row_inserted_while_paging_is_seen_once_or_not_at_all() {
    let mut client = with_routes(4).await;
    let first = client.get("/routes?size=2").await.json();
    client
        .have("/routes", json!({"id": id(50), "paths": ["/before"]}))
        .await;
    client
        .have("/routes", json!({"id": id(150), "paths": ["/after"]}))
        .await;
    let rest = pages(&mut client, first["next"].as_str().expect("a path")).await;
    assert_eq!(rest.concat(), [id(102), id(103), id(150)]);
}

#[tokio::test]
async fn what_a_list_cannot_be_asked_is_refused() {
    let mut client = with_routes(1).await;
    for (target, code, message) in [
        ("/routes?size=x", 9, "size must be a number"),
        (
            "/routes?size=0",
            9,
            "size must be an integer between 1 and 1000",
        ),
        (
            "/routes?size=1001",
            9,
            "size must be an integer between 1 and 1000",
        ),
        (
            "/routes?offset=%21",
            7,
            "'!' is not a valid offset: bad base64 encoding",
        ),
        (
            "/routes?tags=a,b/c",
            11,
            "invalid option (tags: invalid filter syntax)",
        ),
        ("/routes?tags=", 11, "invalid option (tags: cannot be null)"),
    ] {
        let answer = client.get(target).await;
        let expected = json!({"code": code, "message": message});
        assert_eq!(answer.status, 400, "{target}: {}", answer.text);
        assert!(has(&answer.json(), &expected), "{target}: {}", answer.text);
    }
}

#[tokio::test]
async fn tags_are_listed_with_their_rows() {
    let mut client = Client::connect(start(memory()).await).await;
    client
        .have(
            "/services",
            json!({"id": id(1), "host": "h.test", "tags": ["b", "a"]}),
        )
        .await;
    client
        .have(
            "/consumers",
            json!({"id": id(2), "username": "u", "tags": ["a"]}),
        )
        .await;
    let row = |tag: &str, entity: &str, number| json!({"tag": tag, "entity_name": entity, "entity_id": id(number)});
    let all = [
        row("a", "services", 1),
        row("b", "services", 1),
        row("a", "consumers", 2),
    ];
    let answer = client.get("/tags").await;
    assert_eq!(answer.json(), json!({"data": all, "next": null}));
    let answer = client.get("/tags/a").await;
    assert_eq!(
        answer.json(),
        json!({"data": [all[0], all[2]], "next": null})
    );
    let mut target = "/tags?size=1".to_owned();
    for expected in &all {
        let page = client.get(&target).await.json();
        assert_eq!(page["data"], json!([expected]), "{target}");
        target = page["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(target, "", "the third page is the last");
}
