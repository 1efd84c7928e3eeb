//! Text that clients and far ends chose, on a terminal.

/// A character as it may stand there: what would steer the terminal, turn the text around or hide in it is replaced.
pub fn plain(c: char) -> char {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let hides = matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2065}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}');
    if c.is_control() || turns || hides { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_turns_or_hides_is_replaced() {
        let plain = |text: &str| text.chars().map(plain).collect::<String>();
        assert_eq!(plain("a\u{1b}[31mb\u{202e}c\u{200b}d\u{9b}"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}d\u{fffd}");
        // Joiners are a part of what they join.
        assert_eq!(plain("né 名 👩\u{200d}🔧"), "né 名 👩\u{200d}🔧");
    }
}
