//! Which file of `src/` uses which, read from the syntax trees.
//!
//! A file uses another if it names something that is defined there, by whatever path and through
//! whatever re-export. What is below `#[cfg(test)]` does not count. Calls of methods are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// A path as it is written in the code, or the absolute path of a module, segment by segment.
type Segments = Vec<String>;

/// For each file that uses others, which. Files are named by their path from `src`.
pub(crate) type Arrows = BTreeMap<String, BTreeSet<String>>;

/// A file, and what can be named in it.
#[derive(Default)]
struct Source {
    file: String,
    defined: BTreeSet<String>,
    /// What `use` brings in: the name, and the path as it is written.
    imported: BTreeMap<String, Segments>,
    /// Modules that `use …::*` brings in.
    globs: Vec<Segments>,
    /// Every path that the code names.
    named: Vec<Segments>,
    /// Modules in files of their own that only tests have.
    for_tests: BTreeSet<String>,
}

/// The source files of a crate, by the absolute path of their module.
#[derive(Default)]
pub(crate) struct Sources {
    modules: BTreeMap<Segments, Source>,
}

impl Sources {
    /// Reads every file below `src`.
    pub(crate) fn read(src: &Path) -> Self {
        let mut sources = Self::default();
        for path in files(src) {
            let file = path.strip_prefix(src).unwrap().to_str().unwrap();
            sources.add(file, &fs::read_to_string(&path).unwrap());
        }
        sources
    }

    /// Adds the text of one file, by its path from `src`.
    pub(crate) fn add(&mut self, file: &str, text: &str) {
        let tree = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut source = Source { file: file.to_owned(), ..Source::default() };
        source.visit_file(&tree);
        self.modules.insert(module(file), source);
    }

    /// Which file uses which.
    pub(crate) fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (module, source) in &self.modules {
            if self.is_for_tests(module) {
                continue;
            }
            for path in &source.named {
                if let Some(target) = self.definer(module, path)
                    && target != source.file
                {
                    arrows.entry(source.file.clone()).or_default().insert(target.to_owned());
                }
            }
        }
        arrows
    }

    /// Whether a module, or one that it is part of, is declared below `#[cfg(test)]`.
    fn is_for_tests(&self, module: &[String]) -> bool {
        module.split_last().is_some_and(|(name, parent)| {
            let declared = self.modules.get(parent);
            declared.is_some_and(|parent| parent.for_tests.contains(name))
                || self.is_for_tests(parent)
        })
    }

    /// The file that defines what the code of `module` names by `path`; none if it is not ours.
    fn definer(&self, module: &[String], path: &[String]) -> Option<&str> {
        match absolute(module, path) {
            Some(absolute) => self.below(&[], &absolute),
            None => self.below(module, path),
        }
    }

    /// The file that defines what is called `path` in `module`.
    fn below(&self, module: &[String], path: &[String]) -> Option<&str> {
        let source = self.modules.get(module)?;
        let Some((first, rest)) = path.split_first() else { return Some(&source.file) };
        let child = [module, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.below(&child, rest);
        }
        if source.defined.contains(first) {
            return Some(&source.file);
        }
        if let Some(import) = source.imported.get(first) {
            return self.imported(module, import, rest);
        }
        source.globs.iter().find_map(|glob| self.imported(module, glob, path))
    }

    /// The same for `rest` below something that `module` has brought in.
    fn imported(&self, module: &[String], import: &[String], rest: &[String]) -> Option<&str> {
        let path = [import, rest].concat();
        match absolute(module, &path) {
            Some(absolute) => self.below(&[], &absolute),
            // Of a part of this module, or of another crate.
            None => {
                let child = [module, &path[..1]].concat();
                self.modules.contains_key(&child).then(|| self.below(&child, &path[1..]))?
            }
        }
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast Item) {
        if let Item::Use(item) = item {
            self.import(Vec::new(), &item.tree);
        } else if !attributes(item).iter().any(is_for_tests) {
            self.defined.extend(name(item));
            visit::visit_item(self, item);
        } else if let Item::Mod(module) = item {
            self.for_tests.insert(module.ident.to_string());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.named.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// `pub(super)` names a module, and uses nothing of it.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    /// A macro's arguments are expressions, mostly; what is none names nothing of ours.
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let expressions = called.parse_body_with(
            syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated,
        );
        for expression in expressions.iter().flatten() {
            self.visit_expr(expression);
        }
        visit::visit_macro(self, called);
    }
}

impl Source {
    fn import(&mut self, mut path: Segments, tree: &UseTree) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.import(path, &part.tree);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.import(path.clone(), tree));
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.imported.extend(path.last().cloned().map(|name| (name, path)));
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.imported.insert(name.ident.to_string(), path);
            }
            UseTree::Rename(rename) => {
                path.push(rename.ident.to_string());
                self.imported.insert(rename.rename.to_string(), path);
            }
            UseTree::Glob(_) => self.globs.push(path),
        }
    }
}

/// Every Rust file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The module that a file is.
fn module(file: &str) -> Segments {
    let mut path: Segments = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    path.pop_if(|last| matches!(last.as_str(), "mod" | "lib"));
    path
}

/// The path from the crate's root, if it is written so that this can be seen.
fn absolute(module: &[String], path: &[String]) -> Option<Segments> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" | "cnm_cni" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let parent = module.split_last()?.1;
            let further = rest.first().is_some_and(|next| next == "super");
            if further { absolute(parent, rest) } else { Some([parent, rest].concat()) }
        }
        _ => None,
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        _ => &[],
    }
}

/// What an item is called; none if it has no name of its own.
fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
