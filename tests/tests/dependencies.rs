//! The order of the crates, and who may name what: an edge that ARCHITECTURE.md does not draw fails here, with the file that made it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each of our crates may depend on, of our crates. A new crate gets its line here and its row in ARCHITECTURE.md.
const EDGES: [(&str, &[&str]); 9] = [
    ("models", &[]),
    ("audio", &[]),
    ("espeak-host", &[]),
    ("storage", &[]),
    ("engine", &["audio", "models"]),
    ("jobs", &["engine", "storage", "audio", "models"]),
    ("api", &["jobs", "storage", "models", "engine", "audio"]),
    ("demo", &[]),
    ("tests", &["api", "jobs", "engine", "storage", "models", "audio"]),
];

/// Crates from elsewhere that one of ours keeps to itself. A name stands for itself and for all that begin with it and a hyphen. Tests may
/// use any of them, to look at results or to put something in their place.
const OWNERS: [(&str, &str); 9] = [
    ("salvo", "api"),
    ("apalis", "jobs"),
    ("sqlx", "storage"),
    ("libsqlite3-sys", "storage"),
    ("object_store", "storage"),
    ("candle", "engine"),
    ("symphonia", "audio"),
    ("rubato", "audio"),
    ("libloading", "espeak-host"),
];

/// What begins a statement, as our style writes it.
const SQL: [&str; 7] = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "PRAGMA ", "BEGIN IMMEDIATE"];

struct Member {
    name: String,
    folder: PathBuf,
    /// Those of its tests included.
    dependencies: Vec<String>,
    shipped: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn members() -> Vec<Member> {
    let workspace: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let folders = workspace["workspace"]["members"].as_array().unwrap();
    folders.iter().map(|folder| member(&root().join(folder.as_str().unwrap()))).collect()
}

fn member(folder: &Path) -> Member {
    let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
    let platforms = manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let tables: Vec<&toml::Table> = std::iter::once(&manifest).chain(platforms.map(|table| table.as_table().unwrap())).collect();
    let named = |kinds: &[&str]| {
        let of = |table: &&toml::Table| {
            kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()).flat_map(toml::Table::keys).cloned().collect()
        };
        tables.iter().flat_map(|table| -> Vec<String> { of(table) }).collect()
    };
    Member {
        name: manifest["package"]["name"].as_str().unwrap().to_owned(),
        folder: folder.to_owned(),
        dependencies: named(&["dependencies", "dev-dependencies", "build-dependencies"]),
        shipped: named(&["dependencies", "build-dependencies"]),
    }
}

/// All `.rs` files below a folder, but for those of another member that lies inside it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.join("Cargo.toml").exists() && !path.ends_with("target") {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", folder.display());
    found
}

#[test]
fn no_edge_but_those_of_the_architecture() {
    let edges: BTreeMap<_, _> = EDGES.into_iter().collect();
    let members = members();
    let mut wrong = Vec::new();
    for member in &members {
        let Some(allowed) = edges.get(member.name.as_str()) else {
            wrong.push(format!("{} has no line in EDGES", member.name));
            continue;
        };
        for dependency in &member.dependencies {
            if edges.contains_key(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{} must not depend on {dependency}", member.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(members.len(), edges.len(), "a line in EDGES has no crate");
}

#[test]
fn each_great_library_has_one_owner() {
    let mut wrong = Vec::new();
    for member in members().iter().filter(|member| member.name != "tests") {
        for dependency in &member.shipped {
            let owner = OWNERS.iter().find(|(name, _)| dependency == name || dependency.starts_with(&format!("{name}-")));
            if let Some((name, owner)) = owner
                && *owner != member.name
            {
                wrong.push(format!("{} depends on {dependency}: only {owner} may know {name}", member.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_storage_holds_sql() {
    let mut wrong = Vec::new();
    let mut statements_in_storage = 0;
    for member in members().iter().filter(|member| member.name != "tests") {
        for path in sources(&member.folder) {
            for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
                // Prose may speak of a statement.
                if line.trim_start().starts_with("//") || !SQL.iter().any(|word| line.contains(word)) {
                    continue;
                }
                if member.name == "storage" {
                    statements_in_storage += 1;
                } else {
                    wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Or the words above are no longer how statements are written, and this test sees nothing.
    assert!(statements_in_storage > 20, "{statements_in_storage}");
}
