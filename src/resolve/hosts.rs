//! The hosts file: read again when its time of change differs, looked at every few seconds at most.

use super::locked;
use crate::limits::{HOSTS_CHECK_MS, HOSTS_SIZE_MAX};
use crate::telemetry::access::Level;
use crate::telemetry::log;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// Where names are looked up before DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostsFile {
    Path(PathBuf),
    /// The content itself, in hosts(5)'s form.
    Text(String),
    Off,
}

/// An answer from the file holds this long (seconds).
pub(super) const TTL_S: u64 = HOSTS_CHECK_MS.div_ceil(1_000);

pub(super) struct Watched {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    table: HashMap<Box<str>, Vec<IpAddr>>,
    /// Time of change and size of what was read.
    version: Option<(SystemTime, u64)>,
    checked: Option<Instant>,
    error: Option<String>,
}

impl Watched {
    pub fn new(file: HostsFile) -> Watched {
        let (path, text) = match file {
            HostsFile::Path(path) => (Some(path), String::new()),
            HostsFile::Text(text) => (None, text),
            HostsFile::Off => (None, String::new()),
        };
        let state = State {
            table: parse(&text),
            ..State::default()
        };
        Watched {
            path,
            state: Mutex::new(state),
        }
    }

    pub fn error(&self) -> Option<String> {
        locked(&self.state).error.clone()
    }

    /// `name`: lower case, without a final dot.
    pub async fn lookup(&self, name: &str, now: Instant) -> Option<Vec<IpAddr>> {
        if let Some(path) = &self.path
            && let Some(error) = self.refresh(path, now).await
        {
            log::error(
                Level::Warn,
                format_args!("dns_hostsfile {error}; what was read of it before counts"),
            );
        }
        locked(&self.state).table.get(name).cloned()
    }

    /// Reads the file again where it is time to. What is wrong with it is said once.
    async fn refresh(&self, path: &Path, now: Instant) -> Option<String> {
        let version = {
            let mut state = locked(&self.state);
            let due = state.checked.is_none_or(|checked| {
                now.saturating_duration_since(checked) >= Duration::from_millis(HOSTS_CHECK_MS)
            });
            if !due {
                return None;
            }
            // Whoever comes now uses the table as it is.
            state.checked = Some(now);
            state.version
        };
        let read = read(path, version).await;
        let mut state = locked(&self.state);
        match read {
            Ok(None) => state.error = None,
            Ok(Some((version, text))) => {
                state.table = parse(&text);
                state.version = Some(version);
                state.error = None;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                *state = State {
                    checked: state.checked,
                    ..State::default()
                };
            }
            // What was read before still holds.
            Err(error) => {
                let error = Some(format!("{}: {error}", path.display()));
                if state.error != error {
                    state.error.clone_from(&error);
                    return error;
                }
            }
        }
        None
    }
}

type Version = (SystemTime, u64);

/// `None`: unchanged.
async fn read(
    path: &Path,
    known: Option<Version>,
) -> Result<Option<(Version, String)>, std::io::Error> {
    let metadata = tokio::fs::metadata(path).await?;
    let version = (metadata.modified()?, metadata.len());
    if known == Some(version) {
        return Ok(None);
    }
    if metadata.len() > HOSTS_SIZE_MAX {
        return Err(std::io::Error::other(format!(
            "{} bytes, at most {HOSTS_SIZE_MAX} are read",
            metadata.len()
        )));
    }
    let text = tokio::fs::read(path).await?;
    Ok(Some((version, String::from_utf8_lossy(&text).into_owned())))
}

/// hosts(5): an address, then its names; `#` starts a comment. Lines that are none are skipped.
fn parse(text: &str) -> HashMap<Box<str>, Vec<IpAddr>> {
    let mut table: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
    for line in text.lines() {
        let content = line.split('#').next().unwrap_or_default();
        let mut words = content.split_whitespace();
        let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let ips = table.entry(name.into()).or_default();
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_all_their_addresses_and_what_is_no_address_is_skipped() {
        let table = parse(
            "127.0.0.1 localhost\n# 10.0.0.9 commented\n10.0.0.1\tDB.internal. db # main\n\
             10.0.0.2 db\r\nnonsense db\nfe80::1%eth0 db\n::1 db\n10.0.0.1 db\n",
        );
        let ips: Vec<String> = table["db"].iter().map(IpAddr::to_string).collect();
        assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "::1"]);
        assert_eq!(table["db.internal"].len(), 1);
        assert!(!table.contains_key("commented"));
    }

    #[tokio::test]
    async fn a_changed_file_is_seen_after_the_check_interval_and_a_missing_one_is_empty() {
        let path = std::env::temp_dir().join(format!("hosts-{}", uuid::Uuid::new_v4()));
        let hosts = Watched::new(HostsFile::Path(path.clone()));
        let start = Instant::now();
        let at = |checks: u32| start + Duration::from_millis(HOSTS_CHECK_MS) * checks;
        assert_eq!(hosts.lookup("a", at(0)).await, None);
        std::fs::write(&path, "10.0.0.1 a\n").expect("written");
        assert_eq!(
            hosts.lookup("a", at(0)).await,
            None,
            "not looked at again yet"
        );
        let first: Option<Vec<IpAddr>> = Some(vec!["10.0.0.1".parse().expect("ip")]);
        assert_eq!(hosts.lookup("a", at(1)).await, first);
        std::fs::write(&path, "10.0.0.77 a\n").expect("written");
        let second: Option<Vec<IpAddr>> = Some(vec!["10.0.0.77".parse().expect("ip")]);
        assert_eq!(hosts.lookup("a", at(2)).await, second);
        // A directory cannot be read: what was read before holds.
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("created");
        let error = hosts.refresh(&path, at(3)).await;
        assert!(error.is_some_and(|error| error.contains(&*path.to_string_lossy())));
        assert_eq!(hosts.refresh(&path, at(4)).await, None, "is said once");
        assert_eq!(hosts.lookup("a", at(4)).await, second);
        std::fs::remove_dir(&path).expect("removed");
        assert_eq!(hosts.lookup("a", at(5)).await, None);
    }
}
