//! Names that were probably meant.

use weir_spec::Diagnostic;

/// Edits (insert, delete, replace, swap neighbours) between two names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let same = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + same);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

/// Longest name that is compared: a longer one is no slip of the finger.
const NAME_CHARS_MAX: usize = 64;

/// The nearest of `names`, if it is near: a third of its length, or one contains the other.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
        return None;
    }
    let far = name.chars().count().max(3) / 3;
    let scored = names.into_iter().filter(|n| *n != name).map(|n| {
        let tail = n.rsplit('.').next() == Some(name) || name.rsplit('.').next() == Some(n);
        let score = if tail { 1 } else { distance(name, n) };
        (score, n)
    });
    scored.filter(|(score, n)| *score <= far.max(n.len() / 4)).min().map(|(_, n)| n)
}

/// A diagnostic with the name that was probably meant as its help, or else another one.
pub fn meant(diagnostic: Diagnostic, near: Option<&str>, otherwise: impl FnOnce() -> String) -> Diagnostic {
    match near {
        Some(near) => diagnostic.help(format!("did you mean `{near}`?")).replace(near),
        None => diagnostic.help(otherwise()),
    }
}

/// Names that a message lists in full.
const LISTED_MAX: usize = 8;

/// `a`, `b` and `c`; if there are many, those that begin alike come first and the rest is counted.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let all: Vec<&str> = names.into_iter().filter(|n| !n.is_empty()).collect();
    let shown: Vec<String> = all.iter().take(LISTED_MAX).map(|n| format!("`{n}`")).collect();
    match all.len().saturating_sub(LISTED_MAX) {
        0 => match shown.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
            None => "none".into(),
        },
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = ["src.port", "dst.port", "protocol", "sent_bytes"];
        assert_eq!(nearest("protcol", names), Some("protocol"));
        assert_eq!(nearest("dst.prot", names), Some("dst.port"));
        assert_eq!(nearest("quux", names), None);
        assert_eq!(list(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
