//! Pipelines broken by hand, as it were: the first message has to be about what was changed.

use std::collections::BTreeMap;

use weir_dsl::lex::{Kind, Token, lex};
use weir_dsl::text::Lines;
use weir_dsl::{Checked, Setting};

use super::support::root;

/// Mutants of each pipeline, in equal shares of the kinds.
const MUTANTS: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Delete,
    Misspell,
    Swap,
    Unit,
    Bracket,
}

const CHANGES: [Change; 5] = [Change::Delete, Change::Misspell, Change::Swap, Change::Unit, Change::Bracket];

struct Mutant {
    text: String,
    /// Where the change is, in the changed text, and the words that were changed.
    at: Vec<usize>,
    words: Vec<String>,
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

fn pipelines() -> Vec<(String, String)> {
    let read = |path: &str| (path.to_string(), std::fs::read_to_string(root().join(path)).unwrap());
    let mut all =
        vec![read("pipelines/quickstart.weir"), read("src/cli/init/pcap.weir"), read("src/cli/init/ndjson.weir")];
    let (_, tour) = read("docs/language.md");
    let blocks = tour.split("```weir\n").skip(1).map(|b| b.split("\n```").next().unwrap().to_string());
    all.extend(blocks.enumerate().map(|(n, text)| (format!("tour {n}"), text)));
    all
}

fn check(text: &str) -> Checked {
    let params = BTreeMap::new();
    weir_dsl::check(text.as_bytes(), &Setting::alone("my.weir", &weir::components::SPECS, &params))
}

/// The text with some spans written anew.
fn rewrite(source: &str, mut edits: Vec<(Token, String)>) -> Mutant {
    edits.sort_by_key(|(token, _)| token.span.start);
    let (mut text, mut at, mut from, mut words) = (String::new(), Vec::new(), 0, Vec::new());
    for (token, with) in edits {
        text += &source[from..token.span.start];
        at.push(text.len());
        text += &with;
        from = token.span.end;
        words.push(token.text(source).to_string());
        words.push(with);
    }
    text += &source[from..];
    words.retain(|w| w.chars().any(char::is_alphanumeric));
    Mutant { text, at, words }
}

fn mutant(source: &str, change: Change, random: &mut Random) -> Option<Mutant> {
    let tokens: Vec<Token> = lex(source).into_iter().filter(Token::is_significant).collect();
    let text = |t: &Token| t.text(source);
    match change {
        Change::Delete => {
            let token = *random.of(&tokens)?;
            Some(rewrite(source, vec![(token, String::new())]))
        }
        Change::Bracket => {
            let is_bracket =
                |t: &&Token| t.kind == Kind::Operator && matches!(text(t), "(" | ")" | "[" | "]" | "{" | "}");
            let brackets: Vec<Token> = tokens.iter().filter(is_bracket).copied().collect();
            Some(rewrite(source, vec![(*random.of(&brackets)?, String::new())]))
        }
        Change::Misspell => {
            let names: Vec<Token> =
                tokens.iter().filter(|t| t.kind == Kind::Name && text(t).len() > 2).copied().collect();
            let token = *random.of(&names)?;
            let mut word: Vec<char> = text(&token).chars().collect();
            let at = random.below(word.len() - 1);
            match random.below(3) {
                0 => word.swap(at, at + 1),
                1 => drop(word.remove(at)),
                _ => word.insert(at, word[at]),
            }
            let word: String = word.into_iter().collect();
            (word != text(&token)).then(|| rewrite(source, vec![(token, word)]))
        }
        Change::Swap => {
            // `name: value` with a value of one token.
            let values: Vec<usize> = (2..tokens.len())
                .filter(|at| {
                    let ends = tokens.get(at + 1).is_some_and(|t| matches!(text(t), "," | ")" | "}"));
                    text(&tokens[at - 1]) == ":" && tokens[at - 2].kind == Kind::Name && ends
                })
                .collect();
            let first = *random.of(&values)?;
            let near: Vec<usize> = values.iter().copied().filter(|v| *v != first && v.abs_diff(first) < 12).collect();
            let second = *random.of(&near)?;
            let (a, b) = (tokens[first], tokens[second]);
            (text(&a) != text(&b)).then(|| rewrite(source, vec![(a, text(&b).to_string()), (b, text(&a).to_string())]))
        }
        Change::Unit => {
            let digits = |t: &Token| text(t).find(|c: char| c.is_ascii_alphabetic() || c == '%');
            let numbers: Vec<Token> =
                tokens.iter().filter(|t| t.kind == Kind::Number && digits(t).is_some()).copied().collect();
            let token = *random.of(&numbers)?;
            let (number, unit) = text(&token).split_at(digits(&token)?);
            let other = *random.of(&["", "s", "m", "KiB", "MiB", "%", "sec", "MB/s", "x"])?;
            (other != unit).then(|| rewrite(source, vec![(token, format!("{number}{other}"))]))
        }
    }
}

/// Whether the first message is about the change.
fn is_about(mutant: &Mutant, checked: &Checked) -> bool {
    let Some(first) = checked.diagnostics.first() else { return false };
    let lines = Lines::new(&mutant.text);
    let line = |at: usize| lines.position(at.min(mutant.text.len())).0;
    let here = line(first.span().start);
    let said = format!("{} {}", first.title, first.help.as_deref().unwrap_or_default());
    let label = &mutant.text[first.span().start..first.span().end.min(mutant.text.len())];
    let names = |word: &String| word.len() > 1 && (said.contains(&format!("`{word}`")) || label == word);
    mutant.at.iter().any(|at| line(*at) == here) || mutant.words.iter().any(names)
}

#[test]
fn the_first_message_is_about_what_was_changed() {
    let mut random = Random(0x5eed);
    let mut tally: BTreeMap<Change, (usize, usize, usize)> = BTreeMap::new();
    let mut astray = Vec::new();
    let pipelines = pipelines();
    assert!(pipelines.len() >= 10);
    for (name, source) in &pipelines {
        assert!(check(source).diagnostics.is_empty(), "{name}");
        let mut made = 0;
        let mut tries = 0;
        while made < MUTANTS && tries < 20 * MUTANTS {
            let change = CHANGES[tries % CHANGES.len()];
            tries += 1;
            let Some(mutant) = mutant(source, change, &mut random) else { continue };
            made += 1;
            let checked = check(&mutant.text);
            let counts = tally.entry(change).or_default();
            counts.0 += 1;
            if checked.diagnostics.is_empty() {
                counts.1 += 1;
            } else if is_about(&mutant, &checked) {
                counts.2 += 1;
            } else {
                astray.push((change, name.clone(), mutant, checked));
            }
        }
    }
    for (change, name, mutant, checked) in
        astray.iter().take(if std::env::var_os("ASTRAY").is_some() { 400 } else { 12 })
    {
        let lines = Lines::new(&mutant.text);
        let changed = lines.position(mutant.at[0]).0;
        let line = mutant.text.lines().nth(changed - 1).unwrap_or_default();
        let first = &checked.diagnostics[0];
        let at = lines.position(first.span().start).0;
        println!(
            "{change:?} {name}:{changed}: {line}\n    {:?} -> line {at}: [{}] {}",
            mutant.words, first.code.0, first.title
        );
    }
    let all: usize = tally.values().map(|t| t.0).sum();
    let silent: usize = tally.values().map(|t| t.1).sum();
    let about: usize = tally.values().map(|t| t.2).sum();
    println!("{all} mutants of {} pipelines; (made, still check, about the change): {tally:?}", pipelines.len());
    println!("still check: {:.1} %", 100.0 * silent as f64 / all as f64);
    println!("first message about the change: {:.2} %", 100.0 * about as f64 / (all - silent) as f64);
    assert!(silent * 100 < all * 15, "{silent} of {all} still check");
    assert!(about * 100 >= (all - silent) * 95, "{about} of {} are about the change", all - silent);
}
