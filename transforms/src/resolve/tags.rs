//! What is known of an end, from several who were asked.

use std::collections::BTreeSet;

/// Tags that come together: what one has said of a key, later ones do not change.
#[derive(Default)]
pub struct Tags {
    tags: BTreeSet<String>,
    /// Keys that the one who is asked now may not add to.
    closed: BTreeSet<String>,
}

/// What stands before the colon.
pub fn key(tag: &str) -> &str {
    tag.split_once(':').map_or(tag, |(key, _)| key)
}

impl Tags {
    /// From those that a row has already.
    pub fn of<'a>(tags: impl Iterator<Item = &'a str>) -> Tags {
        let mut all = Tags { tags: tags.map(str::to_string).collect(), closed: BTreeSet::new() };
        all.close();
        all
    }

    /// The value of a key.
    pub fn get(&self, wanted: &str) -> Option<&str> {
        let mut all = self.tags.iter().filter_map(|tag| tag.split_once(':'));
        all.find(|(key, _)| *key == wanted).map(|(_, value)| value)
    }

    /// Adds what somebody knows, all of it at once: several values of one key are taken together.
    pub fn add<'a>(&mut self, tags: impl IntoIterator<Item = &'a str>) {
        self.tags.extend(tags.into_iter().filter(|tag| !self.closed.contains(key(tag))).map(str::to_string));
        self.close();
    }

    fn close(&mut self) {
        self.closed = self.tags.iter().map(|tag| key(tag).to_string()).collect();
    }

    /// All of them in order.
    pub fn finish(self) -> BTreeSet<String> {
        self.tags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoke_first_is_believed() {
        let mut tags = Tags::of(["team:a"].into_iter());
        tags.add(["team:b", "group:1", "group:2"]);
        tags.add(["group:3", "zone:x"]);
        assert_eq!((tags.get("team"), tags.get("none")), (Some("a"), None));
        let all: Vec<String> = tags.finish().into_iter().collect();
        assert_eq!(all, ["group:1", "group:2", "team:a", "zone:x"]);
    }
}
