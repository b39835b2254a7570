//! What is in the file, and how it is opened, upgraded, read and written.
//!
//! Two tables: `meta` (text to number: `schema`, the version of this layout, and `revision`) and `rows` (one byte for the
//! kind and 16 for the id, to the row as JSON with its fields in order). Indexes are not stored: they follow from the rows.

use super::OpenError;
use crate::declarative::parallel;
use crate::entity::{Config, Entity, Kind};
use crate::limits::{STORE_CACHE_SIZE, STORE_LOAD_ROWS};
use crate::store::{Image, Revision};
use crate::telemetry::access::Level;
use crate::telemetry::log;
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend,
    StorageError, TableDefinition, TableHandle, WriteTransaction,
};
use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const ROWS: TableDefinition<&[u8; 17], &[u8]> = TableDefinition::new("rows");
const SCHEMA: &str = "schema";
const REVISION: &str = "revision";

/// Takes a file from one version of the layout to the next; all steps that a file needs are one transaction.
pub type Step = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// `STEPS[n]` takes version n + 1 to n + 2. A step is never changed or taken out once it has been released.
pub const STEPS: &[Step] = &[];

/// Opens the file: at the start, and again after a write has failed.
pub type Opener = Box<dyn Fn() -> Result<Database, OpenError> + Send>;

/// Makes an empty store where no file is.
///
/// It is made under a name of its own and gets this one when it is whole: a file by the name of a store is never the
/// beginning of one, and of two processes the second finds the first one's. A process that is killed here leaves its
/// draft, which nothing reads.
pub fn create_if_absent(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io {
        path: path.to_path_buf(),
        source,
    };
    if fs::exists(path).map_err(failed)? {
        return Ok(());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.new", Uuid::new_v4()));
    let draft = PathBuf::from(draft);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&draft).map_err(failed)?;
    drop(open_on(backend_of(file, path)?, path, STEPS)?);
    match fs::hard_link(&draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        // A file system without links. That two processes come here at once is kept away by the prefix's pid file.
        Err(_) => {
            fs::rename(&draft, path).map_err(failed)?;
            return sync_folder(path).map_err(failed);
        }
    }
    fs::remove_file(&draft).map_err(failed)?;
    sync_folder(path).map_err(failed)
}

/// Opens an existing store.
pub fn open(path: &Path) -> Result<Database, OpenError> {
    let failed = |source| OpenError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).open(path).map_err(failed)?;
    let facts = file.metadata().map_err(failed)?;
    if facts.len() == 0 {
        // redb would make a new database of it.
        return Err(corrupt(path, "the file is empty"));
    }
    if facts.permissions().mode() & 0o077 != 0 {
        // It holds private keys.
        if let Err(error) = file.set_permissions(fs::Permissions::from_mode(0o600)) {
            log::error(
                Level::Warn,
                format_args!(
                    "{}: others may read it, and that cannot be changed: {error}",
                    path.display()
                ),
            );
        }
    }
    open_on(backend_of(file, path)?, path, STEPS)
}

/// What a file holds, without writing to it.
pub enum Inspected {
    Whole {
        format: u64,
        image: Image,
    },
    /// Of an earlier format: opening it upgrades it.
    Older {
        format: u64,
        known: u64,
    },
    /// The process that had it open was killed: opening it repairs it.
    Unclean,
}

/// Looks into an existing store and leaves it as it is.
pub fn inspect(path: &Path) -> Result<Inspected, OpenError> {
    guarded(path, || {
        let mut builder = Database::builder();
        builder.set_cache_size(STORE_CACHE_SIZE);
        let database = match builder.open_read_only(path) {
            Ok(database) => database,
            Err(DatabaseError::RepairAborted) => return Ok(Inspected::Unclean),
            Err(error) => return Err(database_error(path, error)),
        };
        let known = 1 + STEPS.len() as u64;
        match version(&database).map_err(|error| redb_error(path, error))? {
            Version::Of(format) if format == known => Ok(Inspected::Whole {
                format,
                image: try_load(&database, path)?,
            }),
            Version::Of(format) if format > known => Err(OpenError::Newer {
                path: path.to_path_buf(),
                found: format,
                known,
            }),
            Version::Of(format) if format > 0 => Ok(Inspected::Older { format, known }),
            _ => Err(corrupt(path, "it is not a store of this program")),
        }
    })
}

