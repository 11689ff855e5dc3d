//! The modules of a crate and what each of them imports, read from its sources. What only tests see is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// `crate::volume::disk` is `["volume", "disk"]`.
type ModulePath = Vec<String>;

/// One module, inline or in a file of its own.
#[derive(Default)]
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    /// What it names by `use`, its own exports among them.
    names: BTreeMap<String, ModulePath>,
    /// Paths that its code names, as they are written.
    paths: Vec<Vec<String>>,
    /// The types for which it has an `impl`, by their names here.
    implements: BTreeSet<String>,
}

/// All modules of a crate.
pub(crate) struct Crate {
    /// Its folder of sources.
    folder: PathBuf,
    modules: BTreeMap<ModulePath, Module>,
}

/// A file that imports from another one, both relative to the crate's folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    /// What is imported.
    pub(crate) what: String,
}

impl Crate {
    /// Reads `src/lib.rs` (or `src/main.rs`, if there is no library) and all modules below it.
    pub(crate) fn read(folder: &Path) -> Self {
        let source = folder.join("src");
        let root = ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().find(|path| path.exists());
        let root = root.unwrap_or_else(|| panic!("{} has neither lib.rs nor main.rs", source.display()));
        let mut read = Self { folder: source.clone(), modules: BTreeMap::new() };
        read.read_file(&root, &source, Vec::new());
        read
    }

    /// The files of all modules, relative to the crate's folder.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        self.modules.values().map(|module| self.relative(&module.file)).collect()
    }

    /// Every import from another file, each once. None is an export of a module's own rooms, nor the type for which a file
    /// has an `impl`: an object that is written in several files is one thing, which imports what it is made of.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = BTreeMap::new();
        for (path, module) in &self.modules {
            for named in &module.paths {
                let Some(absolute) = self.absolute(path, named) else { continue };
                let Some((file, what)) = self.definition(&absolute, 0) else { continue };
                let is_part_of = what.split("::").any(|name| module.implements.contains(name));
                if file != module.file && !is_part_of {
                    imports.entry((self.relative(&module.file), self.relative(&file))).or_insert(what);
                }
            }
        }
        imports.into_iter().map(|((from, to), what)| Import { from, to, what }).collect()
    }

    fn relative(&self, file: &Path) -> String {
        file.strip_prefix(&self.folder).unwrap().display().to_string()
    }

    fn read_file(&mut self, file: &Path, rooms: &Path, path: ModulePath) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read_module(file, rooms, path, &parsed.items);
    }

    fn read_module(&mut self, file: &Path, rooms: &Path, path: ModulePath, items: &[Item]) {
        let mut reader = Reader { module: Module { file: file.to_owned(), ..Module::default() }, inner: Vec::new() };
        for item in items {
            reader.visit_item(item);
        }
        let Reader { mut module, inner } = reader;
        module.children = inner.iter().map(|child| child.ident.to_string()).collect();
        self.modules.insert(path.clone(), module);
        for child in inner {
            let name = child.ident.to_string();
            let child_path = [path.as_slice(), std::slice::from_ref(&name)].concat();
            let child_rooms = rooms.join(&name);
            match child.content {
                Some((_, items)) => self.read_module(file, &child_rooms, child_path, &items),
                None => {
                    let places = [rooms.join(format!("{name}.rs")), child_rooms.join("mod.rs")];
                    let place = places.iter().find(|place| place.exists());
                    let place = place.unwrap_or_else(|| panic!("{}: no file for `mod {name}`", file.display()));
                    self.read_file(place, &child_rooms, child_path);
                }
            }
        }
    }

    /// What is written in a module, from the root of the crate. `None`: of another crate, or a thing of the module itself.
    fn absolute(&self, module: &[String], written: &[String]) -> Option<ModulePath> {
        let (first, rest) = written.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            name => {
                let here = &self.modules[module];
                if here.children.contains(name) {
                    [module, std::slice::from_ref(first)].concat()
                } else {
                    let named = here.names.get(name)?;
                    // A name that stands for itself is of another crate: `use uuid::Uuid; Uuid::new_v4()`.
                    if named.first() == Some(first) {
                        return None;
                    }
                    self.absolute(module, named)?
                }
            }
        };
        for part in rest {
            if part == "super" {
                base.pop()?;
            } else if part != "self" {
                base.push(part.clone());
            }
        }
        Some(base)
    }

    /// The file in which it is defined, through exports of others; and its name there.
    fn definition(&self, path: &[String], depth: usize) -> Option<(PathBuf, String)> {
        assert!(depth < 20, "exports go in a circle: {path:?}");
        let mut at = 0;
        while at < path.len() && self.modules.contains_key(&path[..=at]) {
            at += 1;
        }
        let module = &self.modules[&path[..at]];
        // The module itself is named, not a thing in it.
        let name = path.get(at)?;
        let onward = |export: &ModulePath| {
            let absolute = self.absolute(&path[..at], export)?;
            self.definition(&[absolute.as_slice(), &path[at + 1..]].concat(), depth + 1)
        };
        if let Some(found) = module.names.get(name).and_then(onward) {
            return Some(found);
        }
        Some((module.file.clone(), path.join("::")))
    }
}

/// Gathers what a module names; the modules in it are for later.
struct Reader {
    module: Module,
    inner: Vec<ItemMod>,
}

impl Reader {
    fn take_use(&mut self, tree: &UseTree, before: &[String], exports: bool) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.take_use(&path.tree, &with(path.ident.to_string()), exports),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.take_use(tree, before, exports)),
            UseTree::Name(name) if name.ident == "self" => {
                self.take_name(before.last().unwrap().clone(), before.to_vec(), exports);
            }
            UseTree::Name(name) => self.take_name(name.ident.to_string(), with(name.ident.to_string()), exports),
            UseTree::Rename(rename) => {
                self.take_name(rename.rename.to_string(), with(rename.ident.to_string()), exports);
            }
            UseTree::Glob(_) => {
                self.module.paths.push(with("*".to_owned()));
            }
        }
    }

    fn take_name(&mut self, name: String, path: Vec<String>, exports: bool) {
        if !exports {
            self.module.paths.push(path.clone());
        }
        self.module.names.insert(name, path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.inner.push(item.clone());
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.take_use(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let (None, syn::Type::Path(of)) = (&item.trait_, &*item.self_ty) {
            self.module.implements.extend(of.path.segments.last().map(|segment| segment.ident.to_string()));
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_of_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.module.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && {
            let condition = attribute.meta.to_token_stream().to_string();
            condition.contains("test") && !condition.contains("not")
        }
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
