//! What a process may do, as `/proc/PID/status` says it (`proc_pid_status(5)`).

/// `linux/capability.h`.
pub const CAP_SYS_PTRACE: u32 = 19;

/// The capabilities that count, a bit each by their numbers; none where it does not say.
pub fn effective(status: &str) -> u64 {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}
