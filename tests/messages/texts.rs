//! The texts in the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, Lit, LitStr, Macro, Meta};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Info,
    Warn,
    Error,
    /// `#[error("...")]`, the `Display` of an error type.
    ErrorType,
    /// Any other string: Event, status, health check, finding, or a part of one.
    Text,
}

impl Kind {
    fn of_macro(path: &syn::Path) -> Option<Self> {
        match path.segments.last()?.ident.to_string().as_str() {
            "info" => Some(Self::Info),
            "warn" => Some(Self::Warn),
            "error" => Some(Self::Error),
            _ => None,
        }
    }

    fn is_log(self) -> bool {
        matches!(self, Self::Info | Self::Warn | Self::Error)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::ErrorType => "error",
            Self::Text => "text",
        }
    }
}

#[derive(Debug, Default)]
struct Texts {
    found: Vec<(Kind, String)>,
    /// Modules in files of their own that are compiled for tests alone.
    test_modules: Vec<String>,
}

impl Texts {
    fn of(source: &str) -> Self {
        let mut texts = Self::default();
        texts.visit_file(&syn::parse_file(source).unwrap());
        texts
    }

    fn add(&mut self, kind: Kind, literal: &LitStr) {
        // Raw strings are patterns.
        let is_raw = literal.token().to_string().starts_with('r');
        let text = literal.value();
        if !is_raw && (matches!(kind, Kind::Warn | Kind::Error) || is_prose(&text)) {
            self.found.push((kind, text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")));
        }
    }

    /// All strings of a macro. The values of fields of a log line are no messages.
    fn add_tokens(&mut self, kind: Kind, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.add_tokens(Kind::Text, group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(Lit::Str(literal)) = syn::parse_str::<Lit>(&literal.to_string()) {
                        self.add(kind, &literal);
                    }
                }
                // `field = "value"`, `target: "name"`: no message.
                TokenTree::Punct(sign) if kind.is_log() && matches!(sign.as_char(), '=' | ':') => {
                    tokens.next_if(|next| matches!(next, TokenTree::Literal(_)));
                }
                TokenTree::Punct(_) | TokenTree::Ident(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Texts {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        } else if module.content.is_none() {
            self.test_modules.push(module.ident.to_string());
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("error")
        {
            self.add_tokens(Kind::ErrorType, list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        let kind = Kind::of_macro(&called.path);
        let is_silent = ["debug", "trace", "debug_assert", "debug_assert_eq", "unreachable"];
        if !is_silent.iter().any(|name| called.path.segments.last().is_some_and(|last| last.ident == name)) {
            self.add_tokens(kind.unwrap_or(Kind::Text), called.tokens.clone());
        }
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        self.add(Kind::Text, literal);
    }
}

/// The attributes of an item that can be for tests alone; a module has a visitor of its own.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string().contains("test"),
        Meta::Path(path) => path.segments.last().is_some_and(|last| last.ident == "test"),
        _ => false,
    })
}

/// Two words or more, one of which is no placeholder.
fn is_prose(text: &str) -> bool {
    let is_word = |word: &str| word.chars().filter(|letter| letter.is_alphabetic()).count() > 1;
    text.split_whitespace().count() > 1 && own_words(text).split_whitespace().any(is_word)
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn sources(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
}

/// Each file of the product's packages with its texts, in the order of the file; files without texts are left out.
pub(crate) fn texts_of_the_product() -> Vec<(String, Vec<(Kind, String)>)> {
    let mut files = BTreeSet::new();
    sources(&root().join("src"), &mut files);
    for package in fs::read_dir(root().join("crates")).unwrap() {
        sources(&package.unwrap().path().join("src"), &mut files);
    }
    let mut all = Vec::new();
    let mut for_tests = BTreeSet::new();
    for file in files {
        let texts = Texts::of(&fs::read_to_string(&file).unwrap());
        let is_root = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| file.ends_with(name));
        let folder = if is_root { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        for_tests.extend(texts.test_modules.iter().map(|name| folder.join(name).with_extension("rs")));
        all.push((file, texts.found));
    }
    all.retain(|(file, texts)| {
        !texts.is_empty() && !for_tests.iter().any(|of| of == file || file.starts_with(of.with_extension("")))
    });
    let name = |file: PathBuf| file.strip_prefix(root()).unwrap().display().to_string();
    all.into_iter().map(|(file, texts)| (name(file), texts)).collect()
}

/// The text without its placeholders.
pub(crate) fn own_words(text: &str) -> String {
    let mut own = String::new();
    let mut depth = 0_u32;
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => own.push(letter),
            _ => {}
        }
    }
    own
}

#[test]
fn texts_are_found_wherever_they_are_in_the_code() {
    let source = r#"
        const NOTE: &str = "a constant";
        #[derive(thiserror::Error)]
        enum E { #[error("could not read `{0}`")] Read(String) }
        /// No text.
        fn f(state: &str) -> String {
            tracing::warn!(target: "ours own", pod = %x, reason = "two words", "pod `{}` is lost", name);
            error!("{}", error_chain(&error));
            info!("SnapWatcher has started");
            debug!("not for operators");
            if state == "one" { return "a returned text".into(); }
            let all = vec![Rule { purpose: "a field in a macro" }];
            format!("pod {} is {}", x, if ready { "quite ready" } else { "not so" })
        }
        fn pattern() -> Regex { Regex::new(r"a b") }
        #[cfg(test)]
        mod tests { const A: &str = "of a test"; }
        #[cfg(test)]
        mod fixtures;
    "#;
    let texts = Texts::of(source);
    let found: Vec<_> = texts.found.iter().map(|(kind, text)| (kind.as_str(), text.as_str())).collect();
    assert_eq!(
        found,
        [
            ("text", "a constant"),
            ("error", "could not read `{0}`"),
            ("WARN", "pod `{}` is lost"),
            ("ERROR", "{}"),
            ("INFO", "SnapWatcher has started"),
            ("text", "a returned text"),
            ("text", "a field in a macro"),
            ("text", "pod {} is {}"),
            ("text", "quite ready"),
            ("text", "not so"),
        ]
    );
    assert_eq!(texts.test_modules, ["fixtures"]);
}
