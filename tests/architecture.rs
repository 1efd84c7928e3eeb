//! Dependencies between the rooms of the house point one way.

use std::collections::BTreeSet;

use cargo_metadata::MetadataCommand;

/// Which rooms each room may know.
const ALLOWED: &[(&str, &[&str])] = &[
    ("weir-spec", &[]),
    ("weir-core", &["weir-spec"]),
    ("weir-dsl", &["weir-spec"]),
    ("weir-http", &[]),
    ("weir-ebpf", &[]),
    ("weir-sources", &["weir-core", "weir-ebpf", "weir-http", "weir-spec"]),
    ("weir-transforms", &["weir-core", "weir-spec"]),
    ("weir-sinks", &["weir-core", "weir-http", "weir-spec"]),
    (
        "weir",
        &[
            "weir-core",
            "weir-dsl",
            "weir-ebpf",
            "weir-http",
            "weir-sinks",
            "weir-sources",
            "weir-spec",
            "weir-transforms",
        ],
    ),
    ("weir-benches", &["weir-core", "weir-dsl", "weir-sinks", "weir-sources", "weir-spec", "weir-transforms", "weir"]),
];
const PACKAGES_MAX: usize = 350;

#[test]
fn dependencies_point_one_way() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    for package in metadata.workspace_packages() {
        let (_, allowed) = ALLOWED.iter().find(|(name, _)| *name == package.name.as_str()).unwrap();
        let of_ours = package.dependencies.iter().filter(|d| d.path.is_some());
        for dependency in of_ours {
            assert!(allowed.contains(&dependency.name.as_str()), "{} knows {}", package.name, dependency.name);
        }
        let runtime = package.dependencies.iter().any(|d| d.name == "tokio");
        assert!(!runtime || !matches!(package.name.as_str(), "weir-spec" | "weir-dsl"), "{}", package.name);
    }
}

#[test]
fn the_lock_file_is_small_and_has_no_git() {
    let lock = std::fs::read_to_string(super::support::root().join("Cargo.lock")).unwrap();
    let packages = lock.matches("[[package]]").count();
    assert!(packages < PACKAGES_MAX, "{packages} packages");
    assert!(!lock.contains("source = \"git+"));
}

#[test]
fn components_are_declared_once_and_well() {
    let mut names = BTreeSet::new();
    for spec in weir::components::SPECS.iter() {
        assert!(names.insert(spec.name), "{} twice", spec.name);
        assert!(!spec.summary.is_empty() && !spec.summary.ends_with('.'), "{}", spec.name);
        for option in spec.options {
            assert!(!option.doc.trim().is_empty(), "{}.{}", spec.name, option.name);
            let value = option.default_value();
            let none = value == weir_spec::Value::None;
            let says_none = option.default.is_empty() || option.default == "none";
            assert!(none == says_none, "{}.{}: default {:?}", spec.name, option.name, option.default);
        }
    }
}

#[test]
fn every_example_checks() {
    let params = Default::default();
    let setting = weir_dsl::Setting::alone("my.weir", &weir::components::SPECS, &params);
    for spec in weir::components::SPECS.iter() {
        for example in spec.examples {
            let checked = weir_dsl::check(example.as_bytes(), &setting);
            assert!(checked.diagnostics.is_empty(), "{}: {example}: {:#?}", spec.name, checked.diagnostics);
            assert!(checked.plan.is_some());
        }
    }
}
