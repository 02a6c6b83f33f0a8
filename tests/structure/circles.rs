//! No two files of a crate need each other, directly or through others. Determined from the text: `use` and paths.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

/// A file of a crate, by its module path.
type Module = Vec<String>;

/// Returns the other files of its crate that each file names. A file and the files of its folder (`mod.rs`) are parts
/// of one.
fn needs(files: &BTreeMap<Module, String>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let find = |path: &[String]| (0..=path.len()).rev().find_map(|n| files.get_key_value(&path[..n]));
    let mut needs = BTreeMap::new();
    for (module, code) in files {
        let mut of: BTreeSet<&Module> = BTreeSet::new();
        for path in paths(code) {
            let Some((named, _)) = absolute(module, &path, files).and_then(|path| find(&path)) else {
                continue;
            };
            if !module.starts_with(named) && !named.starts_with(module) {
                of.insert(named);
            }
        }
        needs.insert(module, of);
    }
    needs
}

/// Returns the path from the crate's root, or `None` if it is of another crate.
fn absolute(module: &Module, path: &[String], files: &BTreeMap<Module, String>) -> Option<Module> {
    let mut base = module.clone();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => return Some(rest[1..].to_vec()),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        part => {
            let child = [base.as_slice(), &[part.to_owned()]].concat();
            files.contains_key(&child).then_some(())?;
        }
    }
    Some([base.as_slice(), rest].concat())
}

/// Returns the paths that a file imports or names, starting with `crate`, `super` or `self`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = code;
    let mut other = String::new();
    while let Some(at) = rest.find("use ") {
        let begins = rest[..at].chars().next_back().is_none_or(char::is_whitespace);
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        other.push_str(&rest[..at]);
        if begins {
            branches(&[], &rest[at + 4..end], &mut all);
        }
        rest = &rest[end.max(at + 4).min(rest.len())..];
    }
    other.push_str(rest);
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in other.split(|c| !is_word(c)) {
        let parts: Vec<String> = word.split("::").map(str::to_owned).collect();
        if parts.len() > 1 && matches!(parts[0].as_str(), "crate" | "super" | "self") {
            all.push(parts);
        }
    }
    all
}

/// Adds the paths of a tree of imports.
fn branches(stem: &[String], tree: &str, all: &mut Vec<Vec<String>>) {
    let mut depth = 0;
    let parts = tree.split(|c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let (head, inner) = match part.split_once('{') {
            Some((head, inner)) => (head, inner.strip_suffix('}')),
            None => (part.split(" as ").next().unwrap_or_default(), None),
        };
        let names = head.split("::").map(str::trim).filter(|name| !name.is_empty());
        let path = [stem, &names.map(str::to_owned).collect::<Vec<_>>()].concat();
        match inner {
            Some(inner) => branches(&path, inner, all),
            None => all.push(path),
        }
    }
}

/// Returns files that need each other, as a chain that ends where it begins.
fn circle(needs: &BTreeMap<&Module, BTreeSet<&Module>>) -> Option<Vec<String>> {
    // A file that needs none of the remaining files is in no circle.
    let mut left = needs.clone();
    loop {
        let free: Vec<_> = left
            .iter()
            .filter(|(_, of)| of.iter().all(|other| !left.contains_key(*other)))
            .map(|(module, _)| *module)
            .collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            left.remove(module);
        }
    }
    let mut chain = vec![*left.keys().next()?];
    loop {
        let of = &left[chain[chain.len() - 1]];
        let next = *of.iter().find(|other| left.contains_key(**other))?;
        let begin = chain.iter().position(|seen| *seen == next);
        chain.push(next);
        if let Some(begin) = begin {
            return Some(chain[begin..].iter().map(|module| module.join("/")).collect());
        }
    }
}

fn modules(folder: &Path) -> io::Result<BTreeMap<Module, String>> {
    let files = super::code(folder)?.into_iter().map(|(name, code)| {
        let name = name.trim_end_matches(".rs");
        let mut module: Module = name.split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "main" | "lib")) {
            module.pop();
        }
        (module, code)
    });
    Ok(files.collect())
}

/// Returns the folders of the test targets. Each is a crate with the root `main.rs`.
fn test_targets(root: &Path) -> io::Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir(root.join("tests"))? {
        let entry = entry?;
        if entry.path().join("main.rs").is_file() {
            targets.push(format!("tests/{}", entry.file_name().display()));
        }
    }
    Ok(targets)
}

#[test]
fn no_two_files_of_a_crate_need_each_other() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = [
        "src",
        "simulator/src",
        "testkit/src",
        "devcluster/src",
        "demo/src",
        "bench/src",
    ]
    .map(str::to_owned)
    .to_vec();
    folders.extend(test_targets(root)?);
    assert!(folders.len() > 15, "{folders:?}");
    let mut found = Vec::new();
    for folder in folders {
        let files = modules(&root.join(&folder))?;
        assert!(files.contains_key(&Module::new()), "{folder} has no root");
        let circle = circle(&needs(&files));
        found.extend(circle.map(|chain| format!("{folder}: {}", chain.join(" needs "))));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    Ok(())
}

#[test]
fn files_that_need_each_other_are_found_by_imports_and_by_paths() {
    let crate_of = |files: &[(&str, &str)]| -> BTreeMap<Module, String> {
        let module = |name: &str| name.split('/').map(str::to_owned).collect();
        files
            .iter()
            .map(|(name, code)| (module(name), (*code).to_owned()))
            .collect()
    };
    for (files, is_circle) in [
        (
            &[("a", "use super::b::X;"), ("b", "use crate::{c::Y, a};"), ("c", "")][..],
            true,
        ),
        (
            &[
                ("a", "use crate::b;"),
                ("b", "fn f() { crate::c::g() }"),
                ("c", "super::a::h()"),
            ],
            true,
        ),
        (
            &[
                ("a", "use super::{b::{self, X}, c};"),
                ("b", "use super::c::Y;"),
                ("c", ""),
            ],
            false,
        ),
        // A folder and its files count as one.
        (&[("a", "mod b; use b::X;"), ("a/b", "use super::Y;")], false),
        (&[("a", "use std::b::X;"), ("b", "use super::a;")], false),
    ] {
        let files = crate_of(files);
        assert_eq!(circle(&needs(&files)).is_some(), is_circle, "{files:?}");
    }
}
