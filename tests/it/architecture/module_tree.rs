//! Follows paths to the file that defines their name. A file that only re-exports the name does not
//! define it.

use std::collections::BTreeMap;

use super::paths::{UsedPath, find_paths};
use super::tokens::{SourceFile, files_in};

/// Names from the crate root to a module, like `store`, `tx`, `leads`.
pub type ModulePath = Vec<String>;

/// The files of `src` as modules, without tests, `lib.rs` and `main.rs`.
pub struct ModuleTree(BTreeMap<ModulePath, Module>);

/// A file of `src`.
pub struct Module {
    /// Path in the repository.
    pub file: String,
    pub paths: Vec<UsedPath>,
}

impl ModuleTree {
    /// Returns the tree of `src`.
    pub fn of_source() -> Self {
        Self::of_files(files_in(&["src"]))
    }

    /// Returns the tree of made-up files: path and text of each.
    pub fn of_texts(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| SourceFile::new(path, text));
        Self::of_files(&files.collect::<Vec<_>>())
    }

    fn of_files<'a>(files: impl IntoIterator<Item = &'a SourceFile>) -> Self {
        let files = files.into_iter().filter_map(|file| {
            let name = file.path.strip_prefix("src/")?.strip_suffix(".rs")?;
            let name = name.strip_suffix("/mod").unwrap_or(name);
            if file.is_test() || ["lib", "main"].contains(&name) {
                return None;
            }
            let module = Module {
                file: file.path.clone(),
                paths: find_paths(&file.code()),
            };
            Some((name.split('/').map(str::to_owned).collect(), module))
        });
        Self(files.collect())
    }

    pub fn modules(&self) -> impl Iterator<Item = (&ModulePath, &Module)> {
        self.0.iter()
    }

    /// Returns a path in `module` as a path from the crate root. `None` if the path begins with
    /// another crate or with an item of the file itself.
    pub fn absolute(&self, module: &[String], path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut start = module.to_vec();
        match &**first {
            "crate" => start.clear(),
            "self" => {}
            "super" => {
                start.pop();
                if rest.first().is_some_and(|next| next == "super") {
                    return self.absolute(&start, rest);
                }
            }
            name => {
                start.push(name.to_owned());
                if !self.0.contains_key(&start) {
                    let mut imports = self.imports(module, name);
                    let imported = imports.find(|import| import.segments[0] != name)?;
                    let path = [imported.segments.as_slice(), rest].concat();
                    return self.absolute(module, &path);
                }
            }
        }
        start.extend_from_slice(rest);
        Some(start)
    }

    /// Returns the file of the crate that defines the name at the end of a path in `module`. A path
    /// to a module as a whole has none: only a name in this module makes its file necessary.
    pub fn defining_file(&self, module: &[String], path: &[String]) -> Option<&str> {
        let absolute = self.absolute(module, path)?;
        let length = (1..=absolute.len())
            .take_while(|length| self.0.contains_key(&absolute[..*length]))
            .last()?;
        let (owner, names) = absolute.split_at(length);
        let (name, rest) = names.split_first()?;
        let reexport = self.imports(owner, name).find(|import| import.is_reexport);
        reexport.map_or_else(
            || Some(&*self.0.get(owner)?.file),
            |path| self.defining_file(owner, &[path.segments.as_slice(), rest].concat()),
        )
    }

    /// Returns the paths that `module` imports under `name`.
    fn imports(&self, module: &[String], name: &str) -> impl Iterator<Item = &UsedPath> {
        let paths = self
            .0
            .get(module)
            .into_iter()
            .flat_map(|found| &found.paths);
        paths.filter(move |path| path.name.as_deref() == Some(name))
    }
}