/// Opens what a backend holds; an empty one becomes an empty store. `path` is for messages.
pub fn open_on(
    backend: impl StorageBackend,
    path: &Path,
    steps: &[Step],
) -> Result<Database, OpenError> {
    guarded(path, || {
        let mut builder = Database::builder();
        builder
            .set_cache_size(STORE_CACHE_SIZE)
            .set_check_integrity_on_open(true);
        let database = builder
            .create_with_backend(backend)
            .map_err(|error| database_error(path, error))?;
        upgrade(&database, path, steps)?;
        Ok(database)
    })
}

/// Reads everything.
pub fn load(database: &Database, path: &Path) -> Result<Image, OpenError> {
    guarded(path, || try_load(database, path))
}

/// redb may panic over a file that was changed behind its back.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(corrupt(path, &panic_text(&*panic))))
}

/// Closes a database of which nothing is known after a failure.
pub fn discard(database: Database) {
    // What it says to that has been said.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

/// Writes rows as they are after a commit, and its revision: all or nothing, synced.
///
/// # Errors
/// The database may be unusable after one: open it anew.
pub fn write<'a>(
    database: &Database,
    rows: impl Iterator<Item = (Kind, Uuid, Option<&'a Arc<Entity>>)>,
    revision: Revision,
) -> Result<(), String> {
    let written = catch_unwind(AssertUnwindSafe(|| {
        try_write(database, rows, revision).map_err(|error| error.to_string())
    }));
    written.unwrap_or_else(|panic| Err(panic_text(&*panic)))
}

fn try_write<'a>(
    database: &Database,
    changed: impl Iterator<Item = (Kind, Uuid, Option<&'a Arc<Entity>>)>,
    revision: Revision,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut rows = transaction.open_table(ROWS)?;
        for (kind, id, row) in changed {
            let key = key(kind, id);
            match row {
                Some(row) => {
                    let text = serde_json::to_vec(&**row).map_err(io::Error::from)?;
                    rows.insert(&key, text.as_slice())?;
                }
                None => {
                    rows.remove(&key)?;
                }
            }
        }
        transaction.open_table(META)?.insert(REVISION, revision)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Brings a file to the version of `steps`, or makes it the first store of that version.
fn upgrade(database: &Database, path: &Path, steps: &[Step]) -> Result<(), OpenError> {
    let known = 1 + steps.len() as u64;
    let found = version(database).map_err(|error| redb_error(path, error))?;
    let failed = |error| redb_error(path, error);
    match found {
        Version::Of(found) if found == known => return Ok(()),
        Version::Of(found) if found > known => {
            return Err(OpenError::Newer {
                path: path.to_path_buf(),
                found,
                known,
            });
        }
        Version::Of(0) | Version::Unknown => {
            return Err(corrupt(path, "it is not a store of this program"));
        }
        Version::Of(_) | Version::Empty => {}
    }
    let transaction = database
        .begin_write()
        .map_err(|error| failed(error.into()))?;
    let run = || -> Result<(), redb::Error> {
        match found {
            Version::Of(found) => {
                let done = usize::try_from(found.saturating_sub(1)).unwrap_or(usize::MAX);
                for step in steps.iter().skip(done) {
                    step(&transaction)?;
                }
            }
            _ => {
                transaction.open_table(ROWS)?;
                transaction.open_table(META)?.insert(REVISION, 0)?;
            }
        }
        transaction.open_table(META)?.insert(SCHEMA, known)?;
        Ok(())
    };
    run().map_err(failed)?;
    transaction.commit().map_err(|error| failed(error.into()))
}

#[derive(Clone, Copy)]
enum Version {
    /// No table at all.
    Empty,
    Of(u64),
    /// Tables, but not ours.
    Unknown,
}

fn version(database: &impl ReadableDatabase) -> Result<Version, redb::Error> {
    let transaction = database.begin_read()?;
    let mut ours = false;
    let mut tables = 0;
    for table in transaction.list_tables()? {
        tables += 1;
        ours |= table.name() == META.name();
    }
    if tables == 0 {
        return Ok(Version::Empty);
    }
    if !ours {
        return Ok(Version::Unknown);
    }
    let version = transaction.open_table(META)?.get(SCHEMA)?;
    Ok(version.map_or(Version::Unknown, |version| Version::Of(version.value())))
}

fn try_load(database: &impl ReadableDatabase, path: &Path) -> Result<Image, OpenError> {
    let failed = |error: redb::Error| redb_error(path, error);
    let transaction = database
        .begin_read()
        .map_err(|error| failed(error.into()))?;
    let open = || -> Result<_, redb::Error> {
        let revision = transaction.open_table(META)?.get(REVISION)?;
        let revision = revision.map(|revision| revision.value());
        Ok((revision, transaction.open_table(ROWS)?))
    };
    let (revision, rows) = open().map_err(failed)?;
    let revision = revision.ok_or_else(|| corrupt(path, "it has no revision"))?;
    let mut config = Config::default();
    let mut waiting = Vec::new();
    let mut parse = |waiting: &mut Vec<([u8; 17], Vec<u8>)>| {
        // JSON of a whole configuration costs seconds, which all cores share.
        for row in parallel(std::mem::take(waiting), |(key, text)| {
            parse_row(&key, &text)
        }) {
            let (kind, id, row) = row.map_err(|reason| corrupt(path, &reason))?;
            config.put(kind, id, row);
        }
        Ok(())
    };
    for entry in rows.iter().map_err(|error| failed(error.into()))? {
        let (key, text) = entry.map_err(|error| failed(error.into()))?;
        waiting.push((*key.value(), text.value().to_vec()));
        if waiting.len() >= STORE_LOAD_ROWS {
            parse(&mut waiting)?;
        }
    }
    parse(&mut waiting)?;
    let image = Image::build_at(config, revision);
    match image.check() {
        Ok(()) if revision > 0 || image.row_count() == 0 => Ok(image),
        Ok(()) => Err(corrupt(path, "it has rows but no revision")),
        Err(reason) => Err(corrupt(path, &reason)),
    }
}

fn parse_row(key: &[u8; 17], text: &[u8]) -> Result<(Kind, Uuid, Arc<Entity>), String> {
    let [code, id @ ..] = *key;
    let id = Uuid::from_bytes(id);
    let kind = kind_of(code).ok_or_else(|| format!("row {id} is of the unknown kind {code}"))?;
    let row: Entity = serde_json::from_slice(text)
        .map_err(|error| format!("row {id} of {}: {error}", kind.name()))?;
    let own = row.get("id").and_then(|own| own.as_str()?.parse().ok());
    if own != Some(id) {
        return Err(format!("row {id} of {} has another id in it", kind.name()));
    }
    Ok((kind, id, Arc::new(row)))
}

fn key(kind: Kind, id: Uuid) -> [u8; 17] {
    let mut key = [code_of(kind); 17];
    key[1..].copy_from_slice(id.as_bytes());
    key
}

/// Part of the file's layout: a number is never given to another kind.
const fn code_of(kind: Kind) -> u8 {
    match kind {
        Kind::Certificates => 1,
        Kind::Snis => 2,
        Kind::CaCertificates => 3,
        Kind::Services => 4,
        Kind::Routes => 5,
        Kind::Consumers => 6,
        Kind::MtlsAuthCredentials => 7,
        Kind::Acls => 8,
        Kind::Upstreams => 9,
        Kind::Targets => 10,
        Kind::Plugins => 11,
    }
}

fn kind_of(code: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| code_of(*kind) == code)
}

// ── files and errors ──

fn backend_of(file: File, path: &Path) -> Result<FileBackend, OpenError> {
    FileBackend::new(file).map_err(|error| database_error(path, error))
}

/// Makes a new name in a folder durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn corrupt(path: &Path, reason: &str) -> OpenError {
    OpenError::Corrupt {
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    }
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::Locked {
                path: path.to_path_buf(),
            }
        }
        DatabaseError::Storage(StorageError::Io(source)) => io_error(path, source),
        error => corrupt(path, &error.to_string()),
    }
}

fn redb_error(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(source) => io_error(path, source),
        error => corrupt(path, &error.to_string()),
    }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    match source.kind() {
        // No database, or the beginning of one.
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof => corrupt(path, &source.to_string()),
        _ => OpenError::Io {
            path: path.to_path_buf(),
            source,
        },
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic").to_owned()
}
