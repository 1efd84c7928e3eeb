//! Patterns with `*` for any part of a text, as people write them for names.

/// A text in which each `*` stands for any number of characters.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    parts: Vec<String>,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        Pattern { parts: text.split('*').map(str::to_string).collect() }
    }

    /// Whether the whole text fits. Each part is looked for once, so the time is linear.
    pub fn matches(&self, text: &str) -> bool {
        let (Some((first, rest)), Some(last)) = (self.parts.split_first(), self.parts.last()) else { return false };
        let Some(mut text) = text.strip_prefix(first.as_str()) else { return false };
        let Some((_, middle)) = rest.split_last() else { return text.is_empty() };
        for part in middle {
            match text.find(part.as_str()) {
                Some(at) => text = &text[at + part.len()..],
                None => return false,
            }
        }
        text.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        let cases = [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("*b*", "abc", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("", "", true),
        ];
        for (pattern, text, is_match) in cases {
            assert_eq!(Pattern::new(pattern).matches(text), is_match, "{pattern} {text}");
        }
    }
}
