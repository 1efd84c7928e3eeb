//! How a host's processes are read.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use weir_core::host::cgroup;

use super::known::{Process, Stat};
use super::now;

/// Variables that say these, the ones that count more first.
const VARIABLES: &[(&str, &str)] =
    &[("DD_SERVICE", "service"), ("OTEL_SERVICE_NAME", "service"), ("DD_ENV", "env"), ("DD_VERSION", "version")];
/// The same in `OTEL_RESOURCE_ATTRIBUTES`.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("service.name", "service"),
    ("deployment.environment.name", "env"),
    ("deployment.environment", "env"),
    ("service.version", "version"),
];

/// Bytes that are read of an environment, of a tag's value in it.
const ENVIRONMENT_BYTES_MAX: usize = 64 << 10;
const VALUE_BYTES_MAX: usize = 200;

/// The inode of the namespace that hosts begin with (`PROC_PID_INIT_INO` of linux/proc_ns.h).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
/// A process that has been there for so long is what it was started as.
const SETTLED_NANOS: i64 = 3_000_000_000;

/// Processes that are tried to see whether they can be looked at.
const PROBED: usize = 500;

/// Where processes are read.
#[derive(Clone)]
pub struct Host {
    pub root: PathBuf,
    pub environment: Vec<String>,
}

impl Host {
    /// What is missing here, and what that costs.
    pub fn trouble(&self) -> Option<String> {
        let root = self.root.display();
        if self.stat(1).is_none() {
            return Some(format!(
                "`{root}` does not show process 1: of processes only what the kernel says with a conversation is known; \
                 mount the host's /proc there, without `hidepid`"
            ));
        }
        // The kernel counts by the numbers that processes have on the host.
        let is_apart = fs::metadata("/proc/self/ns/pid").is_ok_and(|meta| meta.ino() != INITIAL_PID_NAMESPACE);
        if is_apart && self.root == Path::new("/proc") {
            return Some(
                "`/proc` has the processes of a container, by numbers of its own: mount the host's, and say \
                 `procfs(\"/host/proc\")`"
                    .to_string(),
            );
        }
        // One of another user is closed where one's own are not.
        let pids = self.pids().into_iter().take(PROBED);
        let is_refused = |pid: i32| {
            let error = fs::File::open(self.of(pid).join("environ")).err();
            // It may have gone meanwhile.
            error.is_some_and(|error| error.kind() != std::io::ErrorKind::NotFound)
        };
        let pid = pids.into_iter().find(|pid| is_refused(*pid))?;
        Some(format!(
            "`{root}/{pid}/environ` cannot be read: services that others run are not known; it needs CAP_SYS_PTRACE and \
             CAP_DAC_READ_SEARCH"
        ))
    }

