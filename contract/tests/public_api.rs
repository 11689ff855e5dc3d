//! What a program that embeds the elector (`leasehold-sidecar`) may rely on, as a list: a change of it is seen in a review. It
//! stands here beside the other tests that read our own sources.
//!
//! ```text
//!   sidecar/src/lib.rs ──pub use, not #[doc(hidden)]──▶ the items, their fields, methods, traits ──▶ sidecar/tests/api/public.txt
//! ```
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p leasehold-contract --test public_api` writes it anew. A line that is removed or
//! changed breaks programs: `make semver` permits that only with a new minor version (before 1.0), or a new major one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, UseTree, Visibility};

/// The public items of a crate's sources, a line each.
struct Listing {
    /// The names that `lib.rs` exports.
    exported: BTreeSet<String>,
    lines: BTreeSet<String>,
}

impl Listing {
    fn of(sources: &[syn::File], root: &syn::File) -> Listing {
        let mut listing = Listing { exported: BTreeSet::new(), lines: BTreeSet::new() };
        for item in &root.items {
            if let Item::Use(item) = item
                && is_public(&item.vis, &item.attrs)
            {
                listing.export(&item.tree, &[]);
            }
            if let Item::Mod(item) = item {
                assert!(!is_public(&item.vis, &item.attrs), "list the items of the public module {}", item.ident);
            }
        }
        for file in sources {
            listing.items(&file.items);
        }
        listing
    }

    fn export(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.export(&path.tree, &with(path.ident.to_string())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.export(tree, before)),
            UseTree::Name(name) => {
                // Of our own it is listed with all that it has; of another crate its name says all.
                if before.first().is_some_and(|first| first == "kube") {
                    self.lines.insert(format!("use {}", with(name.ident.to_string()).join("::")));
                }
                self.exported.insert(name.ident.to_string());
            }
            UseTree::Rename(_) | UseTree::Glob(_) => panic!("export items by their own names, one by one"),
        }
    }

    fn add(&mut self, line: &impl ToString) {
        self.lines.insert(line.to_string());
    }

    fn is_exported(&self, name: &syn::Ident) -> bool {
        self.exported.contains(&name.to_string())
    }

    fn items(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Struct(item) if is_public(&item.vis, &item.attrs) && self.is_exported(&item.ident) => {
                    let name = &item.ident;
                    self.add(&format!("{}struct {name}{}", marks(&item.attrs), words(&item.generics)));
                    self.derives(name, &item.attrs);
                    self.fields(name, &item.fields, true);
                }
                Item::Enum(item) if is_public(&item.vis, &item.attrs) && self.is_exported(&item.ident) => {
                    let name = &item.ident;
                    self.add(&format!("{}enum {name}{}", marks(&item.attrs), words(&item.generics)));
                    self.derives(name, &item.attrs);
                    for variant in item.variants.iter().filter(|variant| !is_hidden(&variant.attrs)) {
                        self.add(&format!("enum {name}::{}", variant.ident));
                        self.fields(&format!("{name}::{}", variant.ident), &variant.fields, false);
                    }
                }
                Item::Fn(item) if is_public(&item.vis, &item.attrs) && self.is_exported(&item.sig.ident) => {
                    self.add(&words(&item.sig));
                }
                Item::Impl(item) if !is_of_tests(&item.attrs) => self.implementation(item),
                Item::Mod(item) if !is_of_tests(&item.attrs) => {
                    if let Some((_, items)) = &item.content {
                        self.items(items);
                    }
                }
                _ => {}
            }
        }
    }

    fn derives(&mut self, name: &impl ToString, attributes: &[Attribute]) {
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
            attribute
                .parse_nested_meta(|derived| {
                    self.add(&format!("impl {} for {}", words(&derived.path), name.to_string()));
                    Ok(())
                })
                .unwrap();
        }
    }

    fn fields(&mut self, owner: &impl ToString, fields: &Fields, have_visibility: bool) {
        for (number, field) in fields.iter().enumerate() {
            if is_hidden(&field.attrs) || (have_visibility && !matches!(field.vis, Visibility::Public(_))) {
                continue;
            }
            let name = field.ident.as_ref().map_or_else(|| number.to_string(), ToString::to_string);
            self.add(&format!("field {}.{name}: {}", owner.to_string(), words(&field.ty)));
        }
    }

    fn implementation(&mut self, item: &syn::ItemImpl) {
        let syn::Type::Path(of) = &*item.self_ty else { return };
        let Some(name) = of.path.get_ident().filter(|name| self.is_exported(name)) else { return };
        if let Some((_, of_trait, _)) = &item.trait_ {
            return self.add(&format!("impl {} for {name}", words(of_trait)));
        }
        for inner in &item.items {
            if let ImplItem::Fn(method) = inner
                && is_public(&method.vis, &method.attrs)
            {
                self.add(&format!("{name}: {}", words(&method.sig)));
            }
        }
    }
}

fn words(tokens: &impl ToTokens) -> String {
    tokens.to_token_stream().to_string()
}

fn marks(attributes: &[Attribute]) -> &'static str {
    let is_open = attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"));
    if is_open { "#[non_exhaustive] " } else { "" }
}

fn is_public(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes)
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("doc") && words(&attribute.meta).contains("hidden"))
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && words(&attribute.meta).contains("test"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn parsed(path: &Path) -> syn::File {
    syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn lines_of(root: &str, sources: &[&str]) -> BTreeSet<String> {
    let sources: Vec<_> = sources.iter().map(|text| syn::parse_file(text).unwrap()).collect();
    Listing::of(&sources, &syn::parse_file(root).unwrap()).lines
}

#[test]
fn the_public_api_is_as_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("sidecar");
    let mut files = Vec::new();
    sources(&folder.join("src"), &mut files);
    let files: Vec<_> = files.iter().map(|path| parsed(path)).collect();
    let listing = Listing::of(&files, &parsed(&folder.join("src/lib.rs")));
    // A program that embeds the library depends on none of our other crates, so it could not name their types.
    let foreign: Vec<_> = listing.lines.iter().filter(|line| line.contains("leasehold_")).collect();
    assert!(foreign.is_empty(), "these name a type of another crate of this workspace: {foreign:#?}");
    let text: String = listing.lines.iter().map(|line| format!("{line}\n")).collect();
    let golden = folder.join("tests/api/public.txt");
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &text).unwrap();
    }
    let listed = std::fs::read_to_string(&golden).unwrap_or_default();
    let listed: BTreeSet<_> = listed.lines().map(str::to_owned).collect();
    let (gone, new): (Vec<_>, Vec<_>) =
        (listed.difference(&listing.lines).collect(), listing.lines.difference(&listed).collect());
    assert!(
        gone.is_empty() && new.is_empty(),
        "the public API has changed (UPDATE_GOLDENFILES=1 writes sidecar/tests/api/public.txt anew):\ngone {gone:#?}\nnew {new:#?}"
    );
}

#[test]
fn a_change_that_breaks_programs_changes_the_list_and_one_inside_does_not() {
    let root = "mod a; pub use a::{Claim, Lost, wait}; #[doc(hidden)] pub mod program { pub use crate::a::Args; }";
    let text = "
        /// Words.
        #[derive(Clone)] pub struct Claim { pub term: u64, #[doc(hidden)] pub role: u8, state: u8 }
        pub struct Args { pub all: u8 }
        impl Claim { pub fn is_valid(&self) -> bool { self.term > 0 } fn look(&self) {} }
        pub enum Lost { Late(u8) }
        impl std::fmt::Display for Lost {}
        pub async fn wait(claim: &Claim) {}";
    let lines = lines_of(root, &[text]);
    assert!(!lines.is_empty());
    for (before, after) in [
        ("self.term > 0", "self.term > 1"),
        ("Words", "Other words"),
        ("state: u8", "state: u16"),
        ("pub role: u8", "pub role: u16"),
        ("pub all: u8", "pub all: u16"),
        ("fn look", "fn look_again"),
    ] {
        let changed = text.replace(before, after);
        assert_ne!(changed, text);
        assert_eq!(lines_of(root, &[&changed]), lines, "{after}");
    }
    for (before, after) in [
        ("-> bool", "-> Option<u64>"),
        ("pub fn is_valid", "pub(crate) fn is_valid"),
        ("pub term: u64", "pub term: u32"),
        ("#[derive(Clone)] pub struct", "pub struct"),
        ("pub struct Claim", "#[non_exhaustive] pub struct Claim"),
        ("Late(u8)", "Late(u16)"),
        ("std::fmt::Display for", "std::fmt::Debug for"),
        ("wait(claim: &Claim)", "wait(claim: Claim)"),
    ] {
        let changed = text.replace(before, after);
        assert_ne!(changed, text);
        assert!(lines.difference(&lines_of(root, &[&changed])).next().is_some(), "{after} is not seen");
    }
    assert!(lines_of(&root.replace(", wait", ""), &[text]).len() < lines.len());
}
