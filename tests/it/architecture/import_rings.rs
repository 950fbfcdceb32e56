//! Gate against import rings. Files of a ring can't be understood or changed one by one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::assert_rule;
use super::module_tree::ModuleTree;

/// The files that each file needs, with the line that needs them.
type Dependencies = BTreeMap<String, BTreeMap<String, String>>;

/// Files of which each needs the next, and the last needs the first.
type Ring = Vec<String>;

fn find_dependencies(tree: &ModuleTree) -> Dependencies {
    let mut dependencies = Dependencies::new();
    for (module, source) in tree.modules() {
        let needed = dependencies.entry(source.file.clone()).or_default();
        for path in source.paths.iter().filter(|path| !path.is_reexport) {
            let target = tree.defining_file(module, &path.segments);
            if let Some(target) = target.filter(|target| *target != source.file) {
                let name = path.segments.join("::");
                let line = format!("{}:{} names `{name}`", source.file, path.line);
                needed.entry(target.to_owned()).or_insert(line);
            }
        }
    }
    dependencies
}

/// Returns the shortest ring through each file that is in a ring.
fn find_rings(dependencies: &Dependencies) -> BTreeSet<Ring> {
    let files = dependencies.keys();
    files
        .filter_map(|file| shortest_ring(dependencies, file))
        .collect()
}

/// Returns the shortest ring through `file`. It begins with the file that is first in the alphabet.
fn shortest_ring(dependencies: &Dependencies, file: &str) -> Option<Ring> {
    // The file before each file on the shortest way to it.
    let mut previous = BTreeMap::new();
    let mut queue = VecDeque::from([file]);
    while let Some(reached) = queue.pop_front() {
        for next in dependencies.get(reached)?.keys() {
            previous.entry(&**next).or_insert_with(|| {
                queue.push_back(next);
                reached
            });
        }
    }
    let mut ring = vec![file.to_owned()];
    let mut at = *previous.get(file)?;
    while at != file {
        ring.push(at.to_owned());
        at = previous[at];
    }
    ring.reverse();
    let first = ring.iter().enumerate().min_by_key(|(_, name)| *name)?.0;
    ring.rotate_left(first);
    Some(ring)
}

/// Returns `a -> b -> a`, and below it the lines that make the ring.
fn format_ring(ring: &Ring, dependencies: &Dependencies) -> String {
    let nexts = ring.iter().cycle().skip(1);
    let lines = ring
        .iter()
        .zip(nexts)
        .map(|(file, next)| &*dependencies[file][next]);
    format!(
        "{} -> {}\n      {}",
        ring.join(" -> "),
        ring[0],
        lines.collect::<Vec<_>>().join("\n      ")
    )
}

#[test]
fn modules_have_no_import_rings() {
    let dependencies = find_dependencies(&ModuleTree::of_source());
    let rings: Vec<String> = find_rings(&dependencies)
        .iter()
        .map(|ring| format_ring(ring, &dependencies))
        .collect();
    assert_rule(
        "no import rings between the files of src",
        &rings,
        "remove one line of each ring. Move what the line names into a file of its own that needs \
         no file of the ring, or pass the value as an argument",
    );
}

/// Returns the rings of made-up files, each as `a.rs -> b.rs`.
fn rings_of_texts(files: &[(&str, &str)]) -> Vec<String> {
    let rings = find_rings(&find_dependencies(&ModuleTree::of_texts(files)));
    rings.iter().map(|ring| ring.join(" -> ")).collect()
}

#[test]
fn ring_is_found_by_every_form_of_path() {
    for form in [
        "use crate::m::b::f;",
        "use crate::{c, m::{b::{self, f}, d}};",
        "use crate::m::b; fn g() { b::f() }",
        "use crate::m::b as other; fn g() { other::f() }",
        "use crate::m::b::f as g;",
        "use super::b::f;",
        "use super::super::m::b::f;",
        "use super::b::*;",
        "fn g() { use super::b::f; }",
        "fn g() { crate::m::b::f() }",
        "fn g() { super::b::f() }",
        "fn g(x: super::b::X) {}",
        "impl<T> super::b::Tr for T {}",
        "fn g() { <X as super::b::Tr>::f() }",
        "fn g() { println!(\"{}\", super::b::f()) }",
        "use crate::m::Reexported;",
        "use crate::m::Renamed;",
        "use crate::m; fn g() { m::Renamed::f() }",
        "use crate::n::TwiceReexported;",
        "mod d; use self::d::Reexported;",
    ] {
        let rings = rings_of_texts(&[
            (
                "src/m/mod.rs",
                "mod a; mod b; pub(crate) use b::{Reexported, f as Renamed};",
            ),
            ("src/m/a/mod.rs", form),
            ("src/m/a/d.rs", "pub use crate::m::Reexported;"),
            ("src/m/b.rs", "use super::a::h;"),
            (
                "src/n.rs",
                "pub use crate::m::Reexported as TwiceReexported;",
            ),
        ]);
        assert_eq!(rings, ["src/m/a/mod.rs -> src/m/b.rs"], "{form}");
    }
}

#[test]
fn no_ring_is_made_by_other_texts() {
    for text in [
        "// crate::b::f()",
        "/// See [`crate::b::f`].\nfn g() { \"crate::b::f\"; }",
        "#[cfg(test)]\npub(crate) mod tests { use crate::b::f; }",
        "#[cfg(test)]\nuse crate::b::f;\nuse std::fmt;",
        "pub use crate::b::f;",
        "use b::f; fn g() { other::b::f() }",
        "use crate::b;",
    ] {
        let rings = rings_of_texts(&[("src/a.rs", text), ("src/b.rs", "use crate::a::g;")]);
        assert_eq!(rings, [""; 0], "{text}");
    }
}

#[test]
fn parent_and_child_make_ring_only_if_both_name_items_of_the_other() {
    let parent = "mod child; pub use child::f; pub struct X;";
    let child = "use super::X; pub fn f() {}";
    let files = [("src/m/mod.rs", parent), ("src/m/child.rs", child)];
    assert_eq!(rings_of_texts(&files), [""; 0]);
    let parent = format!("{parent} fn g() {{ f(); child::f() }}");
    let files = [("src/m/mod.rs", &*parent), ("src/m/child.rs", child)];
    assert_eq!(rings_of_texts(&files), ["src/m/child.rs -> src/m/mod.rs"]);
}

#[test]
fn each_file_of_nested_rings_is_in_a_reported_ring() {
    let rings = rings_of_texts(&[
        ("src/a.rs", "use crate::b::X;"),
        ("src/b.rs", "use crate::{a::X, c::X as Y};"),
        ("src/c.rs", "use crate::d::X;"),
        ("src/d.rs", "use crate::b::X;"),
    ]);
    assert_eq!(
        rings,
        ["src/a.rs -> src/b.rs", "src/b.rs -> src/c.rs -> src/d.rs"]
    );
}

#[test]
fn ring_is_shown_with_its_lines() {
    let tree = ModuleTree::of_texts(&[
        ("src/a.rs", "use crate::b::X;"),
        ("src/b.rs", "\nuse super::a::Y;"),
    ]);
    let dependencies = find_dependencies(&tree);
    let rings = find_rings(&dependencies);
    assert_eq!(
        format_ring(rings.first().unwrap(), &dependencies),
        "src/a.rs -> src/b.rs -> src/a.rs\n      src/a.rs:1 names `crate::b::X`\n      \
         src/b.rs:2 names `super::a::Y`"
    );
}
