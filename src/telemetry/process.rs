//! What the kernel says about this process.

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident: u64,
    pub virtual_size: u64,
}

/// From `/proc/self/status` (VmRSS, VmSize). `None` where there is no such file. Reads a file: not for a core.
pub fn memory() -> Option<Memory> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `/proc/<pid>/status`: `VmRSS:     1234 kB`.
fn parse(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Memory {
        resident: field("VmRSS:")?,
        virtual_size: field("VmSize:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_kibibytes_and_a_missing_one_is_none() {
        let text = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t   12 kB\n";
        let expected = Memory {
            resident: 12 * 1024,
            virtual_size: 2048 * 1024,
        };
        assert_eq!(parse(text), Some(expected));
        assert_eq!(parse("VmSize:\t 1 kB\n"), None);
    }

    #[test]
    fn this_process_has_resident_memory() {
        assert!(memory().is_some_and(|memory| memory.resident > 0));
    }
}
