//! Containers and pods by the names of their cgroups, in every layout that container runtimes use.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a cgroup's path says about who is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    pub container: Option<String>,
    /// The pod's uid, with dashes.
    pub pod: Option<String>,
}

/// The unit of a process, by `cgroup` of its folder below `proc`. Absent if it cannot be read.
pub fn of_process(proc: impl AsRef<Path>, pid: i32) -> Option<Unit> {
    let text = std::fs::read_to_string(proc.as_ref().join(pid.to_string()).join("cgroup")).ok()?;
    Some(of_file(&text))
}

/// The unit in the text of a `cgroup` file: of the unified hierarchy first, then of the memory controller,
/// then of any.
pub fn of_file(text: &str) -> Unit {
    let mut lines: Vec<(u8, &str)> = text.lines().filter_map(ranked).collect();
    lines.sort_by_key(|(rank, _)| *rank);
    let units = lines.into_iter().map(|(_, path)| of_path(path));
    units.into_iter().find(|unit| unit.container.is_some() || unit.pod.is_some()).unwrap_or_default()
}

fn ranked(line: &str) -> Option<(u8, &str)> {
    let mut parts = line.splitn(3, ':');
    let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let rank = match (number, controllers) {
        ("0", "") => 0,
        (_, names) if names.split(',').any(|name| name == "memory") => 1,
        _ => 2,
    };
    Some((rank, path))
}

/// The unit of systemd in the text of a `cgroup` file: the innermost service or scope.
pub fn systemd_unit(text: &str) -> Option<&str> {
    let mut lines: Vec<(u8, &str)> = text.lines().filter_map(ranked).collect();
    lines.sort_by_key(|(rank, _)| *rank);
    let is_unit = |segment: &&str| segment.ends_with(".service") || segment.ends_with(".scope");
    lines.into_iter().find_map(|(_, path)| path.split('/').rev().find(is_unit))
}

/// The unit that a path names. Of nested containers the innermost one counts.
pub fn of_path(path: &str) -> Unit {
    let segments = || path.split('/').rev();
    Unit { container: segments().find_map(container), pod: segments().find_map(pod) }
}

/// A container's id in one folder's name, behind its runtime's prefix and before `.scope`.
fn container(segment: &str) -> Option<String> {
    if segment.ends_with(".mount") || segment.starts_with("crio-conmon-") {
        return None;
    }
    let name = segment.strip_suffix(".scope").unwrap_or(segment);
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    let last = name.rsplit_once('-').map_or(name, |(_, last)| last);
    if is_hex(last, 64) {
        return Some(last.to_string());
    }
    // Amazon ECS: the task's id and a number.
    if let Some((task, number)) = name.rsplit_once('-')
        && is_hex(task, 32)
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        return Some(name.to_string());
    }
    // Garden: five groups, the last as short as the others.
    let groups: Vec<&str> = name.split('-').collect();
    let is_garden = groups.len() == 5 && is_hex(groups[0], 8) && groups[1..].iter().all(|group| is_hex(group, 4));
    is_garden.then(|| name.to_string())
}

/// A pod's uid in one folder's name: `pod<uid>`, behind whatever prefix, with dashes or underscores.
fn pod(segment: &str) -> Option<String> {
    let name = segment.strip_suffix(".slice").unwrap_or(segment);
    let uid = if let Some(uid) = name.strip_prefix("pod") { uid } else { name.rsplit_once("-pod")?.1 };
    let uid = uid.replace('_', "-");
    let groups: Vec<usize> = uid.split('-').map(str::len).collect();
    let is_uid = matches!(groups[..], [8, 4, 4, 4, 12] | [32]);
    (is_uid && uid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())).then_some(uid)
}

/// Folders of cgroups that are looked at.
const FOLDERS_MAX: usize = 1 << 16;
/// How deep they are looked for.
const DEPTH_MAX: usize = 16;

/// Where the unified hierarchy is mounted here.
pub fn mounted() -> Option<PathBuf> {
    root(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default())
}

/// Whether controllers of the first version are mounted as well, on which some hosts keep their containers.
pub fn is_hybrid() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup"))
}

