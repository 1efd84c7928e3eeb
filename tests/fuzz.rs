//! Replays what fuzzing has kept, on any compiler.

#[path = "../fuzz/targets.rs"]
mod targets;

use super::support::root;

#[test]
fn the_corpora_break_nothing() {
    for (name, target) in targets::TARGETS {
        let folder = root().join("fuzz/corpus").join(name);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                panic!("{} breaks `{name}`", file.display());
            }
        }
    }
}