    pub fn of(&self, pid: i32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    pub fn pids(&self) -> Vec<i32> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Fields 2 and 22 of `proc_pid_stat(5)`.
    pub fn stat(&self, pid: i32) -> Option<Stat> {
        let stat = fs::read_to_string(self.of(pid).join("stat")).ok()?;
        // The command may have anything in it.
        let (before, behind) = stat.rsplit_once(')')?;
        let (_, command) = before.split_once('(')?;
        let ticks = behind.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
        Some(Stat { ticks, command: command.to_string() })
    }

    /// When the host began, in nanoseconds since the epoch.
    pub fn began(&self) -> Option<i64> {
        let uptime = fs::read_to_string(self.root.join("uptime")).ok()?;
        let seconds: f64 = uptime.split(' ').next()?.parse().ok()?;
        Some(now().saturating_sub((seconds * 1e9) as i64))
    }

    pub fn process(&self, pid: i32, stat: Stat) -> Option<Process> {
        let folder = self.of(pid);
        let mut tags = vec![format!("process:{}", stat.command)];
        if let Ok(exe) = fs::read_link(folder.join("exe")) {
            let exe = exe.display().to_string();
            tags.push(format!("exe:{}", exe.strip_suffix(" (deleted)").unwrap_or(&exe)));
        }
        tags.extend(self.of_environment(&folder));
        tags.extend(of_cgroup(&folder));
        // If another one has got its number meanwhile, some of this is of that one.
        if self.stat(pid).as_ref() != Some(&stat) {
            return None;
        }
        let mut process = Process { stat, is_settled: false, gone: None, tags: tags.into() };
        process.is_settled = now().saturating_sub(process.began(self.began())) > SETTLED_NANOS;
        Some(process)
    }

    fn of_environment(&self, folder: &Path) -> Vec<String> {
        let Some(bytes) = read_some(&folder.join("environ")) else { return Vec::new() };
        let variables: HashMap<&str, &str> = bytes
            .split(|byte| *byte == 0)
            .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
            .filter(|(_, value)| !value.is_empty() && value.len() <= ENVIRONMENT_BYTES_MAX)
            .collect();
        let attributes: HashMap<&str, &str> = variables
            .get("OTEL_RESOURCE_ATTRIBUTES")
            .map(|all| {
                all.split(',').filter_map(|one| one.split_once('=')).map(|(k, v)| (k.trim(), v.trim())).collect()
            })
            .unwrap_or_default();
        let said = VARIABLES.iter().filter_map(|(name, key)| Some((*key, *variables.get(name)?)));
        let said = said.chain(ATTRIBUTES.iter().filter_map(|(name, key)| Some((*key, *attributes.get(name)?))));
        let mut tags: Vec<(String, &str)> = Vec::new();
        for (key, value) in said {
            if !tags.iter().any(|(told, _)| told == key) {
                tags.push((key.to_string(), value));
            }
        }
        let own =
            self.environment.iter().filter_map(|name| Some((name.to_lowercase(), *variables.get(name.as_str())?)));
        tags.extend(own);
        let short = tags.into_iter().filter(|(_, value)| value.len() <= VALUE_BYTES_MAX);
        short.map(|(key, value)| format!("{key}:{value}")).collect()
    }
}

/// A file's beginning, as far as it is looked at.
fn read_some(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(ENVIRONMENT_BYTES_MAX as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The container and pod that a process is in, or else the unit of systemd that it is of.
fn of_cgroup(folder: &Path) -> Vec<String> {
    let Ok(text) = fs::read_to_string(folder.join("cgroup")) else { return Vec::new() };
    let unit = cgroup::of_file(&text);
    if unit.container.is_none() && unit.pod.is_none() {
        return cgroup::systemd_unit(&text).map(|unit| format!("systemd_unit:{unit}")).into_iter().collect();
    }
    let told = [("container_id", unit.container), ("pod_uid", unit.pod)];
    told.into_iter().filter_map(|(key, value)| Some(format!("{key}:{}", value?))).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A host's processes as files.
    pub struct Files(pub tempfile::TempDir);

    impl Files {
        pub fn new() -> Files {
            let files = Files(tempfile::tempdir().unwrap());
            fs::write(files.0.path().join("uptime"), "1000.00 5.0\n").unwrap();
            files
        }

        pub fn process(&self, pid: i32, ticks: u64, environ: &[u8], cgroup: &str) {
            let folder = self.0.path().join(pid.to_string());
            fs::create_dir_all(&folder).unwrap();
            let stat = format!("{pid} (a) b) S{} {ticks} 0 0\n", " 0".repeat(18));
            for (name, bytes) in [("stat", stat.as_bytes()), ("environ", environ)] {
                fs::write(folder.join(name), bytes).unwrap();
            }
            fs::write(folder.join("cgroup"), cgroup).unwrap();
        }

        pub fn host(&self, environment: &[&str]) -> Host {
            Host { root: self.0.path().into(), environment: environment.iter().map(|name| name.to_string()).collect() }
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let files = Files::new();
        assert!(files.host(&[]).trouble().unwrap().contains("hidepid"));
        files.process(1, 1, b"", "");
        assert_eq!(files.host(&[]).trouble(), None);
        let environ = files.0.path().join("1/environ");
        fs::remove_file(&environ).unwrap();
        // One that cannot be opened, whoever asks.
        std::os::unix::fs::symlink(&environ, &environ).unwrap();
        assert!(files.host(&[]).trouble().unwrap().contains("CAP_SYS_PTRACE"));
    }
}
