//! Text into tokens. Lossless: the tokens' texts, one after the other, are the file.

use pest::Parser;
use weir_spec::Span;

#[derive(pest_derive::Parser)]
#[grammar = "token.pest"]
struct Lexer;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Space,
    Comment,
    /// `//…` or `/*…*/`, which are no comments here.
    ForeignComment,
    String,
    RawString,
    /// A string that does not end on its line, or a raw one that never ends.
    OpenString,
    /// In quotes that are not ours.
    ForeignString,
    Ipv4,
    Ipv6,
    Number,
    Name,
    Operator,
    Junk,
}

/// A token: its kind and where it stands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Token {
    pub kind: Kind,
    pub span: Span,
}

impl Token {
    pub fn text<'a>(&self, source: &'a str) -> &'a str {
        &source[self.span.start..self.span.end]
    }

    pub fn is_significant(&self) -> bool {
        !matches!(self.kind, Kind::Space | Kind::Comment | Kind::ForeignComment)
    }
}

/// Every token of a text.
pub fn lex(source: &str) -> Vec<Token> {
    let Ok(pairs) = Lexer::parse(Rule::tokens, source) else {
        // The grammar ends in "any character", so it takes every text.
        return vec![Token { kind: Kind::Junk, span: Span::new(0, source.len()) }];
    };
    let inner = pairs.flat_map(|pair| pair.into_inner());
    let token = |pair: pest::iterators::Pair<Rule>| {
        let kind = match pair.as_rule() {
            Rule::space => Kind::Space,
            Rule::comment => Kind::Comment,
            Rule::line_comment | Rule::block_comment => Kind::ForeignComment,
            Rule::string => Kind::String,
            Rule::raw_string => Kind::RawString,
            Rule::string_open | Rule::raw_open => Kind::OpenString,
            Rule::quoted => Kind::ForeignString,
            Rule::ipv4 => Kind::Ipv4,
            Rule::ipv6 => Kind::Ipv6,
            Rule::number => Kind::Number,
            Rule::name => Kind::Name,
            Rule::operator => Kind::Operator,
            Rule::junk => Kind::Junk,
            _ => return None,
        };
        let span = pair.as_span();
        Some(Token { kind, span: Span::new(span.start(), span.end()) })
    };
    inner.filter_map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every byte is in exactly one token, in order.
        #[test]
        fn tokens_are_the_text(source in "([a-z|(){}\\[\\]\"#'. :,=0-9/\n-]|\\PC){0,200}") {
            let tokens = lex(&source);
            let mut at = 0;
            for token in tokens {
                prop_assert_eq!(token.span.start, at);
                at = token.span.end;
            }
            prop_assert_eq!(at, source.len());
        }
    }
}