/// Whether a folder of the hierarchy is not its root: only below that there is this file.
pub fn is_part(folder: &Path) -> bool {
    folder.join("cgroup.events").exists()
}

/// Where the unified hierarchy (cgroup2) is mounted, by the text of `/proc/self/mounts`; absent if it is nowhere. A
/// container sees a part of it, and all of it where the host's own was mounted as well.
fn root(mounts: &str) -> Option<PathBuf> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let of_cgroups = fields.filter(|fields| fields.get(2) == Some(&"cgroup2"));
    let roots: Vec<PathBuf> = of_cgroups.filter_map(|fields| fields.get(1).map(PathBuf::from)).collect();
    let whole = roots.iter().find(|root| !is_part(root));
    whole.or(roots.first()).cloned()
}

/// The cgroups of a host, by the inodes of their folders: what the kernel calls a cgroup's id.
pub struct Tree {
    root: PathBuf,
    units: HashMap<u64, Arc<Unit>>,
    /// Those that are gone, and since when: what a container that has just gone leaves behind is still its own.
    gone: HashMap<u64, (Arc<Unit>, Instant)>,
    /// Ids that were not there when it was last looked for them.
    missing: HashSet<u64>,
    /// When these were last forgotten.
    cleared: Instant,
    /// When it was read, and how long that took.
    last_read: Option<(Instant, Duration)>,
}

/// The tree is not read again before so many times of what it took, and not before so long.
const PAUSES: u32 = 50;
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// What is gone is known for so long: its last conversations are told of later.
const GONE: Duration = Duration::from_secs(120);
/// What was not there is looked for again after so long.
const MISSING_AGAIN: Duration = Duration::from_secs(10);

impl Tree {
    /// Below a folder where the unified hierarchy is mounted.
    pub fn new(root: PathBuf) -> Tree {
        Tree {
            root,
            units: HashMap::new(),
            gone: HashMap::new(),
            missing: HashSet::new(),
            cleared: Instant::now(),
            last_read: None,
        }
    }

    /// Who is in the cgroup with that id. The tree is read anew when it is not known: containers come and go.
    pub fn find(&mut self, id: u64) -> Option<&Arc<Unit>> {
        if self.cleared.elapsed() >= MISSING_AGAIN {
            self.missing.clear();
            self.cleared = Instant::now();
        }
        if self.unit(id).is_none() && !self.missing.contains(&id) && self.may_read() {
            self.read();
            if self.unit(id).is_none() && self.missing.len() < FOLDERS_MAX {
                self.missing.insert(id);
            }
        }
        self.unit(id)
    }

    /// Whether it is long enough ago that all of it was read, compared with what that took.
    fn may_read(&self) -> bool {
        self.last_read.is_none_or(|(when, took)| when.elapsed() >= (took * PAUSES).max(PAUSE_MIN))
    }

    fn unit(&self, id: u64) -> Option<&Arc<Unit>> {
        self.units.get(&id).or_else(|| self.gone.get(&id).map(|(unit, _)| unit))
    }

