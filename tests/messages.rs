//! Every text of the product in one golden file, tests/golden/messages.txt, so that the wording is reviewed as a whole: log
//! lines from INFO up, Events, status messages, health checks, findings of `snapwatcher check`, and errors.
//!
//! A text is a string of two or more words in the code, or the message of a log line. Texts that are only combined while
//! the program runs are listed by their parts. Left out are tests, documentation and help (docs/configuration.md has it).
//!
//! The forbidden words are also looked for in the comments and the names of tests of all packages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, Lit, LitStr, Macro, Meta};

const GOLDEN: &str = "tests/golden/messages.txt";

/// With this variable set the golden file is written instead of compared.
const UPDATE: &str = "UPDATE_DOCS";

/// The longest text, in characters. What is put in for a placeholder does not count.
const LONGEST: usize = 240;

/// Words and phrases that docs/glossary.md replaces, or that leave open who does what.
const FORBIDDEN: [&str; 41] = [
    "told",
    "tell",
    "tells",
    "telling",
    "stand",
    "stands",
    "stood",
    "away",
    "somebody",
    "nobody",
    "whoever",
    "in vain",
    "at its own hand",
    "asked for",
    "comes to nothing",
    "came to nothing",
    "come to nothing",
    "wish",
    "wishes",
    "wished",
    "slip",
    "slips",
    "slipped",
    "journey",
    "journeys",
    "turn",
    "word of",
    "its word",
    "give up",
    "gives up",
    "gave up",
    "given up",
    "by hand",
    "labelled",
    "leaf",
    "leaves",
    "anew",
    "put right",
    "handover",
    "go on",
    "goes on",
];

/// Ordinary phrases that contain one of those words.
const ACCEPTED: [&str; 7] =
    ["turn on", "turn off", "stand in", "stand ins", "first word of", "second word of", "last word of"];

/// Of a certificate in texts. In comments and names it is a verb.
const VERB: &str = "leaves";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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

    fn as_str(self) -> &'static str {
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

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.insert(path);
        }
    }
}

/// The comments and the names of the tests in a file, each with the number of its first line. Code in backticks is left out.
fn comments_and_test_names(source: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let (mut is_in_comment, mut is_test) = (false, false);
    for (number, line) in (1..).zip(source.lines().map(str::trim_start)) {
        if let Some(comment) = line.strip_prefix("//") {
            let comment = comment.trim_start_matches(['/', '!']);
            match found.last_mut().filter(|_| is_in_comment) {
                Some((_, block)) => block.push_str(comment),
                None => found.push((number, comment.to_owned())),
            }
        } else if let Some((_, function)) = line.split_once("fn ").filter(|_| is_test) {
            let name = function.split('(').next().unwrap_or_default();
            found.push((number, name.replace('_', " ")));
            is_test = false;
        }
        is_in_comment = line.starts_with("//");
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    }
    let without_code = |text: String| text.split('`').step_by(2).collect::<Vec<_>>().join("_");
    found.into_iter().map(|(number, text)| (number, without_code(text))).collect()
}

/// Each file of the product's packages with its texts, in the order of the file; files without texts are left out.
fn texts_of_the_product() -> Vec<(String, Vec<(Kind, String)>)> {
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
    all.retain(|(file, texts)| !texts.is_empty() && !for_tests.contains(file));
    let name = |file: PathBuf| file.strip_prefix(root()).unwrap().display().to_string();
    all.into_iter().map(|(file, texts)| (name(file), texts)).collect()
}

/// The text without its placeholders.
fn own_words(text: &str) -> String {
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

/// The forbidden words and phrases in a text.
fn forbidden(text: &str) -> Vec<&'static str> {
    let words: Vec<String> = own_words(text)
        .split(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '\'' | '/' | '_'))
        .filter(|word| !word.is_empty())
        // A name such as `NotLabelled` is no word.
        .map(|word| if word.chars().skip(1).any(char::is_uppercase) { word.to_owned() } else { word.to_lowercase() })
        .collect();
    let mut sentence = format!(" {} ", words.join(" "));
    for phrase in ACCEPTED {
        sentence = sentence.replace(&format!(" {phrase} "), " ");
    }
    FORBIDDEN.into_iter().filter(|phrase| sentence.contains(&format!(" {phrase} "))).collect()
}

#[test]
fn the_golden_file_has_every_text_of_the_product() {
    let mut expected = String::from(
        "Texts of SnapWatcher by file: log lines from INFO up, error types, and all other strings of two or more words.\n\
         Generated by `UPDATE_DOCS=1 cargo test --test messages`.\n",
    );
    for (file, texts) in texts_of_the_product() {
        write!(expected, "\n{file}\n").unwrap();
        for (kind, text) in texts {
            writeln!(expected, "{:<5} {text}", kind.as_str()).unwrap();
        }
    }
    let path = root().join(GOLDEN);
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &expected).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<&str> = expected.lines().filter(|line| !golden.contains(line)).collect();
    assert!(
        golden == expected,
        "{GOLDEN} is out of date: read the new wording, then {UPDATE}=1 cargo test --test messages. New:\n{}",
        changed.join("\n")
    );
}

#[test]
fn no_text_has_a_forbidden_word_or_is_too_long() {
    let mut offenders = String::new();
    for (file, texts) in texts_of_the_product() {
        for (_, text) in texts {
            let words = forbidden(&text);
            if !words.is_empty() {
                writeln!(offenders, "{file}: {words:?} in: {text}").unwrap();
            }
            let length = own_words(&text).chars().count();
            if length > LONGEST {
                writeln!(offenders, "{file}: {length} characters, allowed are {LONGEST}: {text}").unwrap();
            }
        }
    }
    assert!(offenders.is_empty(), "reword these:\n{offenders}");
}

#[test]
fn no_comment_and_no_name_of_a_test_has_a_forbidden_word() {
    let mut files = BTreeSet::new();
    for folder in ["crates", "src", "lab", "tests"] {
        sources(&root().join(folder), &mut files);
    }
    let mut offenders = String::new();
    for file in files {
        for (number, text) in comments_and_test_names(&fs::read_to_string(&file).unwrap()) {
            let mut words = forbidden(&text);
            words.retain(|word| *word != VERB);
            if !words.is_empty() {
                let name = file.strip_prefix(root()).unwrap().display();
                writeln!(offenders, "{name}:{number}: {words:?} in: {text}").unwrap();
            }
        }
    }
    assert!(offenders.is_empty(), "reword these:\n{offenders}");
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

#[test]
fn comments_and_names_of_tests_are_found() {
    let source =
        "//! One\n//! comment.\n\nfn a() {}\n    /// Of `code`.\n    #[test]\n    async fn b_c() {\n// And one.\n";
    let found = comments_and_test_names(source);
    let found: Vec<_> = found.iter().map(|(number, text)| (*number, text.trim())).collect();
    assert_eq!(found, [(1, "One comment."), (5, "Of _."), (7, "b c"), (8, "And one.")]);
}

#[test]
fn forbidden_words_are_found_as_words() {
    for (text, expected) in [
        ("the kubelet is away", &["away"][..]),
        ("Nobody is told.", &["told", "nobody"]),
        ("checkpoints that were asked for", &["asked for"]),
        ("the {leaf} of `NotLabelled` understands returned tellers", &[]),
        ("turn on the feature gate", &[]),
        ("the stand-in reads the first word of a line", &[]),
        ("it is its turn", &["turn"]),
    ] {
        assert_eq!(forbidden(text), expected, "{text}");
    }
}
