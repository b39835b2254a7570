//! Which CPUs the engine threads are pinned to, and where the control thread runs. Pure: the mask is passed in.

use std::fmt;

use super::types::WorkerCount;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// CPU of each engine thread, in order.
    pub workers: Vec<usize>,
    pub control: Control,
    /// For the other threads that are not the engine's: CPUs without an engine thread, or all of the mask where none is
    /// left.
    pub others: Vec<usize>,
    /// What the operator asked for and did not get.
    pub warning: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// A CPU of the mask without an engine thread.
    Own(usize),
    /// Every CPU has an engine thread: this one's is shared.
    Shared(usize),
}

impl Control {
    pub fn cpu(self) -> usize {
        match self {
            Control::Own(cpu) | Control::Shared(cpu) => cpu,
        }
    }
}

/// `mask`: the CPUs this process may run on. Errors are sentences that begin with the directive.
pub fn place(
    mask: &[usize],
    processes: WorkerCount,
    cores: Option<&[usize]>,
    control_core: Option<usize>,
) -> Result<Placement, String> {
    if mask.is_empty() {
        return Err("the CPU mask of this process could not be read".into());
    }
    let outside: Vec<usize> = cores
        .into_iter()
        .flatten()
        .copied()
        .filter(|cpu| !mask.contains(cpu))
        .collect();
    if !outside.is_empty() {
        return Err(format!(
            "cores: CPU {} is outside the CPU mask of this process ({})",
            ranges(&outside),
            ranges(mask)
        ));
    }
    if let Some(cpu) = control_core.filter(|cpu| !mask.contains(cpu)) {
        return Err(format!(
            "control_core: CPU {cpu} is outside the CPU mask of this process ({})",
            ranges(mask)
        ));
    }
    let candidates = cores.unwrap_or(mask);
    let mut warning = None;
    let count = match processes {
        WorkerCount::Auto => candidates.len(),
        WorkerCount::Count(count) if count > candidates.len() => {
            warning = Some(format!(
                "nginx_worker_processes: {count} engine threads were asked for, {} CPUs are there ({}); one thread per CPU is started",
                candidates.len(),
                ranges(candidates)
            ));
            candidates.len()
        }
        WorkerCount::Count(count) => count,
    };
    // A CPU kept for the control thread is taken last.
    let (kept, free): (Vec<usize>, Vec<usize>) = candidates
        .iter()
        .partition(|cpu| Some(**cpu) == control_core);
    let workers: Vec<usize> = free.into_iter().chain(kept).take(count).collect();
    let idle = || {
        mask.iter()
            .rev()
            .copied()
            .find(|cpu| !workers.contains(cpu))
    };
    let control = match control_core.or_else(idle) {
        Some(cpu) if workers.contains(&cpu) => Control::Shared(cpu),
        Some(cpu) => Control::Own(cpu),
        None => Control::Shared(workers.last().copied().unwrap_or(mask[0])),
    };
    let free = mask.iter().copied().filter(|cpu| !workers.contains(cpu));
    let others = match free.collect::<Vec<_>>() {
        free if free.is_empty() => mask.to_vec(),
        free => free,
    };
    Ok(Placement {
        workers,
        control,
        others,
        warning,
    })
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.workers.len() == 1 {
            "engine thread"
        } else {
            "engine threads"
        };
        write!(
            f,
            "{} {threads} on CPU {}; ",
            self.workers.len(),
            ranges(&self.workers)
        )?;
        match self.control {
            Control::Own(cpu) => write!(f, "the control thread has CPU {cpu} to itself"),
            Control::Shared(cpu) => write!(
                f,
                "the control thread shares CPU {cpu} with an engine thread"
            ),
        }
    }
}

/// `0-3,8` of a set of CPUs.
fn ranges(cpus: &[usize]) -> String {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for cpu in sorted {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => spans.push((cpu, cpu)),
        }
    }
    let texts: Vec<String> = spans
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::Control::{Own, Shared};
    use super::WorkerCount::{Auto, Count};
    use super::*;

    type Row<'a> = (
        &'a [usize],
        WorkerCount,
        Option<&'a [usize]>,
        Option<usize>,
        &'a [usize],
        Control,
        &'a [usize],
    );

    #[test]
    fn threads_stay_within_mask_and_directives() {
        const M1: &[usize] = &[0];
        const M4: &[usize] = &[0, 1, 2, 3];
        let rows: &[Row<'_>] = &[
            (M1, Auto, None, None, &[0], Shared(0), M1),
            (M4, Auto, None, None, M4, Shared(3), M4),
            (M4, Count(2), None, None, &[0, 1], Own(3), &[2, 3]),
            (&[4, 6], Count(1), None, None, &[4], Own(6), &[6]),
            (M4, Auto, Some(&[2, 1]), None, &[2, 1], Own(3), &[0, 3]),
            (M4, Auto, Some(&[2, 3]), None, &[2, 3], Own(1), &[0, 1]),
            (M4, Count(1), Some(&[2, 3]), None, &[2], Own(3), &[0, 1, 3]),
            (M4, Count(3), None, Some(0), &[1, 2, 3], Own(0), &[0]),
            (M4, Auto, None, Some(0), &[1, 2, 3, 0], Shared(0), M4),
            (
                M4,
                Auto,
                Some(&[0, 1]),
                Some(1),
                &[0, 1],
                Shared(1),
                &[2, 3],
            ),
        ];
        for (mask, processes, cores, control_core, workers, control, others) in rows {
            let expected = Placement {
                workers: workers.to_vec(),
                control: *control,
                others: others.to_vec(),
                warning: None,
            };
            assert_eq!(place(mask, *processes, *cores, *control_core), Ok(expected));
        }
    }

    #[test]
    fn more_threads_than_cpus_are_cut_with_a_warning() {
        let placement = place(&[0, 1], Count(8), None, None).expect("two CPUs");
        assert_eq!(
            (placement.workers, placement.control),
            (vec![0, 1], Shared(1))
        );
        assert!(
            placement
                .warning
                .is_some_and(|why| why.contains("8 engine threads") && why.contains("2 CPUs"))
        );
    }

    #[test]
    fn cpus_outside_the_mask_are_refused_by_number() {
        type Row<'a> = (Option<&'a [usize]>, Option<usize>, &'a str);
        let rows: &[Row<'_>] = &[
            (
                Some(&[0, 5, 6, 7, 9]),
                None,
                "cores: CPU 5-7,9 is outside the CPU mask of this process (0-3)",
            ),
            (
                None,
                Some(4),
                "control_core: CPU 4 is outside the CPU mask of this process (0-3)",
            ),
        ];
        for (cores, control_core, expected) in rows {
            assert_eq!(
                place(&[0, 1, 2, 3], Auto, *cores, *control_core),
                Err((*expected).to_owned())
            );
        }
        assert!(place(&[], Auto, None, None).is_err());
    }

    #[test]
    fn the_text_says_where_the_control_thread_runs() {
        let text = |processes| {
            place(&[0, 1, 2, 3], processes, None, None).map(|placement| placement.to_string())
        };
        assert_eq!(
            text(Auto).as_deref(),
            Ok(
                "4 engine threads on CPU 0-3; the control thread shares CPU 3 with an engine thread"
            )
        );
        assert_eq!(
            text(Count(1)).as_deref(),
            Ok("1 engine thread on CPU 0; the control thread has CPU 3 to itself")
        );
    }
}
