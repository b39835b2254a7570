//! The embedded store's file: what is made, what is refused, what is upgraded.

use super::disk::Disk;
use super::*;
use crate::entity::Kind::Consumers;
use crate::store::embedded::{self, file};
use crate::store::{OpenError, Store};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("sallyport-store-{}", Uuid::new_v4()));
        fs::create_dir(&folder).expect("a folder");
        Folder(folder)
    }

    fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A closed store with one consumer in it.
fn filled(path: &Path) {
    let (store, loaded) = embedded::open(path).expect("it opens");
    assert_eq!(loaded.image.revision, 0);
    let mut plan = Plan::new(loaded.image);
    let (kind, row) = make(Consumers, 1, json!({"username": "u", "tags": ["z", "a"]}));
    plan.insert(kind, row).expect("an empty store");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    assert_eq!(runtime.block_on(store.commit(plan.into_batch())), Ok(1));
    assert!(store.close());
}

fn refused(path: &Path) -> OpenError {
    match embedded::open(path) {
        Ok(_) => panic!("{} opens", path.display()),
        Err(error) => error,
    }
}

#[test]
fn a_store_is_made_for_its_owner_only_and_found_again() {
    let folder = Folder::new();
    filled(&folder.store());
    let names: Vec<_> = fs::read_dir(&folder.0).expect("a folder").collect();
    assert_eq!(names.len(), 1, "no draft is left: {names:?}");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.store()), 0o600);
    fs::set_permissions(folder.store(), fs::Permissions::from_mode(0o644)).expect("our file");
    let (store, loaded) = embedded::open(&folder.store()).expect("it opens");
    assert_eq!(mode(&folder.store()), 0o600);
    assert_eq!(loaded.image.revision, 1);
    let (_, row) = make(Consumers, 1, json!({"username": "u", "tags": ["z", "a"]}));
    let found = loaded.image.get(Consumers, id(1)).expect("stored");
    assert_eq!(**found, row);
    let order = |row: &Entity| row.keys().cloned().collect::<Vec<_>>();
    assert_eq!(order(found), order(&row), "fields keep their order");
    assert_eq!(store.image().find(Consumers, "username", "u"), Some(id(1)));
}

