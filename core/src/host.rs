//! What the host says about itself and its processes.

pub mod cgroup;
pub mod endpoint;
pub mod holder;

/// What the host calls itself.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_string(),
        name => name.to_string(),
    }
}
