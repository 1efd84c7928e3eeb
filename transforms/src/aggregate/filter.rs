//! Which tags tell series apart.

use weir_core::text_pattern::Pattern;

/// Tags by their key, of metrics by their name: `env`, `request_id`, `http.*:url`.
#[derive(Clone, Debug, Default)]
pub struct TagFilter {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    metric: Option<Pattern>,
    key: Pattern,
}

impl Rule {
    /// `key`, or `metric:key`; both may have `*`.
    fn parse(text: &str) -> Result<Rule, String> {
        let (metric, key) = match text.split_once(':') {
            Some((metric, key)) => (Some(metric), key),
            None => (None, text),
        };
        if key.is_empty() || key.contains(':') || metric == Some("") {
            return Err(format!("`{text}` is no tag key: write `key`, or `metric:key`, with `*` for any part"));
        }
        Ok(Rule { metric: metric.map(Pattern::new), key: Pattern::new(key) })
    }

    fn is_for(&self, metric: &str) -> bool {
        self.metric.as_ref().is_none_or(|pattern| pattern.matches(metric))
    }
}

impl TagFilter {
    pub fn parse(allow: &[String], deny: &[String]) -> Result<TagFilter, (&'static str, String)> {
        let rules = |option, texts: &[String]| -> Result<Vec<Rule>, (&'static str, String)> {
            texts.iter().map(|text| Rule::parse(text).map_err(|why| (option, why))).collect()
        };
        Ok(TagFilter { allow: rules("tags_allow", allow)?, deny: rules("tags_deny", deny)? })
    }

    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether a metric keeps a tag. Where any rule of `allow` is for the metric, the tag needs one of
    /// them; what `deny` names never stays.
    pub fn keeps(&self, metric: &str, tag: &str) -> bool {
        let key = tag.split_once(':').map_or(tag, |(key, _)| key);
        let mut allow = self.allow.iter().filter(|rule| rule.is_for(metric)).peekable();
        let is_allowed = allow.peek().is_none() || allow.any(|rule| rule.key.matches(key));
        is_allowed && !self.deny.iter().any(|rule| rule.is_for(metric) && rule.key.matches(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_kept_by_metric_and_key() {
        let text = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let filter = TagFilter::parse(&text(&["http.*:url", "http.*:env"]), &text(&["request_*"])).unwrap();
        let kept = [("http.count", "url:/a"), ("http.count", "env:prod"), ("cpu", "anything:1"), ("cpu", "bare")];
        let gone = [("http.count", "user:7"), ("cpu", "request_id:1"), ("http.count", "request_id:1")];
        assert!(kept.iter().all(|(metric, tag)| filter.keeps(metric, tag)));
        assert!(!gone.iter().any(|(metric, tag)| filter.keeps(metric, tag)));
        assert!(TagFilter::parse(&text(&["a:b:c"]), &[]).is_err());
    }
}
