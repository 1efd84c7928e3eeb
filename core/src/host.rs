//! What the host says about its processes.

pub mod cgroup;
