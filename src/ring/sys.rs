//! System calls that the standard library does not offer, each behind a safe function.
#![allow(unsafe_code)]

use std::io;

/// kill(2) for one process; `signal` 0 only asks whether it exists and may be signalled.
///
/// Refuses numbers below 1, which kill(2) takes for groups of processes or for all of them.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid < 1 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a process id is above 0",
        ));
    }
    // SAFETY: kill takes two integers and touches no memory of this process.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_asked_for_and_groups_cannot() {
        assert!(kill(std::process::id() as i32, 0).is_ok());
        for pid in [0, -1, i32::MIN] {
            assert_eq!(
                kill(pid, 0).map_err(|e| e.kind()),
                Err(io::ErrorKind::InvalidInput),
                "{pid}"
            );
        }
    }
}