#[test]
fn a_store_in_use_is_refused() {
    let folder = Folder::new();
    let (store, _) = embedded::open(&folder.store()).expect("it opens");
    let error = refused(&folder.store());
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(store.close());
    assert!(embedded::open(&folder.store()).is_ok());
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 7] = [
        ("empty", |bytes| bytes.clear()),
        ("text", |bytes| {
            *bytes = b"_format_version: '3.0'\n".to_vec()
        }),
        ("zeros", |bytes| bytes.fill(0)),
        ("the first page only", |bytes| bytes.truncate(4096)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("its magic number", |bytes| bytes[0] ^= 0xff),
        ("a letter of a row", |bytes| {
            let at = bytes
                .windows(10)
                .rposition(|window| window == b"\"username\"")
                .expect("a row in the file");
            bytes[at + 1] ^= 1;
        }),
    ];
    let folder = Folder::new();
    filled(&folder.store());
    let whole = fs::read(folder.store()).expect("a file");
    for (what, damage) in cases {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(folder.store(), &bytes).expect("a file");
        let error = refused(&folder.store());
        assert!(
            matches!(error, OpenError::Corrupt { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains("store.redb"), "{error}");
        let after = fs::read(folder.store()).expect("a file");
        assert!(after == bytes, "{what}: the file was changed");
    }
}

#[test]
fn rows_that_do_not_fit_together_are_refused() {
    const ROWS: TableDefinition<&[u8; 17], &[u8]> = TableDefinition::new("rows");
    let key = |code: u8, number: u128| {
        let mut key = [code; 17];
        key[1..].copy_from_slice(id(number).as_bytes());
        key
    };
    let consumer =
        |number: u128, name: &str| json!({"id": id(number), "username": name}).to_string();
    let cases = [
        ("not JSON", key(6, 2), "{".to_owned(), "EOF"),
        ("another's id", key(6, 2), consumer(3, "v"), "another id"),
        (
            "an unknown kind",
            key(99, 2),
            consumer(2, "v"),
            "unknown kind 99",
        ),
        (
            "a name twice",
            key(6, 2),
            consumer(2, "u"),
            "the same username",
        ),
        (
            "a reference to nothing",
            key(8, 2),
            json!({"id": id(2), "consumer": reference(9), "group": "g"}).to_string(),
            "refers to",
        ),
    ];
    for (what, key, text, expected) in cases {
        let disk = Disk::default();
        let path = Path::new("test");
        let database = file::open_on(disk.clone(), path, file::STEPS).expect("an empty store");
        let (_, row) = make(Consumers, 1, json!({"username": "u"}));
        let rows = [(Consumers, id(1), Some(&Arc::new(row)))];
        file::write(&database, rows.into_iter(), 1).expect("a write");
        let transaction = database.begin_write().expect("a transaction");
        transaction
            .open_table(ROWS)
            .and_then(|mut rows| Ok(rows.insert(&key, text.as_bytes()).map(|_| ())?))
            .expect("a row");
        transaction.commit().expect("a commit");
        let error = file::load(&database, path).expect_err(what).to_string();
        assert!(error.contains(expected), "{what}: {error}");
    }
}

/// What a version would add.
const NOTES: TableDefinition<&str, &str> = TableDefinition::new("notes");

fn add_notes(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(NOTES)?.insert("from", "version 1")?;
    Ok(())
}

fn change_notes(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut notes = transaction.open_table(NOTES)?;
    let text = notes.get("from")?.map(|text| text.value().to_owned());
    notes.insert(
        "from",
        format!("{}, version 2", text.unwrap_or_default()).as_str(),
    )?;
    Ok(())
}

fn fail(_: &WriteTransaction) -> Result<(), redb::Error> {
    Err(redb::Error::Io(std::io::Error::other("this step fails")))
}

fn note(database: &Database) -> Option<String> {
    use redb::ReadableDatabase;
    let transaction = database.begin_read().expect("a transaction");
    let notes = transaction.open_table(NOTES).ok()?;
    let text = notes.get("from").expect("a read")?;
    Some(text.value().to_owned())
}

#[test]
fn an_older_store_is_brought_forward_step_by_step_and_a_newer_one_refused() {
    let path = Path::new("test");
    let open = |disk: &Disk, steps: &[file::Step]| file::open_on(disk.clone(), path, steps);
    let disk = Disk::default();
    let (_, row) = make(Consumers, 1, json!({"username": "u"}));
    {
        let database = open(&disk, &[]).expect("an empty store");
        let rows = [(Consumers, id(1), Some(&Arc::new(row)))];
        file::write(&database, rows.into_iter(), 1).expect("a write");
    }
    // A step that fails leaves version 1, with nothing of the step before it.
    let error = open(&disk, &[add_notes, fail]).expect_err("the second step fails");
    assert!(error.to_string().contains("this step fails"), "{error}");
    assert_eq!(note(&open(&disk, &[]).expect("still version 1")), None);
    {
        let database = open(&disk, &[add_notes]).expect("version 2");
        assert_eq!(note(&database).as_deref(), Some("version 1"));
    }
    {
        // The first step is not run again.
        let database = open(&disk, &[fail, change_notes]).expect("version 3");
        assert_eq!(note(&database).as_deref(), Some("version 1, version 2"));
        let image = file::load(&database, path).expect("its rows");
        assert_eq!(image.find(Consumers, "username", "u"), Some(id(1)));
    }
    let error = open(&disk, &[]).expect_err("it is newer");
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 3,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(open(&disk, &[fail, fail]).is_ok(), "it is still version 3");
}

#[test]
fn another_programs_database_is_refused() {
    let disk = Disk::default();
    {
        let database = Database::builder()
            .create_with_backend(disk.clone())
            .expect("a database");
        let transaction = database.begin_write().expect("a transaction");
        add_notes(&transaction).expect("a table");
        transaction.commit().expect("a commit");
    }
    let error = file::open_on(disk, Path::new("test"), file::STEPS).expect_err("not ours");
    assert!(
        error.to_string().contains("not a store of this program"),
        "{error}"
    );
}