    /// Reads all of it anew.
    fn read(&mut self) {
        let begun = Instant::now();
        let before = std::mem::take(&mut self.units);
        let mut folders = vec![(self.root.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let Ok(meta) = std::fs::symlink_metadata(&folder) else { continue };
            let path = folder.strip_prefix(&self.root).unwrap_or(&folder).display().to_string();
            self.units.insert(meta.ino(), Arc::new(of_path(&path)));
            if depth == DEPTH_MAX || self.units.len() + folders.len() >= FOLDERS_MAX {
                continue;
            }
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(below.map(|entry| (entry.path(), depth + 1)));
        }
        let gone =
            before.into_iter().filter(|(id, _)| !self.units.contains_key(id)).map(|(id, unit)| (id, (unit, begun)));
        self.gone.extend(gone);
        self.gone.retain(|_, (_, since)| since.elapsed() < GONE);
        if self.gone.len() > FOLDERS_MAX {
            self.gone.clear();
        }
        self.last_read = Some((begun, begun.elapsed()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3726184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
    const OTHER: &str = "9f1a184226f5d3147c25fdeab5b60097e378e8a720503a5e19ecfdf29f869860";
    const POD: &str = "810fe89d-da47-410b-8979-9154a40f8183";

    #[test]
    fn every_layout_is_known() {
        let pod_ = POD.replace('-', "_");
        let cases = [
            (format!("/docker/{ID}"), Some(ID), None),
            (format!("/system.slice/docker-{ID}.scope"), Some(ID), None),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod_}.slice/cri-containerd-{ID}.scope"
                ),
                Some(ID),
                Some(POD),
            ),
            (format!("/kubepods/burstable/pod{POD}/{ID}"), Some(ID), Some(POD)),
            (
                format!("/kubepods/podfeedfacefeedfacefeedfacefeedface/{ID}"),
                Some(ID),
                Some("feedfacefeedfacefeedfacefeedface"),
            ),
            (format!("/kubepods/besteffort/pod{POD}/crio-{ID}.scope"), Some(ID), Some(POD)),
            (format!("/kubepods/besteffort/pod{POD}/crio-conmon-{ID}.scope"), None, Some(POD)),
            (format!("/docker/{OTHER}/docker/{ID}"), Some(ID), None),
            (format!("/../../pod{POD}/{ID}"), Some(ID), Some(POD)),
            (format!("/../cri-containerd-{ID}.scope"), Some(ID), None),
            (
                "/ecs/task/432624d2150b349fe35ba397284dea78-4015331240".into(),
                Some("432624d2150b349fe35ba397284dea78-4015331240"),
                None,
            ),
            ("/garden/34dc0b5e-626f-2c5c-4c51-70e3".into(), Some("34dc0b5e-626f-2c5c-4c51-70e3"), None),
            (format!("/machine.slice/libpod-{ID}.scope/container"), Some(ID), None),
            (format!("/system.slice/var-lib-docker-{ID}.mount"), None, None),
            ("/user.slice/user-1000.slice/session-3.scope".into(), None, None),
            ("/".into(), None, None),
        ];
        for (path, container, pod) in cases {
            let unit = of_path(&path);
            assert_eq!((unit.container.as_deref(), unit.pod.as_deref()), (container, pod), "{path}");
        }
    }

    #[test]
    fn the_unified_hierarchy_goes_before_the_others() {
        let text = format!("12:cpu:/docker/{OTHER}\n5:memory:/docker/{OTHER}\n0::/docker/{ID}\n");
        assert_eq!(of_file(&text).container.as_deref(), Some(ID));
        let text = format!("12:cpu:/docker/{OTHER}\n5:memory,x:/docker/{ID}\n0::/\n");
        assert_eq!(of_file(&text).container.as_deref(), Some(ID));
        let text = "1:name=systemd:/x\n0::/user.slice/user-1000.slice/user@1000.service/app.slice/db.service\n";
        assert_eq!(systemd_unit(text), Some("db.service"));
        assert_eq!(systemd_unit("0::/\n"), None);
        assert_eq!(of_file("garbage\n::\n"), Unit::default());
    }

    #[test]
    fn a_tree_is_read_by_its_inodes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(format!("system.slice/docker-{ID}.scope"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut tree = Tree::new(dir.path().into());
        let id = std::fs::metadata(&folder).unwrap().ino();
        assert_eq!(tree.find(id).unwrap().container.as_deref(), Some(ID));
        std::fs::remove_dir(&folder).unwrap();
        tree.read();
        tree.read();
        assert!(tree.unit(id).is_some(), "what it leaves behind is still its own");
    }

    #[test]
    fn the_whole_hierarchy_goes_before_a_part_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let [part, whole] = ["part", "whole"].map(|name| dir.path().join(name));
        [&part, &whole].iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        std::fs::write(part.join("cgroup.events"), "populated 1\n").unwrap();
        let line = |folder: &Path| format!("cgroup2 {} cgroup2 rw 0 0\n", folder.display());
        assert_eq!(root("proc /proc proc rw 0 0\n"), None);
        assert_eq!(root(&format!("proc /proc proc rw 0 0\n{}", line(&part))), Some(part.clone()));
        assert_eq!(root(&format!("{}{}", line(&part), line(&whole))), Some(whole));
    }
}
