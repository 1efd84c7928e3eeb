//! The registry of diagnostics: every code, once.

use weir_spec::Code;

/// Diagnostics shown for one file.
pub const SHOWN_MAX: usize = 100;
/// Levels of brackets.
pub const DEPTH_MAX: usize = 64;
/// Operators in one expression.
pub const OPERATORS_MAX: usize = 256;

macro_rules! codes {
    ($($name:ident = $code:literal $meaning:literal;)*) => {
        $( #[doc = $meaning] pub const $name: Code = Code($code); )*
        /// Every code with its meaning in one line.
        pub const ALL: &[(Code, &str)] = &[$( ($name, $meaning) ),*];
    };
}
codes! {
    ENCODING = "E0001" "the file is not UTF-8 text";
    FOREIGN_CONFIG = "E0002" "the file is another tool's configuration";
    EMPTY = "E0003" "the file defines nothing";
    TOO_DEEP = "E0004" "brackets are nested too deeply, or an expression has too many operators";
    SYNTAX = "E0101" "something else belongs here";
    UNCLOSED = "E0102" "a bracket is never closed";
    STRAY_CLOSER = "E0103" "a closing bracket has no opening one";
    OPEN_STRING = "E0104" "a string does not end";
    BAD_NUMBER = "E0105" "a number or its unit cannot be read";
    FOREIGN_SPELLING = "E0106" "another language's way of writing it";
    BAD_NAME = "E0107" "a name has a character that names may not have";
    BAD_STRING = "E0108" "a string has an escape that does not exist";
    DUPLICATE = "E0201" "a name is defined twice";
    UNKNOWN_STREAM = "E0202" "no stream has this name";
    UNKNOWN_COMPONENT = "E0203" "no component has this name";
    UNKNOWN_OPTION = "E0204" "the component has no such option";
    MISSING_OPTION = "E0205" "an option that the component needs is missing";
    OPTION_TWICE = "E0206" "an option is given twice";
    UNKNOWN_OUTPUT = "E0207" "the stage has no such output";
    CYCLE = "E0208" "definitions go in a circle";
    SINK_AS_STREAM = "E0209" "a sink is not a stream";
    NOTHING_READS = "E0210" "a pipe does not end in a sink";
    AMBIGUOUS_NAME = "E0211" "a name is both a param and a column";
    UNKNOWN_PARAM = "E0212" "no param has this name";
    UNKNOWN_SETTING = "E0213" "there is no such setting";
    WRONG_PLACE = "E0214" "a component stands where it cannot";
    CANNOT_USE = "E0215" "a file that `use` names cannot be used";
    BAD_TEST = "E0216" "a statement of a test cannot be meant so";
    UNKNOWN_COLUMN = "E0301" "the stream has no such column";
    TYPE_MISMATCH = "E0302" "two types do not go together";
    UNIT_MISMATCH = "E0303" "two units do not go together";
    UNKNOWN_WORD = "E0304" "the column never has this value";
    UNKNOWN_FUNCTION = "E0305" "no function has this name";
    WRONG_ARGUMENTS = "E0306" "a function's arguments are wrong";
    OPTION_TYPE = "E0307" "an option is given a value of the wrong type";
    OPTION_VALUE = "E0308" "an option's value is out of its range";
    WRONG_KIND = "E0309" "a component reads another kind of stream";
    NOT_AGGREGATED = "E0310" "a column is neither a key nor aggregated";
    BAD_WINDOW = "E0311" "a window's times contradict each other";
    UNKNOWN_TAG = "E0312" "nothing upstream provides this tag";
    DELIVERY = "E0313" "the path cannot keep the promised delivery";
    UNLIKE_STREAMS = "E0314" "streams with different columns cannot be merged";
    NOT_CONSTANT = "E0315" "an option has to be the same for every row";
    KEY_WITHOUT_NAME = "E0316" "a computed key or column needs a name";
    MEMORY = "E0317" "the memory budget is too small for what the pipeline asks for";
    NOT_YET = "E0318" "the language has this, and this version does not";
    EXPECTATION = "E0401" "what a test expects is not so";
    UNUSED_STREAM = "W0201" "a definition is never used";
    UNUSED_PARAM = "W0202" "a param is never used";
    USED_TWICE = "W0203" "a file is used by two ways";
    PLAIN_SECRET = "W0204" "a secret stands in the text";
    ALLOWED_FOR_NOTHING = "W0205" "an allowed warning is not given";
    OPEN_LISTENER = "W0206" "others than this host may send to a listener";
    UNREAD_OUTPUT = "W0301" "an output that nobody reads can lose rows";
    LATENESS = "W0302" "the lateness is longer than the window";
    UNKNOWN_OPEN_TAG = "W0303" "a tag is close to a known one, but not it";
    CONSTANT_WHERE = "W0304" "a `where` is always true or always false";
    UNBOUNDED_KEY = "W0305" "a key has a value of its own for nearly every row";
}

/// The meaning of a code, by its text.
pub fn meaning(code: &str) -> Option<&'static str> {
    ALL.iter().find(|(c, _)| c.0.eq_ignore_ascii_case(code)).map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let codes: std::collections::BTreeSet<_> = ALL.iter().map(|(c, _)| c.0).collect();
        assert_eq!(codes.len(), ALL.len());
    }
}
