//! What the embedded store costs at 100,000 certificates, 100,000 SNIs and 10,000 routes. Prints figures, asserts contents.

use sallyport::entity::{Config, Entity, Kind};
use sallyport::store::embedded;
use sallyport::store::{Image, Plan, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[test]
#[ignore = "for its length: tests/run --long; with figures: cargo test --release --test store_speed -- --ignored --nocapture"]
fn figures_at_a_hundred_thousand_certificates() {
    const CERTIFICATES: u64 = 100_000;
    const ROUTES: u64 = 10_000;
    let folder = std::env::temp_dir().join(format!("sallyport-speed-{}", Uuid::new_v4()));
    std::fs::create_dir(&folder).expect("a folder");
    let path = folder.join("store.redb");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");

    let (store, _) = embedded::open(&path).expect("it opens");
    let begin = Instant::now();
    let mut plan = Plan::new(store.image());
    for number in 0..CERTIFICATES {
        let row = certificate(number, "first");
        plan.insert(Kind::Certificates, row).expect("a free id");
        plan.insert(Kind::Snis, sni(number)).expect("a free name");
    }
    plan.insert(Kind::Services, service()).expect("a free name");
    for number in 0..ROUTES {
        plan.insert(Kind::Routes, route(number))
            .expect("a free name");
    }
    println!("plan of all rows: {:?}", begin.elapsed());
    let begin = Instant::now();
    runtime
        .block_on(store.commit(plan.into_batch()))
        .expect("a commit");
    println!("commit of all rows: {:?}", begin.elapsed());

    let mut times: Vec<Duration> = (0..300)
        .map(|number| {
            let begin = Instant::now();
            let mut plan = Plan::new(store.image());
            plan.replace(Kind::Certificates, certificate(number * 317, "second"))
                .expect("it is there");
            runtime
                .block_on(store.commit(plan.into_batch()))
                .expect("no conflict");
            begin.elapsed()
        })
        .collect();
    show("one certificate replaced, plan and commit", &mut times);

    let begin = Instant::now();
    let waiting: Vec<_> = (0..1000)
        .map(|number| {
            let mut plan = Plan::new(store.image());
            plan.replace(Kind::Certificates, certificate(number * 97, "third"))
                .expect("it is there");
            store.commit(plan.into_batch())
        })
        .collect();
    let count = waiting.len();
    for commit in waiting {
        runtime.block_on(commit).expect("no conflict");
    }
    let each = count as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{count} commits at once: {:?}, {each:.0} a second",
        begin.elapsed()
    );

    let image = store.image();
    let mut times: Vec<Duration> = (0..1000)
        .map(|number| {
            let begin = Instant::now();
            let mut plan = Plan::new(Arc::clone(&image));
            plan.replace(Kind::Certificates, certificate(number * 31, "fourth"))
                .expect("it is there");
            let batch = plan.into_batch();
            let mut next = Image::clone(&image);
            next.apply(&batch.writes, image.revision + 1);
            begin.elapsed()
        })
        .collect();
    show("one certificate, plan and image in memory", &mut times);

    let rows = image.row_count();
    let begin = Instant::now();
    assert!(store.close());
    println!("close: {:?}", begin.elapsed());
    drop(store);
    let begin = Instant::now();
    let (store, loaded) = embedded::open(&path).expect("it opens");
    println!("open after a clean end: {:?}", begin.elapsed());
    assert_eq!(loaded.image.row_count(), rows);
    assert!(loaded.image.config == image.config);
    let size = std::fs::metadata(&path).expect("a file").len();
    println!("the file: {} MB", size >> 20);

    // As a kill leaves it: a copy made while the store is open.
    let mut plan = Plan::new(store.image());
    plan.replace(Kind::Certificates, certificate(0, "fifth"))
        .expect("it is there");
    runtime
        .block_on(store.commit(plan.into_batch()))
        .expect("no conflict");
    let copy = folder.join("copy.redb");
    std::fs::copy(&path, &copy).expect("a copy");
    let begin = Instant::now();
    let (second, loaded) = embedded::open(&copy).expect("it opens");
    println!("open after a kill: {:?}", begin.elapsed());
    assert!(loaded.image.config == store.image().config);
    drop((store, second));

    let config = Config::clone(&loaded.image.config);
    let begin = Instant::now();
    let image = Image::build(config);
    println!("indexes of all rows: {:?}", begin.elapsed());
    assert_eq!(image.row_count(), rows);
    std::fs::remove_dir_all(&folder).expect("our folder");
}

fn show(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: median {:?}, p99 {:?}, max {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn row(kind: u64, number: u64, fields: Value) -> Entity {
    let Value::Object(mut row) = fields else {
        panic!("an object");
    };
    row.insert("id".into(), json!(id(kind, number)));
    row
}

/// Spread like random ids.
fn id(kind: u64, number: u64) -> Uuid {
    Uuid::from_u64_pair(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), kind)
}

/// As large as one with an EC key and a chain of two.
fn certificate(number: u64, what: &str) -> Entity {
    let fields = json!({"created_at": 1, "updated_at": 2, "tags": [what], "cert": format!("{number:2000}"),
        "key": format!("{number:240}"), "cert_alt": null, "key_alt": null});
    row(1, number, fields)
}

fn sni(number: u64) -> Entity {
    let fields = json!({"name": format!("host-{number}.example.com"), "created_at": 1, "updated_at": 2, "tags": null,
        "certificate": {"id": id(1, number)}});
    row(2, number, fields)
}

fn service() -> Entity {
    row(
        3,
        0,
        json!({"name": "s", "client_certificate": null, "ca_certificates": null}),
    )
}

fn route(number: u64) -> Entity {
    let fields = json!({"name": format!("r{number}"), "hosts": [format!("host-{number}.example.com")],
        "paths": null, "protocols": ["https"], "service": {"id": id(3, 0)}});
    row(4, number, fields)
}
