//! What this process has used, as the kernel tells it. It refuses to guess: where there is no `/proc` it says nothing.

use std::fs;
use std::time::Duration;

/// The processor time of this process so far, its threads and the kernel's share included.
pub(crate) fn cpu() -> Option<Duration> {
    cpu_of("self")
}

/// The processor time so far of processes on this machine.
pub(crate) fn cpu_of_all(pids: &[i64]) -> Option<Duration> {
    pids.iter().map(|pid| cpu_of(&pid.to_string())).sum()
}

fn cpu_of(pid: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything; after it come numbers.
    let (_, numbers) = stat.rsplit_once(')')?;
    let mut numbers = numbers.split_whitespace().skip(11).map_while(|number| number.parse::<u64>().ok());
    let ticks = numbers.next()? + numbers.next()?;
    // The kernel's unit for this file is a hundredth of a second on every Linux that is in use.
    Some(Duration::from_millis(ticks * 10))
}

/// What was used since then; nothing where the kernel does not tell.
pub(crate) fn since(before: Option<Duration>) -> Duration {
    cpu().zip(before).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before))
}

/// Resident memory: now, and the most since the start, in bytes.
pub(crate) fn resident() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
    };
    Some((bytes("VmRSS:")?, bytes("VmHWM:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_some_memory_and_its_time_only_grows() {
        let (now, most) = resident().unwrap();
        assert!(now > 100_000 && most >= now / 2);
        let before = cpu().unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(60) {}
        assert!(cpu().unwrap() > before);
    }
}
